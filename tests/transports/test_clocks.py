"""Replicas whose clocks are two minutes apart: what one of them seals is good at the other, both ways.

What is stored has the database's time; keys that begin at a time are in `tests/storage/test_keyfile.py`.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.storage.conftest import url  # noqa: F401
from tests.transports.fixture import call, meta, request
from tests.transports.test_replicas import Pair, replica, text

APART = 120.0
_now = time.time


@contextlib.contextmanager
def clock(seconds: float) -> Iterator[None]:
    """This process's clock is wrong for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: _now() + seconds)
        yield


@pytest.fixture
async def pair(url: str) -> AsyncIterator[Pair]:  # noqa: F811
    async with aiohttp.ClientSession() as http, replica(url, http) as one, replica(url, http) as two:
        yield one, two


@pytest.mark.parametrize("seconds", [APART, -APART])
async def test_a_session_that_began_by_another_clock_is_served(pair: Pair, seconds: float) -> None:
    one, two = pair
    with clock(seconds):
        await one.web.begin()
    assert await text(await two.at(one.web).post(call(1, "echo", {"text": "hello"}))) == "hello"
    with clock(-seconds):
        assert (await two.at(one.web).post(request(2, "ping"))).status == 200


@pytest.mark.parametrize("seconds", [APART, -APART])
async def test_a_round_goes_on_by_another_clock(pair: Pair, seconds: float) -> None:
    one, two = pair
    for web in (one.web, two.web):
        web.always = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "name"}
    carried = {"name": "name", "arguments": {}, "_meta": meta()["_meta"] if "_meta" in meta() else meta()}
    with clock(seconds):
        asked = (await (await one.web.post(request(1, "tools/call", carried))).json())["result"]
    assert asked["resultType"] == "input_required"
    answer = {key: {"action": "accept", "content": {"name": "Ann"}} for key in asked["inputRequests"]}
    again = {**carried, "requestState": asked["requestState"], "inputResponses": answer}
    assert "Ann" in await text(await two.web.post(request(2, "tools/call", again)))
