"""Each server alone under its own path: its own names, the gateway's sign-in, limits and end."""

import asyncio
import contextlib
import hashlib
import json
import sys

import pytest

from trunkline import Client
from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.paths import ServerPaths, path_of
from trunkline.assembly.serving import Binding, Drain, bind, serving
from trunkline.auth.static import StaticTokens, TokenRecord
from trunkline.errors import TrunklineError
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

SERVER = """
import asyncio
from trunkline import Context, Server
server = Server("notes", instructions="Take notes.")
@server.tool
def write(text: str) -> str:
    return f"wrote {text}"
@server.tool
def erase() -> str:
    return "gone"
@server.tool
async def ponder(context: Context) -> str:
    await context.progress(1)
    await asyncio.sleep(60)
    return "no"
server.run()
"""


@contextlib.asynccontextmanager
async def served(folder, **options):
    """A gateway over two servers: yields the URL everything stands under."""
    (folder / "notes.py").write_text(SERVER)
    entry = {"command": sys.executable, "args": [str(folder / "notes.py")]}
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"notes": entry, "my notes": entry}}))
    gateway = read_gateway(str(folder / "mcp.json"), **options)
    paths = ServerPaths(gateway, Guard())
    listener = bind(Binding(port=0))
    app = HTTPTransport(gateway.application, beside=paths)
    async with contextlib.aclosing(paths), serving(app, listener, Drain(timeout=0.2)):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def names(client):
    return sorted([tool.name for tool in await client.tools()])


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_alone_keeps_its_names(tmp_path, era):
    async with served(tmp_path) as base:
        for server in ("notes", "my notes"):
            async with Client(base + path_of(server), era=era) as client:
                assert await names(client) == ["erase", "ponder", "write"]
                assert (await client.call("write", text="x")).text == "wrote x"
        async with Client(f"{base}/mcp", era=era) as client:
            assert "notes__write" in await names(client)
        with pytest.raises(TrunklineError, match="/servers/NAME/mcp"):
            async with Client(base + path_of("no such")) as client:
                await client.tools()


async def test_sign_in_and_tool_lists_hold_there_too(tmp_path):
    secret = "s" * 32
    digest = hashlib.sha256(secret.encode()).hexdigest()
    tokens = StaticTokens.from_records([TokenRecord(name="ci", sha256=digest, tools=("notes__write",))], tmp_path)
    async with served(tmp_path, authenticator=tokens) as base:
        headers = {"Authorization": f"Bearer {secret}"}
        async with Client(base + path_of("notes"), headers=headers) as client:
            assert await names(client) == ["write"]
            assert (await client.call("write", text="x")).text == "wrote x"
            with pytest.raises(TrunklineError):
                await client.call("erase")
        async with Client(base + path_of("my notes"), headers=headers) as client:
            assert await names(client) == []
        with pytest.raises(TrunklineError):
            async with Client(base + path_of("notes")) as client:
                await client.tools()


async def test_limits_count_both_ways_together(tmp_path):
    async with served(tmp_path, limits={"rate_per_caller": 0.01}) as base:
        async with Client(base + path_of("notes")) as client:
            await client.call("write", text="x")
        with pytest.raises(TrunklineError, match=r"Overloaded|429"):
            async with Client(f"{base}/mcp") as client:
                await client.call("notes__write", text="x")


async def test_a_call_that_is_too_long_for_the_end_is_answered_with_an_error(tmp_path):
    begun = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        base = await stack.enter_async_context(served(tmp_path))
        async with Client(base + path_of("notes")) as client:
            pondering = asyncio.create_task(client.call("ponder", progress=lambda *_: begun.set()))
            await begun.wait()
            await stack.aclose()
            with pytest.raises(TrunklineError, match="interrupted"):
                await pondering
