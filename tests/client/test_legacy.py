"""Servers of the legacy era: sessions, resumption, their requests, emulated listening."""

import asyncio
import json
from collections.abc import Callable

import pytest
from aiohttp import web

from tests.client.raw import GREETING, Message, Scripted, answer, approach, event, initialized, refusal, serving, stream
from trunkline.client.duplex import DuplexChannel
from trunkline.client.eras import meet_http
from trunkline.client.http import HttpChannel, new_session
from trunkline.client.legacy import LegacyPeer
from trunkline.errors import RemoteError, TransportError


class Http:
    """A legacy Streamable HTTP server with sessions. `reply` answers what is not part of the session itself."""

    def __init__(
        self, reply: Callable[["Http", web.Request, Message], object] | None = None, **capabilities: object
    ) -> None:
        self.sessions: list[str] = []
        self.log: list[tuple[str, str | None]] = []
        self.responses: list[Message] = []
        self.requests: list[web.Request] = []
        self.get: Callable[[web.Request], object] | None = None
        self.version = "2025-11-25"
        self.greeted = asyncio.Event()
        self.greets = asyncio.Event()
        self.greets.set()
        self._reply = reply
        self._capabilities = capabilities
        self._count = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        session = request.headers.get("Mcp-Session-Id")
        if request.method != "POST":
            self.log.append((request.method, session))
            if request.method == "GET" and self.get is not None:
                return await self.get(request)  # type: ignore[misc]
            return web.Response(status=405)
        message = await request.json()
        self.log.append((str(message.get("method", "response")), session))
        if message.get("method") == "initialize":
            self.greeted.set()
            await self.greets.wait()
            self._count += 1
            self.sessions.append(f"s{self._count}")
            result = initialized(self.version, **self._capabilities)
            return web.json_response(answer(message, result), headers={"Mcp-Session-Id": self.sessions[-1]})
        if session not in self.sessions:
            return web.Response(status=404)
        if "method" not in message:
            self.responses.append(message)
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        found = self._reply(self, request, message) if self._reply else {}
        found = await found if asyncio.iscoroutine(found) else found
        return found if isinstance(found, web.StreamResponse) else web.json_response(answer(message, found))  # type: ignore[arg-type]

    def methods(self) -> list[str]:
        return [method for method, _ in self.log]


class Met:
    """A legacy peer connected to a handler, for the length of a `with`."""

    def __init__(self, server: Http, capabilities: Message | None = None, **options: object) -> None:
        self._server = server
        self._capabilities = capabilities or {}
        self._options = options

    async def __aenter__(self) -> LegacyPeer:
        self._serving = serving(self._server)
        url = await self._serving.__aenter__()
        self._session = new_session()
        greeting = GREETING.__class__(GREETING.info, self._capabilities)
        self.peer = LegacyPeer(HttpChannel(url, self._session), greeting, "raw", **self._options)  # type: ignore[arg-type]
        await self.peer.initialize()
        return self.peer

    async def __aexit__(self, *_: object) -> None:
        await self.peer.close()
        await self._session.close()
        await self._serving.__aexit__(None, None, None)


