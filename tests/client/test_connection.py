"""What happens when a connection is lost: what is sent again, what is not, who listens again."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.client.raw import DISCOVERED, Message, answer, event, initialized, refusal, serving, stream
from trunkline import Change, Client, HttpFailure, RemoteError, TransportError


class Failing:
    """An HTTP server whose connection breaks in the first `times` requests of a method."""

    def __init__(self, method: str, times: int = 1, tools: list[Message] | None = None) -> None:
        self.asked: list[str] = []
        self._method = method
        self._times = times
        self._tools = tools or []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.asked.append(message["method"])
        if message["method"] == self._method and self.asked.count(self._method) <= self._times:
            return await self.fail(request)
        results: dict[str, Message] = {
            "server/discover": DISCOVERED,
            "tools/list": {"tools": self._tools},
            "tools/call": {"content": [{"type": "text", "text": "ok"}]},
        }
        return web.json_response(answer(message, results[message["method"]]))

    async def fail(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


async def test_a_list_is_asked_for_once_more() -> None:
    server = Failing("tools/list")
    async with serving(server) as url, Client(url) as client:
        assert await client.tools() == []
    assert server.asked.count("tools/list") == 2


async def test_a_list_is_asked_for_again_while_servers_take_each_others_place() -> None:
    server = Failing("tools/list", times=3)
    async with serving(server) as url, Client(url) as client:
        assert await client.tools() == []


async def test_a_list_is_not_asked_for_for_ever() -> None:
    server = Failing("tools/list", times=1_000_000)
    async with serving(server) as url, Client(url, timeout=1) as client:
        with pytest.raises(TransportError):
            await client.tools()
    assert 2 <= server.asked.count("tools/list") <= 5


async def test_a_call_that_may_have_run_is_not_sent_again() -> None:
    server = Failing("tools/call")
    async with serving(server) as url, Client(url) as client:
        with pytest.raises(TransportError):
            await client.call("x")
    assert server.asked.count("tools/call") == 1


@pytest.mark.parametrize("hint", ["readOnlyHint", "idempotentHint"])
async def test_a_call_that_does_no_harm_twice_is_sent_again(hint: str) -> None:
    server = Failing("tools/call", tools=[{"name": "x", "inputSchema": {}, "annotations": {hint: True}}])
    async with serving(server) as url, Client(url) as client:
        await client.tools()
        assert (await client.call("x")).text == "ok"
    assert server.asked.count("tools/call") == 2


class Interrupting(Failing):
    """Stops while it answers instead."""

    async def fail(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(refusal(await request.json(), -31008, "tools/call was interrupted"))


@pytest.mark.parametrize(("annotations", "sent"), [({}, 1), ({"idempotentHint": True}, 2)])
async def test_an_interrupted_call_is_sent_again_where_that_does_no_harm(annotations: Message, sent: int) -> None:
    server = Interrupting("tools/call", tools=[{"name": "x", "inputSchema": {}, "annotations": annotations}])
    async with serving(server) as url, Client(url) as client:
        await client.tools()
        if sent == 1:
            with pytest.raises(RemoteError, match="interrupted"):
                await client.call("x")
        else:
            assert (await client.call("x")).text == "ok"
    assert server.asked.count("tools/call") == sent


class Lost(Failing):
    """A gateway of which a part is gone."""

    def __init__(self, code: int, retry: bool, annotations: Message) -> None:
        super().__init__("tools/call", tools=[{"name": "x", "inputSchema": {}, "annotations": annotations}])
        self._code = code
        self._retry = retry

    async def fail(self, request: web.Request) -> web.StreamResponse:
        told = refusal(await request.json(), self._code, "it is gone")
        told["error"]["data"] = {"dev.trunkline/retry": self._retry}
        return web.json_response(told)


@pytest.mark.parametrize("code", [-31007, -31005])
@pytest.mark.parametrize(("annotations", "sent"), [({}, 1), ({"readOnlyHint": True}, 2)])
async def test_a_call_lost_behind_a_gateway_is_sent_again_where_that_does_no_harm(
    code: int, annotations: Message, sent: int
) -> None:
    server = Lost(code, True, annotations)
    async with serving(server) as url, Client(url) as client:
        await client.tools()
        if sent == 1:
            with pytest.raises(RemoteError, match="it is gone"):
                await client.call("x")
        else:
            assert (await client.call("x")).text == "ok"
    assert server.asked.count("tools/call") == sent


async def test_an_upstream_that_will_not_answer_is_asked_once() -> None:
    server = Lost(-31005, False, {"readOnlyHint": True})
    async with serving(server) as url, Client(url) as client:
        await client.tools()
        with pytest.raises(RemoteError, match="it is gone"):
            await client.call("x")
    assert server.asked.count("tools/call") == 1


class Status(Failing):
    """Fails by status instead."""

    status = 503
    headers = (("Retry-After", "0"),)

    async def fail(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=self.status, headers=dict(self.headers))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_when_it_said_so(status: int) -> None:
    server = Status("tools/call")
    server.status = status
    async with serving(server) as url, Client(url) as client:
        assert (await client.call("x")).text == "ok"


async def test_a_busy_server_that_wants_a_long_break_is_left_alone() -> None:
    server = Status("tools/call")
    server.headers = (("Retry-After", "3600"),)
    async with serving(server) as url, Client(url) as client:
        with pytest.raises(HttpFailure) as caught:
            await client.call("x")
    assert caught.value.headers["retry-after"] == "3600"
    assert server.asked.count("tools/call") == 1


async def test_a_server_that_became_legacy_is_met_anew() -> None:
    legacy = False

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405)
        message = await request.json()
        if not legacy:
            return web.json_response(answer(message, DISCOVERED))
        if message["method"] == "initialize":
            return web.json_response(answer(message, initialized(tools={})))
        if request.headers.get("MCP-Protocol-Version") == "2026-07-28":
            return web.json_response(refusal(message, -32000, "Bad Request: Unsupported protocol version"), status=400)
        return web.json_response(answer(message, {"tools": []})) if "id" in message else web.Response(status=202)

    async with serving(handler) as url, Client(url) as client:
        legacy = True
        assert await client.tools() == []
        assert (await client.server()).era == "legacy"


async def test_a_server_that_became_modern_is_met_anew() -> None:
    modern = False

    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if modern:
            if message["method"] == "server/discover":
                return web.json_response(answer(message, DISCOVERED))
            if request.headers.get("MCP-Protocol-Version") != "2026-07-28":
                return web.json_response(refusal(message, -32020, "Header mismatch"), status=400)
            return web.json_response(answer(message, {"tools": []}))
        if message["method"] == "initialize":
            return web.json_response(answer(message, initialized(tools={})))
        return web.Response(status=202 if "id" not in message else 400)

    async with serving(handler) as url, Client(url) as client:
        assert (await client.server()).era == "legacy"
        modern = True
        assert await client.tools() == []
        assert (await client.server()).era == "modern"


async def test_an_error_that_is_about_the_request_does_not_disturb_the_connection() -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        message = await request.json()
        asked.append(message["method"])
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        return web.json_response(refusal(message, -32602, "Unknown tool"), status=400)

    async with serving(handler) as url, Client(url) as client:
        with pytest.raises(RemoteError):
            await client.call("x")
    assert asked == ["server/discover", "tools/call"]


COUNTING = """
import json, os, sys
path = sys.argv[1]
count = int(open(path).read()) + 1 if os.path.exists(path) else 1
open(path, "w").write(str(count))
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "tools/call" and message["params"]["name"] == "die":
        os._exit(3)
    text = {"type": "text", "text": str(count)}
    result = {"supportedVersions": ["2026-07-28"], "capabilities": {}, "tools": [], "content": [text]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


async def test_a_process_that_died_is_started_again(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(COUNTING)
    async with Client([sys.executable, str(script), str(tmp_path / "count")]) as client:
        assert (await client.call("x")).text == "1"
        with pytest.raises(TransportError, match="exited with code 3"):
            await client.call("die")
        assert (await client.call("x")).text == "2"
        assert await client.tools() == []


async def test_listening_goes_on_after_the_connection_broke_and_tells_what_may_be_missed() -> None:
    opened = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal opened
        message = await request.json()
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        opened += 1
        response = await stream(request)
        params = {"notifications": message["params"]["notifications"]}
        acknowledged = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
        await response.write(event(acknowledged))
        if opened > 1:
            await response.write(event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
            await asyncio.sleep(3600)
        return response

    async with serving(handler) as url, Client(url) as client:
        ready: list[int] = []
        changes = client.listen("file:///a", tools=True, on_ready=lambda: ready.append(opened))
        found = [await anext(changes) for _ in range(3)]
        await changes.aclose()
    assert ready == [1]
    assert found == [
        Change("tools", missed=True),
        Change("resource", "file:///a", missed=True),
        Change("tools"),
    ]


async def test_listening_to_what_a_server_does_not_offer_is_refused() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        return web.json_response(refusal(message, -32601, "Method not found"), status=404)

    async with serving(handler) as url, Client(url) as client:
        with pytest.raises(RemoteError):
            await anext(client.changes())


async def test_listening_ends_when_the_client_is_closed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        response = await stream(request)
        params = {"notifications": message["params"]["notifications"]}
        acknowledged = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}
        await response.write(event(acknowledged))
        await asyncio.sleep(3600)
        return response

    async with serving(handler) as url:
        client = Client(url)

        async def listen() -> list[Change]:
            return [change async for change in client.changes()]

        task = asyncio.create_task(listen())
        await asyncio.sleep(0.2)
        await client.close()
        assert await asyncio.wait_for(task, 10) == []


async def test_a_closed_client_says_so() -> None:
    async with serving(Failing("none")) as url:
        async with Client(url) as client:
            pass
        with pytest.raises(TransportError, match="closed"):
            await client.tools()


async def test_closing_does_not_wait_for_a_server_that_does_not_answer() -> None:
    asked = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.sleep(3600)
        return web.Response()

    async with serving(handler) as url:
        client = Client(url)
        task = asyncio.create_task(client.tools())
        await asked.wait()
        await asyncio.wait_for(client.close(), 5)
        with pytest.raises(TransportError, match="closed"):
            await task


async def test_a_process_does_not_outlive_a_connection_that_was_given_up(tmp_path: Path) -> None:
    script = tmp_path / "silent.py"
    script.write_text(
        f"import os, sys\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nsys.stdin.read()\n"
    )
    client = Client(script)
    task = asyncio.create_task(client.tools())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    await client.close()
