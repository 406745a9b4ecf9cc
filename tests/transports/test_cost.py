"""What one `tools/call` costs, counted, not timed: frames, tasks, timers, futures; with 1 and with 1,000 tools."""

import asyncio
import gc
import sys
from types import FrameType

import pytest

from tests.counting import CountingLoop
from trunkline import Server
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, RequestFacts, Result
from trunkline.engine.principal import Principal
from trunkline.errors import Unauthenticated
from trunkline.protocol import json, messages

FRAMES = 40
BODY = json.encode(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "add",
            "arguments": {"a": 1, "b": 2},
            "_meta": {messages.VERSION_KEY: "2026-07-28", messages.CAPABILITIES_KEY: {}},
        },
    }
)
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/mcp",
    "root_path": "",
    "scheme": "http",
    "client": ("127.0.0.1", 50000),
    "headers": [
        (b"host", b"127.0.0.1:8000"),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"authorization", b"Bearer secret"),
        (b"mcp-protocol-version", b"2026-07-28"),
        (b"mcp-method", b"tools/call"),
        (b"mcp-name", b"add"),
        (b"content-length", b"%d" % len(BODY)),
    ],
}
ANN = Principal("test", "ann")


class Tokens:
    """An authenticator that finds the caller by their token."""

    async def authenticate(self, facts: RequestFacts) -> Principal:
        if facts.headers.get(b"authorization") != b"Bearer secret":
            raise Unauthenticated
        return ANN


async def passing(context: Context, call_next: CallNext) -> Result:
    return await call_next(context)


def server_with(tools: int) -> Server:
    server = Server("cost", auth=Tokens(), interceptors=[passing, passing, passing])

    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    for number in range(tools - 1):
        server.tool(name=f"other-{number}")(add)
    return server


def count(server: Server) -> tuple[list[str], list[str]]:
    """The Python frames one warm call enters, and what it made of tasks, timers and futures."""
    frames: list[str] = []
    events: list[dict[str, object]] = []
    made: list[str] = []
    loop = CountingLoop()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(event: dict[str, object]) -> None:
        events.append(event)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            frames.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")

    async def main() -> None:
        for _ in range(3):
            await server.app(dict(SCOPE), receive, send)
        await asyncio.sleep(0)  # lets the sweeper, which is there once for all calls, begin to wait
        loop.made.clear()
        gc.disable()  # a collection in the middle may call into Python, too
        sys.setprofile(profile)
        await server.app(dict(SCOPE), receive, send)
        sys.setprofile(None)
        gc.enable()
        made.extend(loop.made)

    try:
        loop.run_until_complete(main())
        loop.run_until_complete(server.app.application.stop())
    finally:
        loop.close()
    assert events[-2]["status"] == 200
    assert b'"structuredContent":{"result":3}' in events[-1]["body"]
    return frames, made


@pytest.fixture(scope="module")
def costs() -> dict[int, tuple[list[str], list[str]]]:
    return {tools: count(server_with(tools)) for tools in (1, 1000)}


def test_a_call_stays_under_its_frames(costs: dict[int, tuple[list[str], list[str]]]) -> None:
    frames, _ = costs[1]

    assert len(frames) <= FRAMES, "\n".join(frames)


def test_a_call_makes_no_task_timer_or_future(costs: dict[int, tuple[list[str], list[str]]]) -> None:
    assert costs[1][1] == []


def test_the_cost_does_not_grow_with_the_number_of_tools(costs: dict[int, tuple[list[str], list[str]]]) -> None:
    assert costs[1] == costs[1000]
