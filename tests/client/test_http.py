"""The Streamable HTTP channel against servers that misbehave."""

import asyncio
import json
import logging

import pytest
from aiohttp import web

from tests.client.raw import DISCOVERED, GREETING, answer, event, refusal, serving, stream
from trunkline.client.http import HttpChannel, new_session
from trunkline.client.modern import ModernPeer
from trunkline.errors import HttpFailure, InvalidAnswer, RemoteError, RequestTimeout, TransportError


async def ask(handler, method="tools/call", params=None, *, limit=1_000_000, **options):
    """One request of a modern peer to a server that is one handler."""
    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url, session, limit=limit), GREETING, "raw")
        try:
            return await peer.request(method, params or {"name": "t", "arguments": {}}, **options)
        finally:
            await peer.close()


async def test_a_json_answer_keeps_the_digits_of_numbers_and_unknown_fields() -> None:
    async def handler(request: web.Request) -> web.Response:
        id = (await request.json())["id"]
        body = f'{{"jsonrpc":"2.0","id":{id},"result":{{"price":0.10,"big":12345678901234567890123,"new":{{"x":1}}}}}}'
        return web.Response(text=body, content_type="application/json")

    result = await ask(handler)
    assert bytes(result["price"]) == b"0.10"  # type: ignore[call-overload]
    assert result["big"] == 12345678901234567890123
    assert result["new"] == {"x": 1}


async def test_headers_and_meta_say_the_same_and_the_callers_meta_stays() -> None:
    seen = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(headers=dict(request.headers), body=await request.json())
        return web.json_response(answer(seen["body"], {"resultType": "complete"}))

    await ask(handler, "resources/read", {"uri": "file:///ä b", "_meta": {"com.example/x": 1}})
    meta = seen["body"]["params"]["_meta"]
    assert meta["com.example/x"] == 1
    assert meta["io.modelcontextprotocol/protocolVersion"] == seen["headers"]["MCP-Protocol-Version"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta["io.modelcontextprotocol/clientInfo"]["name"] == "test"
    assert seen["headers"]["Mcp-Method"] == "resources/read"
    assert seen["headers"]["Mcp-Name"].startswith("=?base64?")
    assert {"application/json", "text/event-stream"} <= set(seen["headers"]["Accept"].split(", "))


async def test_progress_comes_under_the_callers_own_token() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        token = message["params"]["_meta"]["progressToken"]
        response = await stream(request)
        progress = {"jsonrpc": "2.0", "method": "notifications/progress"}
        await response.write(event({**progress, "params": {"progressToken": token, "progress": 1}}))
        await response.write(event({**progress, "params": {"progressToken": "someone else's", "progress": 9}}))
        await response.write(b": comment\n\n" + event(answer(message, {"done": True})))
        return response

    seen = []

    async def note(method: str, params: dict[str, object]) -> None:
        seen.append((method, params))

    result = await ask(handler, params={"name": "t", "_meta": {"progressToken": "mine"}}, on_notification=note)
    assert result == {"done": True}
    assert seen == [("notifications/progress", {"progressToken": "mine", "progress": 1})]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("{", "application/json"),
        ('{"jsonrpc":"2.0","id":1,"id":1,"result":{}}', "application/json"),
        ("[]", "application/json"),
        ('"text"', "application/json"),
        ('{"jsonrpc":"2.0","id":1,"result":[]}', "application/json"),
        ('{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', "application/json"),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"m"}}', "application/json"),
        ('{"jsonrpc":"2.0","id":99,"result":{}}', "application/json"),
        ("<html></html>", "text/html"),
        ("[" * 100_000, "application/json"),
        ("data: {\n\n", "text/event-stream"),
        ('data: {"no":"message"}\n\n', "text/event-stream"),
    ],
)
async def test_what_breaks_the_protocol_is_an_invalid_answer(body: str, content_type: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=body, content_type=content_type)

    with pytest.raises(InvalidAnswer):
        await ask(handler)


async def test_an_answer_that_never_ends_is_cut_at_the_limit() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    with pytest.raises(InvalidAnswer, match="more than"):
        await ask(handler)


