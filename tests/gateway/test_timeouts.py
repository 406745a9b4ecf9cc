"""Each time a call may take, against real servers that take longer: over HTTP and stdio, of both eras."""

import asyncio
import contextlib
import socket
import sys

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.gateway.callers import Caller, gateway, until
from tests.gateway.slow import PACE, slow
from tests.gateway.test_http import FAST, served
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation
from trunkline.gateway.dialling import Dialler
from trunkline.portable.model import Entry

KINDS = ["http modern", "http legacy", "stdio modern", "stdio legacy", "per-session legacy"]
kinds = pytest.mark.parametrize("kind", KINDS)


class Dripping:
    """An ASGI application in front of a server: calls of `drip` are answered by bytes of no meaning, without end."""

    def __init__(self, app, note):
        self.app = app
        self.note = note

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if b'"tools/call"' in body and b'"drip"' in body:
            await self.drip(send)
            return
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def again():
            return waiting.pop() if waiting else await receive()

        await self.app(scope, again, send)

    async def drip(self, send):
        self.note("drip began")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
            await asyncio.sleep(PACE)


@contextlib.asynccontextmanager
async def behind(kind, folder, **times):
    """A gateway over the slow server: yields a caller of it and what the server noted."""
    how, era = kind.split()
    log = folder / "noted"
    log.touch()

    def note(line):
        with log.open("a") as file:
            file.write(f"{line}\n")

    async with contextlib.AsyncExitStack() as stack:
        if how == "http":
            base = await stack.enter_async_context(served(Dripping(slow(note).app, note)))
            entry = Entry("slow", "http", url=f"{base}/mcp", **times)
        else:
            script = ("-m", "tests.gateway.slow", str(log))
            processes = "per-session" if how == "per-session" else "shared"
            entry = Entry("slow", "stdio", command=sys.executable, args=script, processes=processes, **times)
        dial = Dialler({"name": "gateway", "version": "0"}, era=era)
        federation = Federation([entry], dial=dial, backoff=FAST)
        dial.hold()
        stack.push_async_callback(dial.release)
        engine = await stack.enter_async_context(gateway(federation))
        caller = Caller(engine)
        assert len(await caller.tools()) == 5
        yield caller, lambda: log.read_text().splitlines()


async def refused(caller, tool, **more):
    """The error of a call, which carries a progress token."""
    with pytest.raises(UpstreamUnavailable) as caught:
        async with asyncio.timeout(30):
            await caller.request("tools/call", {"name": f"slow__{tool}", "_meta": {"progressToken": "p"}, **more})
    assert caught.value.data["dev.trunkline/upstream"] == "slow"
    return caught.value


@kinds
async def test_a_call_without_progress_is_up_after_request_timeout(kind, tmp_path):
    async with behind(kind, tmp_path, request_timeout=0.5) as (caller, noted):
        error = await refused(caller, "silent")
        await until(lambda: noted() == ["silent began", "silent cancelled"])

        assert error.message.startswith(
            "upstream slow timed out at tools/call: no answer and no progress for 0.5 s (request_timeout)"
        )
        assert error.message.endswith("the call may have run")
        assert (error.data["dev.trunkline/timeout"], error.data["dev.trunkline/retry"]) == ("request", False)
        assert (await refused(caller, "again")).data["dev.trunkline/retry"] is True


@kinds
async def test_progress_without_end_is_up_after_total_timeout_and_cancelled_there(kind, tmp_path):
    async with behind(kind, tmp_path, idle_timeout=0.5, request_timeout=0.5, total_timeout=1.5) as (caller, noted):
        error = await refused(caller, "chatty")
        await until(lambda: noted() == ["chatty began", "chatty cancelled"])

        assert len([one for one in caller.heard if one["method"] == "notifications/progress"]) > 5
        assert "no end after 1.5 s (total_timeout); the call may have run" in error.message
        assert (error.data["dev.trunkline/timeout"], error.data["dev.trunkline/retry"]) == ("total", False)


@kinds
async def test_what_comes_without_progress_keeps_a_call_from_idle_timeout_alone(kind, tmp_path):
    async with behind(kind, tmp_path, idle_timeout=0.6, request_timeout=1.5) as (caller, noted):
        error = await refused(caller, "drip")
        assert error.data["dev.trunkline/timeout"] == "request"
        assert noted()[0] == "drip began"

        error = await refused(caller, "silent")
        assert "nothing came for 0.6 s (idle_timeout)" in error.message
        await until(lambda: noted()[-1] == "silent cancelled")


async def test_what_a_person_takes_counts_for_none_of_them(tmp_path):
    async with behind("http legacy", tmp_path, idle_timeout=0.3, request_timeout=0.3, total_timeout=1.0) as (caller, _):
        for revision in ("2026-07-28", "2025-11-25"):
            answers = {"elicitation/create": {"action": "accept", "content": {"s": "long"}}}
            person = Thinking(caller.engine, revision, capabilities={"elicitation": {"form": {}}}, answers=answers)
            assert (await person.call("slow__ask"))["content"][0]["text"] == "{'s': 'long'}"


