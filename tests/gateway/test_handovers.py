"""Replicas of one gateway before a legacy HTTP server: a caller has one session there, whichever replica calls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.gateway.callers import ALICE, BOB, Caller, until
from tests.storage.conftest import QUICK, url  # noqa: F401
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation
from trunkline.portable.model import Entry
from trunkline.protocol import json
from trunkline.transports.stored import Stored

ABLE = {"elicitation": {"form": {}}}
ANSWERS = {"elicitation/create": {"action": "accept", "content": {"name": "Ada"}}}
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("remember", "greet")]


class Keeper:
    """A sessionful server of 2025-11-25: remembers words, asks on its one GET stream, forgets when told to."""

    def __init__(self) -> None:
        self.words: dict[str, list[str]] = {}
        self.begun = 0
        self.ended: list[str] = []
        self.ids: list[object] = []
        self.ears: dict[str, web.StreamResponse] = {}
        self.answers: dict[str, asyncio.Future] = {}

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/mcp", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp"
        await runner.cleanup()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        session = request.headers.get("Mcp-Session-Id", "")
        if request.method == "POST":
            return await self.post(await request.json(), session)
        if session not in self.words:
            return web.Response(status=404)
        if request.method == "DELETE":
            del self.words[session]
            self.ended.append(session)
            return web.Response(status=204)
        if session in self.ears:
            return web.Response(status=409)
        response = self.ears[session] = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await asyncio.sleep(3600)
        finally:
            del self.ears[session]
        return response

    async def post(self, message: dict, session: str) -> web.Response:
        method, id = message.get("method"), message.get("id")
        if method == "server/discover":
            return web.json_response(wire(id, error={"code": -32601, "message": "no"}), status=404)
        if method == "initialize":
            self.begun += 1
            session = f"s{self.begun}"
            self.words[session] = []
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "keeper"}}
            return web.json_response(wire(id, result), headers={"Mcp-Session-Id": session})
        if session not in self.words:
            return web.Response(status=404)
        if method is None:
            self.answers.pop(id).set_result(message["result"])
        if id is None or method is None:
            return web.Response(status=202)
        self.ids.append((session, id))
        if method == "tools/list":
            return web.json_response(wire(id, {"tools": TOOLS}))
        return web.json_response(wire(id, await self.call(message["params"], session)))

    async def call(self, params: dict, session: str) -> dict:
        if params["name"] == "remember":
            self.words[session].append(params["arguments"]["word"])
            return text(f"{session}: {' '.join(self.words[session])}")
        self.answers["q"] = asyncio.get_running_loop().create_future()
        asked = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
        question = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": asked}
        await self.ears[session].write(b"data: " + json.encode(question) + b"\n\n")
        return text(f"Hello {(await self.answers['q'])['content']['name']}")


def wire(id: object, result: object = None, error: object = None) -> dict:
    return {"jsonrpc": "2.0", "id": id, **({"error": error} if error else {"result": result})}


def text(value: object) -> dict:
    return {"content": [{"type": "text", "text": str(value)}]}


def said(result: dict) -> str:
    return result["content"][0]["text"]


@contextlib.asynccontextmanager
async def replica(database: str, address: str) -> AsyncIterator[Engine]:
    shared = Stored(database, QUICK)
    federation = Federation([Entry("up", "http", url=address)], shared=shared)
    engine = Engine(federation, keys=Keys([b"k" * 32]))
    await shared.start()
    await federation.start()
    try:
        await Caller(engine).tools()
        yield engine
    finally:
        await federation.stop()
        await shared.stop()


def caller(engine: Engine, revision: str = "2025-11-25", **options: object) -> Caller:
    return Caller(engine, revision, capabilities=ABLE, answers=ANSWERS, **options)


@pytest.fixture
async def keeper() -> AsyncIterator[tuple[Keeper, str]]:
    server = Keeper()
    async with server.served() as address:
        yield server, address


async def test_a_callers_session_is_one_at_every_replica(url: str, keeper: tuple[Keeper, str]) -> None:  # noqa: F811
    server, address = keeper
    async with replica(url, address) as a, replica(url, address) as b:
        own = server.begun
        one = said(await caller(a, principal=ALICE).call("up__remember", word="x"))
        two = said(await caller(b, principal=ALICE).call("up__remember", word="y"))
        session = one.partition(":")[0]
        assert (one, two) == (f"{session}: x", f"{session}: x y")
        assert server.begun == own + 1
        assert said(await caller(b, principal=BOB).call("up__remember", word="z")) == f"s{own + 2}: z"
        assert len(set(server.ids)) == len(server.ids)
        assert session not in server.ended
    assert session in server.ended


async def test_two_that_begin_at_once_agree(url: str, keeper: tuple[Keeper, str]) -> None:  # noqa: F811
    _, address = keeper
    async with replica(url, address) as a, replica(url, address) as b:
        told = await asyncio.gather(*(caller(one).call("up__remember", word="x") for one in (a, b, a, b)))
        assert len({said(one).partition(":")[0] for one in told}) == 1


async def test_one_that_was_lost_is_made_anew_once_and_unsaid(url: str, keeper: tuple[Keeper, str]) -> None:  # noqa: F811
    server, address = keeper
    async with replica(url, address) as a, replica(url, address) as b:
        for one in (a, b):
            await caller(one).call("up__remember", word="x")
        before = server.begun
        server.words.clear()
        told = [said(await caller(one).call("up__remember", word="y")) for one in (a, b, a)]
        assert [one.partition(": ")[2] for one in told] == ["y", "y y", "y y y"]
        # The caller's one, and one for each replica's own connection where it noticed.
        assert before < server.begun <= before + 3


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_what_it_asks_on_the_listening_replica_reaches_the_call_at_the_other(
    url: str,  # noqa: F811
    keeper: tuple[Keeper, str],
    revision: str,
) -> None:
    server, address = keeper
    async with replica(url, address) as a, replica(url, address) as b:
        session = said(await caller(a, revision).call("up__remember", word="x")).partition(":")[0]
        await until(lambda: session in server.ears)
        other = caller(b, revision)
        assert said(await other.call("up__greet")) == "Hello Ada"
        assert [one.params["message"] for one in other.asked] == ["Name?"]


async def test_a_session_outlives_the_replica_that_began_it(url: str, keeper: tuple[Keeper, str]) -> None:  # noqa: F811
    server, address = keeper
    async with replica(url, address) as b:
        async with replica(url, address) as a:
            session = said(await caller(a).call("up__remember", word="x")).partition(":")[0]
            await caller(b).call("up__remember", word="y")
        assert session not in server.ended
        assert said(await caller(b).call("up__remember", word="z")) == f"{session}: x y z"


async def test_a_server_that_is_down_is_told_as_before(url: str) -> None:  # noqa: F811
    server = Keeper()
    async with server.served() as address:
        stack = contextlib.AsyncExitStack()
        engine = await stack.enter_async_context(replica(url, address))
        await caller(engine).call("up__remember", word="x")
    async with stack:
        with pytest.raises(UpstreamUnavailable, match="up"):
            await caller(engine).call("up__remember", word="y")
