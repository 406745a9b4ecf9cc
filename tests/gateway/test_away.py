"""A remote server that is away for a moment, or for good: who waits for it, who is told, and what runs twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.client.raw import Message
from tests.client.test_away import Leaving
from tests.gateway.callers import Caller, until
from trunkline.engine.engine import Engine
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation, Limits
from trunkline.gateway.failures import AFTER_KEY, RETRY_KEY
from trunkline.gateway.supervision import Backoff
from trunkline.portable.model import Entry

FAST = Backoff(base=0.1, cap=0.3, quick_failures=1000, start=20.0)
SLOW = Backoff(base=0.1, cap=0.3, quick_failures=1, slow=600.0, start=20.0)


@asynccontextmanager
async def before(server: Leaving, backoff: Backoff = FAST, **limits: float) -> AsyncIterator[tuple[Federation, Caller]]:
    """A gateway before a server whose tools it has learnt."""
    await server.start()
    entry = Entry("up", "http", url=server.url)
    federation = Federation([entry], backoff=backoff, limits=Limits(**limits))  # type: ignore[arg-type]
    await federation.start()
    caller = Caller(Engine(federation))
    try:
        async with asyncio.timeout(20):
            while len(await caller.tools()) < 2:
                await asyncio.sleep(0.02)
        yield federation, caller
    finally:
        await federation.stop()
        await server.stop()


def said(result: Message) -> object:
    return result["content"][0]["text"]  # type: ignore[index]


@pytest.mark.parametrize("how", [502, 503, 504, "refuses", "cuts"])
async def test_callers_do_not_notice_that_a_server_was_replaced(how: int | str) -> None:
    server = Leaving(how)
    async with before(server) as (_, caller):
        await server.leave()
        back = asyncio.create_task(server.come_back(2.0))
        assert said(await caller.call("up__look")) == "ok"
        await back


@pytest.mark.parametrize("how", [502, "cuts"])
async def test_what_may_have_run_is_sent_once_and_the_caller_told(how: int | str) -> None:
    server = Leaving(how)
    async with before(server) as (_, caller):
        server.asked.clear()
        await server.leave()
        with pytest.raises(UpstreamUnavailable, match="the call may have run") as failure:
            await caller.call("up__write")
        assert failure.value.data[RETRY_KEY] is False  # type: ignore[index]
        assert len(server.times("tools/call")) == 1


async def test_a_server_that_wants_to_be_left_alone_for_long_is() -> None:
    server = Leaving(503, {"Retry-After": "60"})
    async with before(server) as (_, caller):
        server.asked.clear()
        await server.leave()
        with pytest.raises(UpstreamUnavailable, match="503") as failure:
            await asyncio.wait_for(caller.call("up__look"), 20)
        assert failure.value.data[RETRY_KEY] is True  # type: ignore[index]
        assert failure.value.data[AFTER_KEY] == 60_000  # type: ignore[index]
        assert len(server.times("tools/call")) == 1


async def test_callers_of_a_dead_server_are_told_and_later_ones_at_once() -> None:
    """Those under way try for a few seconds; once calls have failed in a row, the circuit answers."""
    server = Leaving(502)
    async with before(server, silences=5, silence=60.0) as (federation, caller):
        await server.leave()
        together = [asyncio.create_task(caller.call("up__look")) for _ in range(5)]
        done, _ = await asyncio.wait(together, timeout=30)
        assert len(done) == 5
        assert all(isinstance(one.exception(), UpstreamUnavailable) for one in done)
        assert federation.statuses()[0].circuit == "open"
        sent = len(server.times("tools/call"))
        with pytest.raises(UpstreamUnavailable, match="5 calls in a row failed"):
            await caller.call("up__look")
        assert len(server.times("tools/call")) == sent


async def test_nobody_waits_for_a_server_that_is_not_tried_again_soon() -> None:
    server = Leaving("refuses")
    async with before(server, SLOW) as (federation, caller):
        await server.leave()
        with pytest.raises(UpstreamUnavailable):
            await asyncio.wait_for(caller.call("up__look"), 20)
        await until(lambda: federation.statuses()[0].state == "failed")
        with pytest.raises(UpstreamUnavailable, match="next attempt in"):
            await asyncio.wait_for(caller.call("up__look"), 1)
        await server.start()
