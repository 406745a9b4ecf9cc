"""A server's life: lists that change, pages, hooks, running."""

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.request import Request, urlopen

import pytest

from tests.server.conftest import call, request, text
from trunkline import ConfigError, InvalidParams, Server
from trunkline.engine.doors import Change


async def one() -> str:
    return "1"


async def test_changes_at_run_time_are_told_to_whoever_watches(server: Server) -> None:
    seen: list[Change] = []
    server.tool(one)
    server.prompt(name="p")(one)
    server.resource("x://y")(one)
    await server.application.start()
    unwatch = server.provider.watch(seen.append)

    server.tool(name="two")(one)
    server.remove_tool("two")
    server.remove_prompt("p")
    server.remove_resource("x://y")
    server.notify_resource_updated("x://y")
    unwatch()
    server.remove_tool("one")
    await server.application.stop()

    assert seen == [
        Change("tools"),
        Change("tools"),
        Change("prompts"),
        Change("resources"),
        Change("resource", "x://y"),
    ]


async def test_a_change_from_another_thread_arrives_on_the_loop(server: Server) -> None:
    told = asyncio.Event()
    threads: list[int] = []

    def listener(change: Change) -> None:
        threads.append(threading.get_ident())
        told.set()

    await server.application.start()
    server.provider.watch(listener)
    await asyncio.to_thread(server.notify_resource_updated, "x://y")
    await asyncio.wait_for(told.wait(), 5)
    await server.application.stop()

    assert threads == [threading.get_ident()]


async def test_what_was_removed_is_gone_and_its_kind_stays(server: Server) -> None:
    server.tool(one)
    server.remove_tool("one")

    assert (await request(server, "tools/list"))["tools"] == []
    assert "tools" in server.provider.capabilities()
    with pytest.raises(InvalidParams):
        await call(server, "one")
    for remove, name in ((server.remove_tool, "one"), (server.remove_prompt, "p"), (server.remove_resource, "x://y")):
        with pytest.raises(ConfigError):
            remove(name)


async def pages(server: Server) -> list[list[str]]:
    found: list[list[str]] = []
    cursor: object = None
    while True:
        result = await request(server, "tools/list", {} if cursor is None else {"cursor": cursor})
        found.append([tool["name"] for tool in result["tools"]])  # type: ignore[attr-defined]
        cursor = result.get("nextCursor")
        if cursor is None:
            return found


async def test_lists_come_in_pages_in_the_order_of_registration() -> None:
    server = Server("x", page_size=2)
    for name in "dacbe":
        server.tool(name=name)(one)

    assert await pages(server) == [["d", "a"], ["c", "b"], ["e"]]


async def test_a_cursor_survives_changes_of_the_list() -> None:
    server = Server("x", page_size=2)
    for name in "abcd":
        server.tool(name=name)(one)
    cursor = (await request(server, "tools/list"))["nextCursor"]
    server.remove_tool("a")
    server.remove_tool("b")
    server.tool(name="e")(one)

    result = await request(server, "tools/list", {"cursor": cursor})

    assert [tool["name"] for tool in result["tools"]] == ["c", "d"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cursor", ["", "x", "dG9vbHM6MA", "dG9vbHM6OTk", "cHJvbXB0czox", "é", "dG9vbHM6MQ=="])
async def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    server = Server("x", page_size=1)
    server.tool(one)

    with pytest.raises(InvalidParams, match="cursor"):
        await request(server, "tools/list", {"cursor": cursor})


async def test_lists_carry_the_hints_of_the_server() -> None:
    server = Server("x", ttl_ms=5000, cache_scope="public")
    server.tool(one)

    result = await request(server, "tools/list")

    assert (result["ttlMs"], result["cacheScope"]) == (5000, "public")


async def test_life_goes_in_and_out_in_order() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        seen.append("open")
        yield
        seen.append("closed")

    server = Server("x", lifespan=lifespan)

    @server.on_start
    async def start() -> None:
        seen.append("start")

    @server.on_stop
    async def first() -> None:
        seen.append("first stop")

    @server.on_stop
    async def second() -> None:
        seen.append("second stop")

    await server.application.start()
    await server.application.stop()

    assert seen == ["open", "start", "second stop", "first stop", "closed"]


async def test_a_failed_start_leaves_nothing_open() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("closed")

    server = Server("x", lifespan=lifespan)

    @server.on_start
    async def start() -> None:
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError):
        await server.application.start()
    assert seen == ["closed"]