async def test_session_and_version_go_with_every_request_and_the_session_is_ended() -> None:
    server = Http()
    async with Met(server) as peer:
        await peer.request("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "k": 1}})
    assert server.log == [
        ("initialize", None),
        ("notifications/initialized", "s1"),
        ("tools/list", "s1"),
        ("DELETE", "s1"),
    ]
    assert {request.headers.get("MCP-Protocol-Version") for request in server.requests[1:]} == {"2025-11-25"}


async def test_revisions_before_2025_06_18_have_no_version_header() -> None:
    server = Http()
    server.version = "2025-03-26"
    async with Met(server) as peer:
        await peer.request("tools/list", {})
    assert all("MCP-Protocol-Version" not in request.headers for request in server.requests)


async def test_a_lost_session_is_renewed_unnoticed_and_once_for_all() -> None:
    server = Http(logging={})
    async with Met(server) as peer:
        await peer.request("logging/setLevel", {"level": "error"})
        server.sessions.clear()
        await asyncio.gather(*(peer.request("tools/list", {}) for _ in range(5)))
    assert server.methods().count("initialize") == 2
    assert server.methods().count("logging/setLevel") == 2
    assert [session for method, session in server.log if method == "tools/list"][-5:] == ["s2"] * 5


async def test_a_request_made_while_the_session_is_renewed_waits_for_the_new_one() -> None:
    server = Http()
    async with Met(server) as peer:
        server.sessions.clear()
        server.greets.clear()
        server.greeted.clear()
        first = asyncio.create_task(peer.request("tools/list", {}))
        await server.greeted.wait()
        second = asyncio.create_task(peer.request("prompts/list", {}))
        await asyncio.sleep(0.05)
        server.greets.set()
        await asyncio.gather(first, second)
    assert [session for method, session in server.log if method == "prompts/list"] == ["s2"]


async def test_a_renewal_whose_request_is_cancelled_is_done_by_the_next_one() -> None:
    server = Http()
    async with Met(server) as peer:
        server.sessions.clear()
        server.greets.clear()
        server.greeted.clear()
        first = asyncio.create_task(peer.request("tools/list", {}))
        await server.greeted.wait()
        second = asyncio.create_task(peer.request("prompts/list", {}))
        await asyncio.sleep(0.05)
        first.cancel()
        server.greets.set()
        assert await second == {}


async def test_a_session_lost_with_status_400_is_understood() -> None:
    def reply(server: Http, request: web.Request, message: Message) -> object:
        if request.headers["Mcp-Session-Id"] == "s1":
            return web.json_response(refusal(message, -32000, "Bad Request: No valid session ID provided"), status=400)
        return {"ok": True}

    async with Met(Http(reply)) as peer:
        assert await peer.request("tools/list", {}) == {"ok": True}


async def test_a_server_that_loses_every_session_does_not_make_us_spin() -> None:
    server = Http(lambda server, request, message: web.Response(status=404))
    async with Met(server) as peer:
        with pytest.raises(TransportError, match="lost one session after the other") as failure:
            await peer.request("tools/list", {})
        assert not failure.value.delivered
    assert server.methods().count("initialize") == 2


async def test_a_broken_stream_is_resumed_where_it_broke() -> None:
    server = Http()

    async def reply(server: Http, request: web.Request, message: Message) -> object:
        response = await stream(request)
        await response.write(event(None, id="e1", retry=10))
        server.pending = message  # type: ignore[attr-defined]
        return response

    async def resume(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Last-Event-ID"])
        response = await stream(request)
        if len(seen) == 1:
            log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "back"}}
            await response.write(event(log, id="e2"))
        else:
            await response.write(event(answer(server.pending, {"ok": True}), id="e3"))  # type: ignore[attr-defined]
        return response

    seen: list[str] = []
    logs = []

    async def note(method: str, params: dict[str, object]) -> None:
        logs.append(params["data"])

    server._reply = reply
    server.get = resume
    async with Met(server) as peer:
        assert await peer.request("tools/call", {"name": "x"}, on_notification=note) == {"ok": True}
    assert seen == ["e1", "e2"]
    assert logs == ["back"]


async def test_a_stream_without_event_ids_cannot_be_resumed_and_says_so() -> None:
    async def reply(server: Http, request: web.Request, message: Message) -> object:
        return await stream(request)

    async with Met(Http(reply)) as peer:
        with pytest.raises(TransportError, match="may have run"):
            await peer.request("tools/call", {"name": "x"})


