"""The pair table of docs/gateway.md against a server no one here wrote: each cell is a test.

server-everything is of the legacy era and asks on whatever stream it has: over stdio, Streamable HTTP and HTTP+SSE.
"""

import asyncio
import contextlib
import os
import signal
from dataclasses import replace

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, descendants, until
from tests.gateway.test_real_upstreams import STDIO, everything, over
from tests.interop.running import EVERYTHING, need
from trunkline.errors import ProtocolError
from trunkline.gateway import Limits
from trunkline.portable.model import Entry

need(EVERYTHING)

ABLE = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}
CLIENTS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
LONG = "everything__trigger-long-running-operation"
PER_SESSION = replace(STDIO, processes="per-session")

clients = pytest.mark.parametrize("revision", CLIENTS)


@pytest.fixture(scope="module", params=["stdio", "streamableHttp", "sse"])
def entry(request):
    """The server over each transport."""
    if request.param == "stdio":
        yield PER_SESSION
        return
    with everything(request.param) as port:
        kind, path = ("sse", "/sse") if request.param == "sse" else ("http", "/mcp")
        yield Entry("everything", kind, url=f"http://127.0.0.1:{port}{path}")


@contextlib.asynccontextmanager
async def client(entry, revision):
    """A client of the gateway over one server, who can answer everything its revision knows."""
    async with over(entry) as (_, engine):
        able = {name: able for name, able in ABLE.items() if name != "elicitation" or revision != "2025-03-26"}
        yield Caller(engine, revision, capabilities=able, answers=ANSWERS, log="debug")


def text(result):
    return " ".join(one["text"] for one in result["content"])


@clients
async def test_what_it_asks_tells_and_stops(entry, revision):
    async with client(entry, revision) as caller:
        await _asks(caller, revision)
        await _tells(caller)
        calling = asyncio.create_task(caller.call(LONG, duration=60, steps=60))
        await asyncio.sleep(0.1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert text(await caller.call("everything__echo", message="on")) == "Echo: on"


async def _asks(caller, revision):
    assert "Paris" in text(await caller.call("everything__trigger-sampling-request", prompt="x"))
    assert "file:///home" in text(await caller.call("everything__get-roots-list"))
    if revision == "2025-03-26":
        # It knows no elicitation, so its session at the server has no such tool.
        with contextlib.suppress(ProtocolError):
            assert (await caller.call("everything__trigger-elicitation-request"))["isError"]
        return
    assert "Ada" in text(await caller.call("everything__trigger-elicitation-request"))
    visited = await caller.call("everything__trigger-url-elicitation", url="https://in.example")
    assert "completed" in text(visited)
    form, page = (one.params for one in caller.asked if one.method == "elicitation/create")
    assert form["requestedSchema"]["required"] == ["name"]
    assert page["url"] == "https://in.example"


async def _tells(caller):
    params = {"name": LONG, "arguments": {"duration": 0.3, "steps": 3}, "_meta": {"progressToken": "p"}}
    await caller.request("tools/call", params)
    progress = [one["params"] for one in caller.heard if one["method"] == "notifications/progress"]
    assert [one["progress"] for one in progress] == [1, 2, 3]
    assert {one["progressToken"] for one in progress} == {"p"}
    for _ in range(20):
        # Each time it is switched on, it logs a line at once, which may come just after the call has ended.
        await caller.call("everything__toggle-simulated-logging")
        # One of its eight lines says "Alert level-message", the others "…-level message".
        if any("level" in str(one["params"].get("data")) for one in caller.heard):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("no log message came")


async def test_each_caller_has_a_process_of_its_own():
    async with over(PER_SESSION, limits=Limits(processes=2, session_idle=5)) as (federation, engine):
        alice, bob = (Caller(engine, one, principal=who) for one, who in (("2025-11-25", ALICE), ("2026-07-28", BOB)))
        before = descendants(str(EVERYTHING))
        await asyncio.gather(*(caller.call("everything__echo", message="x") for caller in (alice, alice, bob, bob)))
        assert len(descendants(str(EVERYTHING)) - before) == 2
        assert federation.statuses()[0].sessions == 2
        await until(lambda: descendants(str(EVERYTHING)) == before)
        # One that died is started again, and the caller does not notice.
        await alice.call("everything__echo", message="x")
        (process,) = descendants(str(EVERYTHING)) - before
        os.kill(process, signal.SIGKILL)
        await until(lambda: process not in descendants(str(EVERYTHING)))
        await asyncio.sleep(0.05)
        assert text(await alice.call("everything__echo", message="again")) == "Echo: again"