async def test_a_server_says_who_it_is() -> None:
    server = Server("weather", version="2", title="Weather", instructions="Ask.", website_url="https://example.com")

    result = await request(server, "server/discover")

    assert result["instructions"] == "Ask."
    assert result["_meta"] == {
        "io.modelcontextprotocol/serverInfo": {
            "name": "weather",
            "version": "2",
            "title": "Weather",
            "websiteUrl": "https://example.com",
        }
    }


async def test_a_call_costs_the_same_among_a_thousand_tools(server: Server) -> None:
    async def frames() -> int:
        seen = 0

        def profile(frame: object, event: str, argument: object) -> None:
            nonlocal seen
            seen += event == "call"

        gc.disable()  # a collection in the middle may call into Python, too
        sys.setprofile(profile)
        try:
            await call(server, "one")
        finally:
            sys.setprofile(None)
            gc.enable()
        return seen

    server.tool(one)
    await frames()
    alone = await frames()
    for number in range(1000):
        server.tool(name=f"tool{number}")(one)

    assert await frames() == alone


def test_a_server_beyond_loopback_needs_sign_in_or_a_word(server: Server) -> None:
    with pytest.raises(ConfigError, match="allow_remote=True"):
        server.run("http", host="0.0.0.0", port=0)


PROGRAM = """
from trunkline import Server
server = Server("program")
@server.tool
def add(a: int, b: int) -> int:
    return a + b
server.run("http", port=0)
"""

CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":1,"b":2},"_meta":'
    b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'
)


def test_a_server_runs_for_the_client_that_launched_it() -> None:
    code = PROGRAM.replace('"http", port=0', "")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(CALL + b"\n")
        program.stdin.flush()
        answer = program.stdout.readline()
        program.stdin.close()
        assert program.wait(20) == 0

    assert b'"structuredContent":{"result":3}' in answer


def test_a_server_runs_as_a_program_until_a_signal() -> None:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "add",
    }
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        url = re.search(r"http://\S+", program.stderr.readline())
        assert url is not None
        with urlopen(Request(url[0], CALL, headers), timeout=10) as answer:
            body = answer.read()
        os.kill(program.pid, signal.SIGTERM)
        program.communicate(timeout=20)
    assert b'"structuredContent":{"result":3}' in body


async def test_a_sync_tool_may_change_the_list(server: Server) -> None:
    @server.tool
    def grow() -> str:
        server.tool(name="grown")(one)
        return "grown"

    await call(server, "grow")

    assert text(await call(server, "grown")) == "1"


async def post(app: object, path: str) -> tuple[int, bytes]:
    """One call of `one` through an ASGI application."""
    body = CALL.replace(b'"name":"add","arguments":{"a":1,"b":2}', b'"name":"one"')
    names = {b"host": b"localhost", b"content-type": b"application/json"}
    names |= {b"accept": b"application/json, text/event-stream", b"mcp-protocol-version": b"2026-07-28"}
    names |= {b"mcp-method": b"tools/call", b"mcp-name": b"one"}
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "app": app}
    scope |= {"headers": list(names.items()), "client": ("127.0.0.1", 1), "server": ("localhost", 80)}
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[operator]
    return int(str(sent[0]["status"])), b"".join(bytes(part.get("body", b"")) for part in sent)  # type: ignore[call-overload]


@pytest.mark.parametrize("host", ["starlette", "fastapi"])
async def test_the_app_can_be_mounted(server: Server, host: str) -> None:
    server.tool(one)
    stopped: list[str] = []

    @server.on_stop
    async def stop() -> None:
        stopped.append("stopped")

    if host == "starlette":
        from starlette.applications import Starlette

        app = Starlette(lifespan=server.lifespan)
    else:
        from fastapi import FastAPI

        app = FastAPI(lifespan=server.lifespan)
    app.mount("/weather", server.app)

    async with app.router.lifespan_context(app):
        answers = [await post(app, path) for path in ("/weather/mcp", "/weather/", "/weather/other")]

    assert [status for status, _ in answers] == [200, 200, 404]
    assert b'"text":"1"' in answers[0][1]
    assert stopped == ["stopped"]