async def test_an_event_that_never_ends_is_cut_at_the_limit() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        await response.write(b"data: ")
        while True:
            await response.write(b"x" * 65536)

    with pytest.raises(InvalidAnswer, match="larger than"):
        await ask(handler)


async def test_a_stream_that_ends_early_says_that_the_call_may_have_run() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await stream(request)

    with pytest.raises(TransportError, match="may have run") as caught:
        await ask(handler)
    assert caught.value.delivered


async def test_a_connection_cut_in_the_middle_is_a_transport_error() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        await response.write(b"data: {")
        assert request.transport is not None
        request.transport.abort()
        return response

    with pytest.raises(TransportError):
        await ask(handler)


async def test_nobody_listening_is_told_as_not_delivered() -> None:
    async with serving(_hang) as url:
        pass
    async with new_session() as session:
        peer = ModernPeer(HttpChannel(url, session), GREETING, "raw")
        with pytest.raises(TransportError, match="Cannot connect") as caught:
            await peer.request("tools/list", {})
    assert not caught.value.delivered


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
async def test_a_status_without_a_message_is_an_http_failure_with_its_headers(status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, text="secret body", headers={"WWW-Authenticate": "Bearer x"})

    with pytest.raises(HttpFailure) as caught:
        await ask(handler)
    assert caught.value.status == status
    assert caught.value.headers["www-authenticate"] == "Bearer x"
    assert "secret body" not in str(caught.value)


async def test_an_error_with_any_status_is_the_servers_error() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(refusal(await request.json(), -32602, "Unknown tool", {"x": 1}), status=400)

    with pytest.raises(RemoteError) as caught:
        await ask(handler)
    assert (caught.value.remote_code, caught.value.message, caught.value.data) == (-32602, "Unknown tool", {"x": 1})


async def _hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("unreachable")


async def test_silence_is_a_timeout() -> None:
    with pytest.raises(RequestTimeout):
        await ask(_hang, timeout=0.05)


async def test_progress_resets_the_timeout_but_not_the_maximum() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        token = message["params"]["_meta"]["progressToken"]
        response = await stream(request)
        for step in range(1000):
            await asyncio.sleep(0.05)
            params = {"progressToken": token, "progress": step}
            await response.write(event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
        return response

    steps = []

    async def note(method: str, params: dict[str, object]) -> None:
        steps.append(params["progress"])

    with pytest.raises(RequestTimeout):
        await ask(
            handler,
            params={"name": "t", "_meta": {"progressToken": 1}},
            timeout=0.4,
            maximum=1.0,
            on_notification=note,
        )
    assert len(steps) > 8


async def test_cancelling_closes_the_stream() -> None:
    gone = asyncio.Event()
    started = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await stream(request)
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            gone.set()
        return response

    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url, session), GREETING, "raw")
        task = asyncio.create_task(peer.request("tools/call", {"name": "t"}))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


async def test_redirects_are_followed_inside_the_origin_only() -> None:
    async def inside(request: web.Request) -> web.Response:
        if request.path == "/mcp":
            raise web.HTTPTemporaryRedirect("/mcp/")
        return web.json_response(answer(await request.json(), {"at": request.path}))

    assert (await ask(inside))["at"] == "/mcp/"
    reached = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(request.headers.get("Authorization"))
        return web.json_response(answer(await request.json(), {}))

    async with serving(elsewhere) as other:

        async def away(request: web.Request) -> web.Response:
            raise web.HTTPTemporaryRedirect(other)

        async with serving(away) as url, new_session() as session:
            peer = ModernPeer(HttpChannel(url, session, (("Authorization", "Bearer s3cret"),)), GREETING, "raw")
            with pytest.raises(HttpFailure, match="another origin"):
                await peer.request("tools/list", {})
    assert reached == []


async def test_a_redirect_to_what_is_no_address_is_refused() -> None:
    async def nowhere(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://["})

    with pytest.raises(HttpFailure, match="another origin"):
        await ask(nowhere)


async def test_cookies_are_not_kept() -> None:
    cookies = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        response = web.json_response(answer(await request.json(), {}))
        response.set_cookie("who", "alice")
        return response

    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url.replace("127.0.0.1", "localhost"), session), GREETING, "raw")
        await peer.request("tools/list", {})
        await peer.request("tools/list", {})
    assert cookies == [None, None]


