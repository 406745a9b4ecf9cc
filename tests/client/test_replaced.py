"""A legacy session whose server is replaced by another process of it at a bad moment: the client says it again."""

import asyncio

import pytest
from aiohttp import web

from tests.client.raw import Message, answer, event, initialized, serving, stream
from trunkline import Client, ElicitAnswer


class Replaced:
    """A session in which the first attempt at some things meets a process that has just gone."""

    def __init__(self, *gone: str) -> None:
        self.gone = set(gone)
        self.seen: list[str] = []
        self.answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return await self.resume(request)
        message = await request.json()
        what = message.get("method", "answer")
        self.seen.append(what)
        if what in self.gone:
            self.gone.remove(what)
            return web.Response(status=502)
        if what == "initialize":
            return web.json_response(answer(message, initialized(tools={})), headers={"Mcp-Session-Id": "s"})
        if what == "tools/call":
            return await self.call(request, message)
        if what == "answer" and not self.answered.done():
            self.answered.set_result(message["result"])
        return web.Response(status=202)

    async def call(self, request: web.Request, message: Message) -> web.StreamResponse:
        """Ask, and answer with what was said."""
        response = await stream(request)
        if "resume" in self.gone:
            self.call_id = message["id"]
            await response.write(event(None, id="1", retry=10))
            assert request.transport is not None
            request.transport.abort()
            return response
        asked = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
        await response.write(event({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": asked}))
        said = await asyncio.wait_for(self.answered, 20)
        content = [{"type": "text", "text": said["action"]}]
        await response.write(event(answer(message, {"content": content})))
        return response

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """The GET stream, and the rest of a call's."""
        if request.method == "DELETE" or "Last-Event-ID" not in request.headers:
            return web.Response(status=405)
        if "resume" in self.gone:
            self.gone.remove("resume")
            return web.Response(status=502)
        response = await stream(request)
        result: Message = {"content": [{"type": "text", "text": "resumed"}]}
        await response.write(event({"jsonrpc": "2.0", "id": self.call_id, "result": result}, id="2"))
        return response


@pytest.mark.parametrize("gone", ["notifications/initialized", "answer"])
async def test_what_is_safe_to_say_twice_is_said_again(gone: str) -> None:
    server = Replaced(gone)
    async with (
        serving(server) as url,
        Client(url, era="legacy", elicit=lambda _: ElicitAnswer("accept", {}), timeout=10) as client,
    ):
        assert (await client.call("ask")).text == "accept"
    assert server.seen.count(gone) == 2


async def test_a_stream_is_resumed_although_the_balancer_had_nobody_at_first() -> None:
    server = Replaced("resume")
    async with serving(server) as url, Client(url, era="legacy", timeout=10) as client:
        assert (await client.call("x")).text == "resumed"