class Thinking(Caller):
    """A caller whose person takes longer than the server may."""

    async def ask(self, requests):
        await asyncio.sleep(1.5)
        return await super().ask(requests)

    async def once(self, method, params=None):
        if "inputResponses" in (params or {}):
            await asyncio.sleep(1.5)
        return await super().once(method, params)


async def test_a_held_call_is_up_after_total_timeout_too(tmp_path):
    async with behind("http legacy", tmp_path, total_timeout=1.0) as (caller, noted):
        able = Caller(caller.engine, capabilities={"elicitation": {"form": {}}})
        assert (await refused(able, "chatty")).data["dev.trunkline/timeout"] == "total"
        await until(lambda: noted() == ["chatty began", "chatty cancelled"])


class Door:
    """A way to a server that can be shut: nobody is let in any more, and nobody is turned away."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.inside: set[asyncio.StreamWriter] = set()
        self.queue: list[socket.socket] = []
        self.tasks: set[asyncio.Task] = set()
        self.opening = self.task(self.let_in())

    def task(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task

    async def let_in(self):
        while True:
            taken, _ = await asyncio.get_running_loop().sock_accept(self.listener)
            here = await asyncio.open_connection(sock=taken)
            there = await asyncio.open_connection("127.0.0.1", self.port)
            self.inside |= {here[1], there[1]}
            self.task(self.carry(here[0], there[1]))
            self.task(self.carry(there[0], here[1]))

    async def carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def shut(self):
        """Drop who is inside, and let the queue before the door fill up: the kernel answers nobody then."""
        self.opening.cancel()
        for writer in self.inside:
            writer.transport.abort()
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            self.queue.append(one)
            with contextlib.suppress(BlockingIOError):
                one.connect(self.listener.getsockname())
        await asyncio.sleep(0.1)

    def close(self):
        for task in self.tasks:
            task.cancel()
        for one in (self.listener, *self.queue):
            one.close()


@contextlib.asynccontextmanager
async def door_to(app):
    async with served(app) as base:
        door = Door(int(base.rpartition(":")[2]))
        try:
            yield door
        finally:
            door.close()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_does_not_accept_is_up_after_connect_timeout(era):
    dial = Dialler({"name": "gateway", "version": "0"}, era=era)
    dial.hold()
    async with door_to(slow(lambda line: None).app) as door:
        entry = Entry("slow", "http", url=f"{door.url}/mcp?key=hunter2-hunter2", connect_timeout=0.4)
        federation = Federation([entry], dial=dial, backoff=FAST)
        async with gateway(federation) as engine:
            caller = Caller(engine)
            assert await caller.tools()
            await door.shut()
            # Without an answer to an earlier one there is nothing to wait for; it cannot have run.
            error = await refused(caller, "silent")
            assert f"Cannot connect to {door.url}/mcp: no connection within 0.4 s" in error.message
            assert error.data["dev.trunkline/retry"] is True
            await until(lambda: federation.statuses()[0].state != "ready")
            assert "no connection within 0.4 s" in (federation.statuses()[0].error or "")
            assert "hunter2" not in f"{federation.statuses()} {error.message}"
    await dial.release()


class Api:
    """An HTTP API that takes its time."""

    def __init__(self):
        self.ended = asyncio.Event()
        self.app = Starlette(routes=[Route("/{name}", self.answer)])

    async def answer(self, request) -> Response:
        name = request.path_params["name"]
        if name == "openapi.json":
            paths = {f"/{one}": {"get": {"operationId": one, "responses": {}}} for one in ("silent", "drip")}
            return JSONResponse({"openapi": "3.1.0", "paths": paths})
        return StreamingResponse(self.stream(name), media_type="text/plain")

    async def stream(self, name):
        try:
            while True:
                await asyncio.sleep(PACE)
                if name == "drip":
                    yield b"."
        finally:
            self.ended.set()


@pytest.mark.parametrize(
    ("tool", "times", "limit"),
    [
        ("silent", {"request_timeout": 0.4}, "request"),
        ("silent", {"idle_timeout": 0.4}, "idle"),
        ("drip", {"idle_timeout": 0.4, "request_timeout": 1.2}, "request"),
        ("drip", {"request_timeout": 5, "total_timeout": 0.6}, "total"),
    ],
)
async def test_the_same_times_hold_for_apis(tool, times, limit):
    api = Api()
    async with served(api.app) as base:
        federation = Federation([Entry("slow", "openapi", url=f"{base}/openapi.json", **times)])
        async with gateway(federation) as engine:
            await Caller(engine).tools()
            assert (await refused(Caller(engine), tool)).data["dev.trunkline/timeout"] == limit
            await asyncio.wait_for(api.ended.wait(), 10)


async def test_an_api_that_does_not_accept_is_up_after_connect_timeout():
    async with door_to(Api().app) as door:
        entry = Entry("slow", "openapi", url=f"{door.url}/openapi.json", connect_timeout=0.4)
        async with gateway(Federation([entry])) as engine:
            await Caller(engine).tools()
            await door.shut()
            error = await refused(Caller(engine), "silent")
            assert f"{door.url} cannot be reached: no connection within 0.4 s" in error.message