async def test_requests_of_the_server_are_answered_on_the_stream_of_a_call() -> None:
    async def reply(server: Http, request: web.Request, message: Message) -> object:
        response = await stream(request)
        for id, method in (("a", "ping"), ("b", "elicitation/create"), ("c", "roots/list")):
            await response.write(event({"jsonrpc": "2.0", "id": id, "method": method, "params": {"message": "?"}}))
        while len(server.responses) < 3:
            await asyncio.sleep(0.01)
        await response.write(event(answer(message, {"ok": True})))
        return response

    async def handler(method: str, params: dict[str, object]) -> dict[str, object]:
        if method == "roots/list":
            raise RuntimeError("secret detail")
        return {"action": "accept", "content": {"asked": params["message"]}}

    server = Http(reply)
    async with Met(server, on_request=handler) as peer:
        await peer.request("tools/call", {"name": "x"})
    by_id = {message["id"]: message for message in server.responses}
    assert by_id["a"]["result"] == {}
    assert by_id["b"]["result"] == {"action": "accept", "content": {"asked": "?"}}
    assert by_id["c"]["error"]["code"] == -32603  # type: ignore[index]
    assert "secret" not in json.dumps(by_id["c"])


async def test_a_calls_own_handler_is_preferred() -> None:
    async def reply(server: Http, request: web.Request, message: Message) -> object:
        response = await stream(request)
        await response.write(event({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}))
        while not server.responses:
            await asyncio.sleep(0.01)
        await response.write(event(answer(message, {})))
        return response

    async def mine(method: str, params: dict[str, object]) -> dict[str, object]:
        return {"roots": [{"uri": "file:///mine"}]}

    server = Http(reply)
    async with Met(server) as peer:
        await peer.request("tools/call", {"name": "x"}, on_request=mine)
    assert server.responses[0]["result"] == {"roots": [{"uri": "file:///mine"}]}


async def test_requests_on_the_background_stream_are_answered_and_the_stream_comes_back() -> None:
    server = Http()
    opened = []

    async def get(request: web.Request) -> web.StreamResponse:
        opened.append(request.headers.get("Last-Event-ID"))
        response = await stream(request)
        ask = {"jsonrpc": "2.0", "id": len(opened), "method": "roots/list"}
        await response.write(event(ask, id=f"e{len(opened)}", retry=10))
        return response

    async def handler(method: str, params: dict[str, object]) -> dict[str, object]:
        return {"roots": []}

    server.get = get
    async with Met(server, {"roots": {}}, on_request=handler):
        while len(server.responses) < 2:
            await asyncio.sleep(0.01)
    assert opened[:2] == [None, "e1"]
    assert server.responses[0] == {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}


