"""A real HTTP server in this process, and ways to speak to it."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping

import aiohttp
import uvicorn

from tests.transports.fixture import INITIALIZED, initialize
from trunkline.protocol import json, sse
from trunkline.transports.asgi import ASGIApp
from trunkline.transports.serving import Binding, bind

BOTH = "application/json, text/event-stream"
JSON = {"Content-Type": "application/json", "Accept": BOTH}


@contextlib.asynccontextmanager
async def served(app: ASGIApp, http: str = "httptools") -> AsyncIterator[int]:
    """Serve an ASGI application on a free port of the loopback."""
    listener = bind(Binding(port=0))
    config = uvicorn.Config(
        app, http=http, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=3
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # The parts of `Server.serve`, without its clock and its pauses, which would make every test longer.
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        for acceptor in server.servers:
            acceptor.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(5):
            while server.server_state.connections or server.server_state.tasks:
                await asyncio.sleep(0.002)
        await server.lifespan.shutdown()


class Web:
    """A client that sees statuses, headers and events."""

    def __init__(self, port: int, http: aiohttp.ClientSession, path: str = "/mcp") -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}{path}"
        self.http = http
        self.headers: dict[str, str] = {}
        self.always: dict[str, str] = {}
        self._responses: list[aiohttp.ClientResponse] = []

    async def post(self, body: bytes, **headers: str) -> aiohttp.ClientResponse:
        return await self.request("POST", body, **headers)

    async def get(self, **headers: str) -> aiohttp.ClientResponse:
        return await self.request("GET", **headers)

    async def delete(self, **headers: str) -> aiohttp.ClientResponse:
        return await self.request("DELETE", **headers)

    async def request(self, method: str, body: bytes | None = None, **headers: str) -> aiohttp.ClientResponse:
        data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > 1_000_000 else body
        response = await self.http.request(method, self.url, data=data, headers=self._all(headers))
        self._responses.append(response)
        return response

    def close(self) -> None:
        """Leave every stream that is still open."""
        for response in self._responses:
            response.close()

    async def begin(self, revision: str = "2025-11-25", **options: object) -> dict[str, object]:
        response = await self.post(initialize(revision, **options))
        assert response.status == 200
        result = (await response.json())["result"]
        self.headers = {"Mcp-Session-Id": response.headers["Mcp-Session-Id"]}
        if revision != "2025-03-26":
            self.headers["MCP-Protocol-Version"] = result["protocolVersion"]
        assert (await self.post(INITIALIZED)).status == 202
        return result

    def _all(self, headers: Mapping[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return {**JSON, **self.always, **self.headers, **named}


class Events:
    """The events of an open stream; balancers take the header that is meant for them."""

    def __init__(self, response: aiohttp.ClientResponse, *, balanced: bool = False) -> None:
        assert response.status == 200, response.status
        assert response.headers["Content-Type"] == "text/event-stream"
        assert balanced or response.headers["X-Accel-Buffering"] == "no"
        self.response = response
        self.last: str | None = None
        self.retry: int | None = None
        self._parser = sse.Parser()
        self._ready: list[sse.Event] = []

    async def event(self) -> sse.Event | None:
        """The next event, or None at the end of the stream."""
        while not self._ready:
            chunk = await self.response.content.readany()
            if not chunk:
                return None
            self._ready += self._parser.feed(chunk)
        event = self._ready.pop(0)
        self.last = event.id
        self.retry = event.retry or self.retry
        return event

    async def message(self) -> dict[str, object] | None:
        """The next event that carries a message."""
        while (event := await self.event()) is not None:
            if event.data:
                return json.plain(event.data.encode())
        return None

    async def rest(self) -> list[dict[str, object]]:
        """All messages until the end."""
        messages = []
        while (message := await self.message()) is not None:
            messages.append(message)
        return messages
