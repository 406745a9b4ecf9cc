"""A server that is away for a while: for how long its client tries, what it sends again meanwhile, and what not.

The server is real and listens on a port of its own; the time it is away is longer than a few quick attempts take.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.client.raw import DISCOVERED, Message, answer, refusal
from trunkline import Client, HttpFailure, RemoteError, TransportError
from trunkline.client.repeating import Repeating, asked_wait, fate_of, passing
from trunkline.errors import InvalidAnswer, MessageTooLong, RequestTimeout

TOOLS: list[Message] = [
    {"name": "look", "inputSchema": {}, "annotations": {"readOnlyHint": True}},
    {"name": "write", "inputSchema": {}},
]


class Leaving:
    """A server that can go away, and come back, on the same address.

    Parameters:
        how: a status that its balancer answers with meanwhile; "refuses" when nobody listens; "cuts" for a connection
            that breaks once the request has been read.
        headers: of what the balancer answers.
    """

    def __init__(self, how: int | str = 502, headers: dict[str, str] | None = None) -> None:
        self.how = how
        self.headers = headers or {}
        self.away = False
        self.asked: list[tuple[str, float]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.asked.append((message["method"], time.monotonic()))
        if self.away:
            return self.fail(request, message)
        results: dict[str, Message] = {
            "server/discover": {**DISCOVERED, "capabilities": {"tools": {}}},
            "tools/list": {"tools": TOOLS},
            "tools/call": {"content": [{"type": "text", "text": "ok"}]},
        }
        result = results.get(message["method"])
        if result is None:
            return web.json_response(refusal(message, -32601, "Method not found"), status=404)
        return web.json_response(answer(message, result))

    def fail(self, request: web.Request, message: Message) -> web.StreamResponse:
        if isinstance(self.how, int):
            return web.Response(status=self.how, headers=self.headers)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/mcp"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        # A client that keeps a connection hears of its end.
        await asyncio.sleep(0.1)

    async def leave(self) -> None:
        self.away = True
        if self.how == "refuses":
            await self.stop()

    async def come_back(self, after: float) -> None:
        await asyncio.sleep(after)
        self.away = False
        if self.how == "refuses":
            await self.start()

    def times(self, method: str) -> list[float]:
        """When a method was asked for."""
        return [when for what, when in self.asked if what == method]


@asynccontextmanager
async def used(server: Leaving, **options: float) -> AsyncIterator[Client]:
    """A client that knows the server's tools."""
    await server.start()
    try:
        async with Client(server.url, era="modern", **options) as client:  # type: ignore[arg-type]
            await client.tools()
            server.asked.clear()
            yield client
    finally:
        await server.stop()


@pytest.mark.parametrize("how", [502, 503, 504, "refuses", "cuts"])
async def test_what_is_safe_is_answered_although_the_server_was_away_for_seconds(how: int | str) -> None:
    server = Leaving(how)
    async with used(server) as client:
        await server.leave()
        back = asyncio.create_task(server.come_back(6.0))
        assert (await client.call("look")).text == "ok"
        await back
        times = server.times("tools/call")
        # Neither in a hurry nor all at once: the pauses grow.
        assert len(times) <= 12


@pytest.mark.parametrize("how", [502, 504, "cuts"])
async def test_what_may_have_run_and_is_not_safe_is_sent_once(how: int | str) -> None:
    server = Leaving(how)
    async with used(server) as client:
        await server.leave()
        with pytest.raises(TransportError):
            await client.call("write")
        assert len(server.times("tools/call")) == 1


async def test_what_never_arrived_is_sent_when_the_server_is_back() -> None:
    server = Leaving("refuses")
    async with used(server) as client:
        await server.leave()
        back = asyncio.create_task(server.come_back(4.0))
        assert (await client.call("write")).text == "ok"
        await back
        assert len(server.times("tools/call")) == 1


async def test_nobody_tries_for_longer_than_the_call_has() -> None:
    server = Leaving(502)
    async with used(server, timeout=2.0) as client:
        await server.leave()
        with pytest.raises(HttpFailure, match="502"):
            await asyncio.wait_for(client.call("look"), 20)
        times = server.times("tools/call")
        assert 2 <= len(times) <= 6


@pytest.mark.parametrize(("wished", "sent"), [("2", 2), ("3600", 1)])
async def test_a_server_that_says_when_it_is_back_is_not_asked_before(wished: str, sent: int) -> None:
    server = Leaving(503, {"Retry-After": wished})
    async with used(server) as client:
        await server.leave()
        back = asyncio.create_task(server.come_back(1.0))
        if sent == 1:
            with pytest.raises(HttpFailure, match="503"):
                await client.call("write")
        else:
            assert (await client.call("write")).text == "ok"
        times = server.times("tools/call")
        assert len(times) == sent
        assert all(later - first >= 2 for first, later in itertools.pairwise(times))
        await back


async def test_a_proxy_that_calls_a_connection_that_broke_unavailable_gets_no_second_call() -> None:
    """Envoy answers 503 both for a server it did not reach and for one that broke off while it answered."""
    server = Leaving(503, {"Server": "envoy"})
    async with used(server) as client:
        await server.leave()
        with pytest.raises(HttpFailure, match="503") as caught:
            await client.call("write")
        assert caught.value.delivered
        assert len(server.times("tools/call")) == 1
        back = asyncio.create_task(server.come_back(1.0))
        assert (await client.call("look")).text == "ok"
        await back