async def test_listening_is_emulated() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message.get("method") == "initialize":
            return [answer(message, initialized(tools={"listChanged": True}, resources={"subscribe": True}))]
        if message.get("method") == "resources/subscribe":
            changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
            others = {"method": "notifications/resources/updated", "params": {"uri": "file:///other"}}
            updated = {"method": "notifications/resources/updated", "params": {"uri": "file:///a/b"}}
            return [answer(message, {}), changed, {"jsonrpc": "2.0", **others}, {"jsonrpc": "2.0", **updated}]
        return [answer(message, {})] if "id" in message else []

    link = Scripted(reply)
    peer = LegacyPeer(DuplexChannel(link, "scripted"), GREETING, "scripted")
    await peer.channel.start(peer.sink)
    await peer.initialize()
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["file:///a"]}
    subscription = peer.listen(wanted)
    first = await anext(subscription)
    assert first.params["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}
    assert (await anext(subscription)).method == "notifications/tools/list_changed"
    assert (await anext(subscription)).params["uri"] == "file:///a/b"
    await subscription.aclose()
    while "resources/unsubscribe" not in link.methods():
        await asyncio.sleep(0.01)
    await peer.close()


async def test_subscriptions_survive_a_lost_session() -> None:
    server = Http(resources={"subscribe": True})
    async with Met(server) as peer:
        subscription = peer.listen({"resourceSubscriptions": ["file:///a"]})
        await anext(subscription)
        server.sessions.clear()
        await peer.request("tools/list", {})
        assert server.log.count(("resources/subscribe", "s2")) == 1
        await subscription.aclose()


async def test_cancelling_over_http_is_said_by_message() -> None:
    started = asyncio.Event()

    async def reply(server: Http, request: web.Request, message: Message) -> object:
        started.set()
        await asyncio.sleep(3600)
        return {}

    server = Http(reply)
    async with Met(server) as peer:
        task = asyncio.create_task(peer.request("tools/call", {"name": "x"}))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while "notifications/cancelled" not in server.methods():
            await asyncio.sleep(0.01)


async def test_a_session_id_that_could_break_headers_is_refused() -> None:
    async def handler(request: web.Request) -> web.Response:
        message = await request.json()
        if message["method"] == "initialize":
            return web.json_response(answer(message, initialized()), headers={"Mcp-Session-Id": "two words"})
        return web.Response(status=400)

    async with serving(handler) as url, new_session() as session:
        with pytest.raises(TransportError, match="session id"):
            await meet_http(url, session, approach())


async def test_an_error_of_the_server_is_carried_as_it_came() -> None:
    def reply(server: Http, request: web.Request, message: Message) -> object:
        return web.json_response(refusal(message, -32002, "Resource not found", {"uri": "x"}))

    async with Met(Http(reply)) as peer:
        with pytest.raises(RemoteError) as caught:
            await peer.request("resources/read", {"uri": "x"})
    assert caught.value.wire() == {"code": -32002, "message": "Resource not found", "data": {"uri": "x"}}


async def test_listeners_are_told_when_the_process_ends() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message.get("method") == "initialize":
            return [answer(message, initialized(tools={"listChanged": True}))]
        return [None] if message.get("method") == "tools/list" else []

    link = Scripted(reply)
    peer = LegacyPeer(DuplexChannel(link, "scripted"), GREETING, "scripted")
    await peer.channel.start(peer.sink)
    await peer.initialize()
    subscription = peer.listen({"toolsListChanged": True})
    await anext(subscription)
    with pytest.raises(TransportError):
        await peer.request("tools/list", {})
    with pytest.raises(TransportError):
        await anext(subscription)
    await peer.close()


@pytest.mark.parametrize("resumable", [True, False])
async def test_listeners_are_told_when_notifications_may_be_lost(resumable: bool) -> None:
    server = Http(tools={"listChanged": True})
    opened = 0

    async def get(request: web.Request) -> web.StreamResponse:
        nonlocal opened
        opened += 1
        response = await stream(request)
        await response.write(event(None, id="e" if resumable else None, retry=10))
        if opened > 1:
            await response.write(event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
            await asyncio.sleep(3600)
        return response

    server.get = get
    async with Met(server) as peer:
        subscription = peer.listen({"toolsListChanged": True})
        await anext(subscription)
        if resumable:
            assert (await anext(subscription)).method == "notifications/tools/list_changed"
        else:
            with pytest.raises(TransportError, match="listen again"):
                await anext(subscription)
        await subscription.aclose()


async def test_a_request_the_server_withdraws_is_not_answered() -> None:
    cancelled = asyncio.Event()
    asked = asyncio.Event()

    async def handler(method: str, params: dict[str, object]) -> dict[str, object]:
        asked.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return {}

    link = Scripted(lambda message: [answer(message, initialized())] if "id" in message else [])
    peer = LegacyPeer(DuplexChannel(link, "scripted"), GREETING, "scripted", on_request=handler)
    await peer.channel.start(peer.sink)
    await peer.initialize()
    link.push({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}})
    await asked.wait()
    link.push({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "q"}})
    await asyncio.wait_for(cancelled.wait(), 5)
    assert "q" not in [message.get("id") for message in link.received]
    await peer.close()
