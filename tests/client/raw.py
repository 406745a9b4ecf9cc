"""Servers that do exactly what a test says, however wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from trunkline.client.eras import Approach, EraMemory
from trunkline.client.peer import Greeting

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Message = dict[str, object]
GREETING = Greeting({"name": "test", "version": "0"})
DISCOVERED: Message = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {"listChanged": True}, "resources": {"subscribe": True}},
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "raw", "version": "1"}},
    "ttlMs": 0,
    "cacheScope": "private",
}


def approach(**options: object) -> Approach:
    """How tests meet servers."""
    return Approach(GREETING, EraMemory(), **options)  # type: ignore[arg-type]


def initialized(version: str = "2025-11-25", **capabilities: object) -> Message:
    """An `InitializeResult`."""
    return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "raw", "version": "1"}}


def answer(request: Message, result: Message) -> Message:
    """A response to a request."""
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def refusal(request: Message, code: int, text: str = "no", data: object = None) -> Message:
    """An error response to a request."""
    return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": text, "data": data}}


def event(message: object, *, id: str | None = None, retry: int | None = None) -> bytes:
    """One SSE event."""
    head = (f"id: {id}\n" if id else "") + (f"retry: {retry}\n" if retry is not None else "")
    return (head + f"data: {json.dumps(message) if message is not None else ''}\n\n").encode()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """An HTTP server on a free port of the loopback; gives the URL of its endpoint."""
    app = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}/mcp"
    finally:
        await runner.cleanup()


async def stream(request: web.Request) -> web.StreamResponse:
    """Begin an event stream as the answer."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


class Scripted:
    """A link to a server that is a function: message in, messages out (bytes are sent as they are, None ends)."""

    def __init__(self, reply: Callable[[Message], list[Message | bytes | None]]) -> None:
        self.received: list[Message] = []
        self.closed = False
        self._reply = reply
        self._out: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def open(self) -> None:
        """Always open."""

    async def send(self, message: bytes) -> None:
        """Take a message and queue what the function answers."""
        decoded = json.loads(message)
        self.received.append(decoded)
        self.push(*self._reply(decoded))

    def push(self, *messages: Message | bytes | None) -> None:
        """Send without being asked."""
        for one in messages:
            self._out.put_nowait(json.dumps(one).encode() if isinstance(one, dict) else one)

    async def receive(self) -> bytes | None:
        """The next message."""
        return await self._out.get()

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def methods(self) -> list[object]:
        """The methods received so far."""
        return [message.get("method") for message in self.received]