class Gateway(Leaving):
    """One that is there, and says that what is behind it is not."""

    def __init__(self, code: int, data: Message, status: int = 200) -> None:
        super().__init__()
        self._error = (code, data, status)

    def fail(self, request: web.Request, message: Message) -> web.StreamResponse:
        code, data, status = self._error
        return web.json_response(refusal(message, code, "upstream x is down", data), status=status)


async def test_a_gateway_that_says_its_upstream_is_down_for_long_is_believed() -> None:
    server = Gateway(-31005, {"dev.trunkline/retry": True, "dev.trunkline/retryAfterMs": 20_000})
    async with used(server) as client:
        await server.leave()
        with pytest.raises(RemoteError, match="is down"):
            await client.call("look")
        assert len(server.times("tools/call")) == 1


async def test_one_that_says_it_is_back_in_a_moment_is_asked_then() -> None:
    server = Gateway(-31005, {"dev.trunkline/retry": True, "dev.trunkline/retryAfterMs": 1500})
    async with used(server) as client:
        await server.leave()
        back = asyncio.create_task(server.come_back(1.0))
        assert (await client.call("look")).text == "ok"
        first, second = server.times("tools/call")
        assert second - first >= 1.5
        await back


@pytest.mark.parametrize(("tool", "sent"), [("write", 1), ("look", 2)])
async def test_what_a_lost_database_may_have_taken_is_sent_again_only_where_that_does_no_harm(
    tool: str, sent: int
) -> None:
    server = Gateway(-31006, {"dev.trunkline/retryAfterMs": 1200}, 503)
    async with used(server) as client:
        await server.leave()
        back = asyncio.create_task(server.come_back(1.0))
        if sent == 1:
            with pytest.raises(RemoteError):
                await client.call(tool)
        else:
            assert (await client.call(tool)).text == "ok"
        assert len(server.times("tools/call")) == sent
        await back


@pytest.mark.parametrize(
    ("error", "safe", "unsafe"),
    [
        (TransportError("cut"), "lost", None),
        (TransportError("refused", delivered=False), "lost", "lost"),
        (RequestTimeout("connect", "connect", 1.0, delivered=False), "lost", "lost"),
        (RequestTimeout("silent"), None, None),
        (InvalidAnswer("nonsense"), None, None),
        (MessageTooLong("long"), None, None),
        (HttpFailure("", 500, {}), "told", None),
        (HttpFailure("", 502, {}), "lost", None),
        (HttpFailure("", 429, {}), "busy", "busy"),
        (HttpFailure("", 503, {}), "busy", "busy"),
        (HttpFailure("", 503, {"server": "envoy"}), "lost", None),
        (HttpFailure("", 503, {"server": "envoy", "retry-after": "1"}), "busy", "busy"),
        (HttpFailure("", 404, {}), None, None),
        (HttpFailure("", 401, {}), None, None),
        (RemoteError(-31003, "overloaded"), "busy", "busy"),
        (RemoteError(-31007, "replica lost"), "lost", None),
        (RemoteError(-31008, "interrupted"), "lost", None),
        (RemoteError(-31005, "down", {"dev.trunkline/retry": True}), "told", None),
        (RemoteError(-31005, "hopeless", {"dev.trunkline/retry": False}), None, None),
        (RemoteError(-32602, "no such tool"), None, None),
        (ValueError("ours"), None, None),
    ],
)
def test_what_a_failure_says_of_the_request(error: Exception, safe: str | None, unsafe: str | None) -> None:
    assert fate_of(error, repeatable=True) == safe
    assert fate_of(error, repeatable=False) == unsafe
    assert (passing(error) is not None) == (safe is not None or isinstance(error, RequestTimeout))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (HttpFailure("", 503, {"retry-after": "7"}), 7.0),
        (HttpFailure("", 503, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}), None),
        (HttpFailure("", 503, {"retry-after": "-1"}), None),
        (RemoteError(-31003, "", {"dev.trunkline/retryAfterMs": 250}), 0.25),
        (RemoteError(-31003, "", {"dev.trunkline/retryAfterMs": -5}), 0.0),
        (RemoteError(-31003, "", {"dev.trunkline/retryAfterMs": True}), None),
        (RemoteError(-31003, "", "soon"), None),
        (TransportError("cut"), None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(error: Exception, seconds: float | None) -> None:
    assert asked_wait(error) == seconds


def test_pauses_grow_and_end() -> None:
    repeating = Repeating(True)
    pauses = [repeating.wait(TransportError("cut")) for _ in range(4)]
    for number, pause in enumerate(pauses):
        assert pause is not None
        assert 0.1 * 2**number <= pause <= 0.5 * 2**number
    twice = Repeating(True, tries=1)
    assert twice.wait(TransportError("cut")) is not None
    assert twice.wait(TransportError("cut")) is None


def test_the_last_attempt_is_as_late_as_it_may_be() -> None:
    repeating = Repeating(True, within=0.3)
    for _ in range(5):
        wait = repeating.wait(TransportError("cut"))
        assert wait is not None
        assert wait <= 0.3
    assert Repeating(True, within=0.05).wait(TransportError("cut")) is None
    assert Repeating(True, within=5.0).wait(HttpFailure("", 503, {"retry-after": "5"})) is None
    late = Repeating(True, within=5.5).wait(HttpFailure("", 503, {"retry-after": "5"}))
    assert late is not None
    assert 5.0 <= late <= 5.5
