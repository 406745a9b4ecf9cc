"""Modern Streamable HTTP on a real socket: one request, one answer, JSON or a stream."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.transports.fixture import VERSION, Stage, application_of, call, meta, request
from tests.transports.test_duplex import FILTER, words
from tests.transports.test_legacy import until
from tests.transports.web import BOTH, Events, Web, served
from trunkline.engine.doors import Change
from trunkline.protocol import json, messages, sse
from trunkline.runtime import inflight
from trunkline.runtime.application import Application
from trunkline.transports import modern
from trunkline.transports.http import HTTPTransport, Limits

TAG = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture
def now(web: Web) -> Web:
    """A client of 2026-07-28."""
    web.headers = {"MCP-Protocol-Version": "2026-07-28"}
    return web


async def tool(
    web: Web, name: str, arguments: object = None, *, id: object = 1, **options: object
) -> aiohttp.ClientResponse:
    body = call(id, name, arguments, modern=True, **options)
    return await web.post(body, Mcp_Method="tools/call", Mcp_Name=name)


async def listen(web: Web, params: object = FILTER, id: object = 1) -> Events:
    return Events(await web.post(request(id, "subscriptions/listen", params), Mcp_Method="subscriptions/listen"))


class TestAnswers:
    async def test_a_call_that_tells_nothing_is_answered_with_json(self, now: Web) -> None:
        response = await tool(now, "echo", {"text": "hi"})
        assert response.headers["Content-Type"] == "application/json"
        answer = await response.json()
        assert words(answer) == "hi"
        assert answer["result"]["resultType"] == "complete"
        assert answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "stage"

    async def test_the_first_notification_makes_it_a_stream_without_event_ids(self, now: Web) -> None:
        events = Events(await tool(now, "count", {"n": 2}, token="t"))
        seen = []
        while (event := await events.event()) is not None:
            assert event.id is None
            seen.append(json.plain(event.data.encode()))
        assert [message["params"]["progress"] for message in seen[:2]] == [1, 2]
        assert words(seen[2]) == "2"

    async def test_input_is_asked_in_rounds(self, now: Web) -> None:
        first = (await (await tool(now, "name")).json())["result"]
        params = {
            "name": "name",
            "arguments": {},
            "_meta": meta(),
            "requestState": first["requestState"],
            "inputResponses": {"user": {"action": "accept", "content": {"name": "Ada"}}},
        }
        response = await now.post(request(2, "tools/call", params), Mcp_Method="tools/call", Mcp_Name="name")
        assert "Ada" in words(await response.json())

    async def test_notifications_are_accepted(self, now: Web) -> None:
        response = await now.post(messages.notification("notifications/anything", {"_meta": meta()}))
        assert (response.status, await response.read()) == (202, b"")

    @pytest.mark.parametrize("name", ["broken", "odd"])
    async def test_a_failing_tool_is_an_internal_error_without_details(self, now: Web, name: str) -> None:
        response = await tool(now, name)
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (200, -32603)
        assert "secret" not in error["message"]

    @pytest.mark.parametrize(
        "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "nothing/known"]
    )
    async def test_unknown_methods_are_404(self, now: Web, method: str) -> None:
        response = await now.post(request(5, method, {"_meta": meta()}), Mcp_Method=method)
        answer = await response.json()
        assert (response.status, answer["error"]["code"], answer["id"]) == (404, -32601, 5)

    async def test_a_response_is_refused(self, now: Web) -> None:
        response = await now.post(b'{"jsonrpc":"2.0","id":1,"result":{}}')
        assert response.status == 400


class TestLadder:
    async def refused(self, web: Web, body: bytes, code: int, **headers: str) -> dict[str, object]:
        response = await web.post(body, **headers)
        answer = await response.json()
        assert (response.status, answer["error"]["code"], answer["id"]) == (400, code, 1)
        return answer["error"]

    @pytest.mark.parametrize("gone", [VERSION, "io.modelcontextprotocol/clientCapabilities"])
    async def test_meta_must_be_complete(self, now: Web, gone: str) -> None:
        params = {"_meta": {key: value for key, value in meta().items() if key != gone}}
        error = await self.refused(now, request(1, "tools/list", params), -32602, Mcp_Method="tools/list")
        assert gone in error["message"]

    @pytest.mark.parametrize("params", [None, {}, {"_meta": None}, {"_meta": []}, {"_meta": {VERSION: 7}}])
    async def test_meta_must_be_there(self, now: Web, params: object) -> None:
        await self.refused(now, request(1, "tools/list", params), -32602, Mcp_Method="tools/list")

    async def test_an_unknown_version_is_told_the_known_ones(self, now: Web) -> None:
        body = request(1, "tools/list", {"_meta": {**meta(), VERSION: "2031-01-01"}})
        error = await self.refused(now, body, -32022, MCP_Protocol_Version="2031-01-01", Mcp_Method="tools/list")
        assert error["data"]["requested"] == "2031-01-01"
        assert "2026-07-28" in error["data"]["supported"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"MCP_Protocol_Version": "2025-11-25", "Mcp_Method": "tools/call", "Mcp_Name": "echo"},
            {"Mcp_Name": "echo"},
            {"Mcp_Method": "tools/list", "Mcp_Name": "echo"},
            {"Mcp_Method": "TOOLS/CALL", "Mcp_Name": "echo"},
            {"Mcp_Method": "tools/call"},
            {"Mcp_Method": "tools/call", "Mcp_Name": "other"},
            {"Mcp_Method": "tools/call", "Mcp_Name": "=?base64?!!?="},
            {"Mcp_Method": "tools/call", "Mcp_Name": "=?base64?b3RoZXI=?="},
        ],
    )
    async def test_headers_that_differ_from_the_body(self, now: Web, headers: dict[str, str]) -> None:
        body = call(1, "echo", {"text": "x"}, modern=True)
        await self.refused(now, body, -32020, **headers)

    @pytest.mark.parametrize("name", ["echo", "  echo  ", "=?base64?ZWNobw==?="])
    async def test_headers_that_agree_in_other_words(self, now: Web, name: str) -> None:
        body = call(1, "echo", {"text": "x"}, modern=True)
        response = await now.post(body, mcp_method="tools/call", MCP_NAME=name)
        assert words(await response.json()) == "x"


class TestEnds:
    async def test_leaving_cancels_the_call(self, now: Web, stage: Stage, application: Application) -> None:
        events = Events(await tool(now, "wait", token="t"))
        await events.message()
        assert stage.running == 1
        events.response.close()
        await until(lambda: stage.cancelled == 1)
        await until(lambda: not application.inflight.calls)

    async def test_leaving_cancels_a_call_that_told_nothing(self, now: Web, stage: Stage) -> None:
        task = asyncio.create_task(tool(now, "hang_up"))
        await until(lambda: stage.running == 1)
        task.cancel()
        await until(lambda: stage.cancelled == 1)

    @pytest.mark.parametrize("name", ["hang_up", "wait"])
    async def test_a_deadline_ends_the_call_with_an_error(self, stage: Stage, name: str) -> None:
        app = HTTPTransport(application_of(stage, call_timeout=0.2))
        async with served(app) as port, aiohttp.ClientSession() as http:
            web = Web(port, http)
            web.headers = {"MCP-Protocol-Version": "2026-07-28"}
            response = await tool(web, name, token="t")
            assert response.status == 200
            text = (await response.read()).decode()
            assert "-31004" in text
            assert "stopped after 0.2 seconds" in text
            assert stage.cancelled == 1

    async def test_a_quiet_stream_is_kept_alive(self, now: Web, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(modern, "KEEP_ALIVE_AFTER", 0.1)
        monkeypatch.setattr(inflight, "PERIOD", 0.02)
        response = await tool(now, "wait", token="t")
        seen = b""
        while sse.KEEP_ALIVE not in seen:
            seen += await response.content.readany()
        stage.gate.set()
        assert b"waited" in await response.read()


class TestListen:
    async def test_acknowledged_first_then_tagged_changes_of_the_filter_alone(self, now: Web, stage: Stage) -> None:
        events = await listen(now, id="sub")
        first = await events.message()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["_meta"][TAG] == "sub"
        assert stage.followed == ["test://a"]
        stage.publish(Change("prompts"))
        stage.publish(Change("resource", uri="test://other"))
        stage.publish(Change("tools"))
        changed = await events.message()
        assert changed["method"] == "notifications/tools/list_changed"
        assert changed["params"]["_meta"] == {TAG: "sub"}

    async def test_leaving_ends_it(self, now: Web, stage: Stage, application: Application) -> None:
        events = await listen(now)
        await events.message()
        events.response.close()
        await until(lambda: not stage.followed)
        await until(lambda: not application.inflight.calls)

    async def test_a_drain_completes_it(self, now: Web, application: Application) -> None:
        events = await listen(now)
        await events.message()
        await application.inflight.drain(2)
        completion = await events.message()
        assert completion == {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete", "_meta": {TAG: 1}}}
        assert await events.message() is None

    @pytest.mark.parametrize("wanted", [None, [], "all", {"toolsListChanged": 1}, {"resourceSubscriptions": [1]}])
    async def test_a_malformed_filter_is_invalid(self, now: Web, wanted: object) -> None:
        params = {"_meta": meta(), "notifications": wanted}
        response = await now.post(request(1, "subscriptions/listen", params), Mcp_Method="subscriptions/listen")
        assert (response.status, (await response.json())["error"]["code"]) == (400, -32602)

    async def test_what_cannot_be_followed_is_refused(self, now: Web) -> None:
        params = {"_meta": meta(), "notifications": {"resourceSubscriptions": ["test://unknown"]}}
        response = await now.post(request(1, "subscriptions/listen", params), Mcp_Method="subscriptions/listen")
        assert (response.status, (await response.json())["error"]["code"]) == (400, -32602)

    async def test_a_slow_listener_gets_each_change_once_and_holds_up_nobody(self, now: Web, stage: Stage) -> None:
        slow, quick = await listen(now), await listen(now, id=2)
        await slow.message()
        await quick.message()
        for _ in range(1000):
            stage.publish(Change("tools"))
        assert (await quick.message())["method"] == "notifications/tools/list_changed"
        assert (await slow.message())["method"] == "notifications/tools/list_changed"


class TestEndpoint:
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
    async def test_other_methods_are_405(self, web: Web, method: str) -> None:
        response = await web.request(method)
        assert response.status == 405
        assert "POST" in response.headers["Allow"]

    @pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "", "application/x-www-form-urlencoded"])
    async def test_other_media_types_are_415(self, now: Web, kind: str) -> None:
        assert (await now.post(call(1, "echo", modern=True), Content_Type=kind)).status == 415

    @pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", "", f"{BOTH};q=0"])
    async def test_an_accept_header_without_both_is_406(self, now: Web, accept: str) -> None:
        assert (await now.post(call(1, "echo", modern=True), Accept=accept)).status == 406

    @pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
    @pytest.mark.parametrize("accept", ["*/*", "application/*, text/*", "text/event-stream;q=0.5,application/json"])
    async def test_media_types_in_other_words(self, now: Web, kind: str, accept: str) -> None:
        body = call(1, "echo", {"text": "x"}, modern=True)
        headers = {"Content_Type": kind, "Accept": accept, "Mcp_Method": "tools/call", "Mcp_Name": "echo"}
        assert (await now.post(body, **headers)).status == 200

    async def test_a_body_over_the_limit_is_413(self, stage: Stage) -> None:
        app = HTTPTransport(application_of(stage), limits=Limits(body=1000))
        async with served(app) as port, aiohttp.ClientSession() as http:
            web = Web(port, http)
            web.headers = {"MCP-Protocol-Version": "2026-07-28"}
            assert (await tool(web, "echo", {"text": "x" * 1000})).status == 413
            assert (await web.post(chunks(b"x" * 2000))).status == 413
            assert (await tool(web, "echo", {"text": "x"})).status == 200
            web.close()

    async def test_other_paths_are_404_and_say_where_the_endpoint_is(self, web: Web) -> None:
        web.url = web.url.removesuffix("/mcp")
        response = await web.get()
        assert response.status == 404
        assert "/mcp" in (await response.json())["error"]["message"]


def chunks(body: bytes) -> AsyncIterator[bytes]:
    async def parts() -> AsyncIterator[bytes]:
        for place in range(0, len(body), 100):
            yield body[place : place + 100]

    return parts()


class TestUploads:
    @pytest.mark.parametrize("sent", [b"", b'{"jsonrpc"'])
    async def test_a_body_that_does_not_arrive_is_not_waited_for(
        self, sent: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inflight, "PERIOD", 0.02)
        async with served(HTTPTransport(application_of(Stage()), limits=Limits(upload=0.05))) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: {BOTH}\r\n"
            writer.write(head.encode() + b"Content-Length: 100\r\n\r\n" + sent)
            try:
                assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 408 Request Timeout\r\n"
            finally:
                writer.close()