async def test_one_connection_serves_many_requests_streamed_or_not() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        message = await request.json()
        if message["id"] % 2:
            return web.json_response(answer(message, {}))
        response = await stream(request)
        await response.write_eof(event(answer(message, {})))
        return response

    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url, session), GREETING, "raw")
        for _ in range(6):
            await peer.request("tools/list", {})
    assert len(peers) == 1


async def test_a_header_mismatch_lists_the_tools_anew_and_tries_once_more() -> None:
    calls = []
    tool = {
        "name": "sql",
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    }

    async def handler(request: web.Request) -> web.Response:
        message = await request.json()
        calls.append((message["method"], request.headers.get("Mcp-Param-Region")))
        if message["method"] == "tools/list":
            return web.json_response(answer(message, {"tools": [tool]}))
        if "Mcp-Param-Region" not in request.headers:
            return web.json_response(refusal(message, -32020, "Header mismatch"), status=400)
        return web.json_response(answer(message, {"content": []}))

    await ask(handler, params={"name": "sql", "arguments": {"region": "us west"}})
    assert calls == [("tools/call", None), ("tools/list", None), ("tools/call", "us west")]


async def test_tools_with_annotations_that_are_not_allowed_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bad = {"type": "object", "properties": {"n": {"type": "number", "x-mcp-header": "N"}}}
    tools = [{"name": "good", "inputSchema": {"type": "object"}}, {"name": "bad", "inputSchema": bad}]

    async def handler(request: web.Request) -> web.Response:
        return web.json_response(answer(await request.json(), {"tools": tools, "nextCursor": "x"}))

    with caplog.at_level(logging.WARNING, "trunkline.client"):
        result = await ask(handler, "tools/list", {})
    assert [tool["name"] for tool in result["tools"]] == ["good"]
    assert result["nextCursor"] == "x"
    assert "'bad'" in caplog.text


async def test_a_version_that_is_not_served_is_corrected_from_the_list() -> None:
    versions = []

    async def handler(request: web.Request) -> web.Response:
        message = await request.json()
        versions.append(request.headers["MCP-Protocol-Version"])
        if len(versions) == 1:
            data = {"supported": ["2099-01-01", "2026-07-28"], "requested": versions[0]}
            return web.json_response(refusal(message, -32022, "Unsupported", data), status=400)
        return web.json_response(answer(message, dict(DISCOVERED)))

    await ask(handler, "tools/list", {})
    assert versions == ["2026-07-28", "2026-07-28"]


async def test_listening_yields_the_acknowledgement_first_and_ends_gracefully() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        response = await stream(request)
        meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        wanted = message["params"]["notifications"]
        for method, extra in (
            ("notifications/subscriptions/acknowledged", {"notifications": wanted}),
            ("notifications/tools/list_changed", {}),
        ):
            await response.write(event({"jsonrpc": "2.0", "method": method, "params": {"_meta": meta, **extra}}))
        await response.write(event(answer(message, {"resultType": "complete", "_meta": meta})))
        return response

    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url, session), GREETING, "raw")
        seen = [notification.method async for notification in peer.listen({"toolsListChanged": True})]
    assert seen == ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed"]


async def test_leaving_a_subscription_closes_its_stream() -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.json()
        response = await stream(request)
        try:
            params = {"notifications": {}}
            method = "notifications/subscriptions/acknowledged"
            await response.write(event({"jsonrpc": "2.0", "method": method, "params": params}))
            await asyncio.sleep(3600)
        finally:
            gone.set()
        return response

    async with serving(handler) as url, new_session() as session:
        peer = ModernPeer(HttpChannel(url, session), GREETING, "raw")
        subscription = peer.listen({"toolsListChanged": True})
        await anext(subscription)
        await subscription.aclose()
        await asyncio.wait_for(gone.wait(), 5)


def test_names_for_people_hold_no_secrets() -> None:
    channel = HttpChannel("https://user:pw@host:8443/mcp?token=abc", None)  # type: ignore[arg-type]
    assert channel.name == "https://host:8443/mcp"
    assert "pw" not in repr(channel)
    assert json.dumps(channel.name)
