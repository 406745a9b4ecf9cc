"""A gateway over one server that keeps its names, and what becomes of them when there is a second."""

import asyncio
import contextlib
import hashlib
import json
import os
import sys

import pytest

from tests.cli.test_commands import WEATHER, Up, run
from tests.gateway.callers import Caller, until
from trunkline import Client
from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.paths import ServerPaths, path_of
from trunkline.assembly.plan import Remembered
from trunkline.assembly.reloading import Reloader, reloading
from trunkline.assembly.serving import Binding, bind, serving
from trunkline.assembly.settings import read_settings
from trunkline.errors import ConfigError, ProtocolError, TrunklineError
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

SERVER = """
import asyncio
from pathlib import Path
from trunkline import ResourceLink, Server
server = Server("notes")
@server.tool(meta={"ui": {"resourceUri": "ui://notes/view"}})
def write(text: str) -> ResourceLink:
    return ResourceLink("notes://latest", text)
@server.tool
def erase() -> str:
    return "gone"
@server.tool
async def hold(gate: str) -> str:
    Path(f"{gate}.here").touch()
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    return "held"
@server.prompt
def review(text: str) -> str:
    return f"Review {text}"
@server.resource("notes://latest")
def latest() -> str:
    return "the latest"
@server.resource("ui://notes/view")
def view() -> str:
    return "<p>"
server.run()
"""
ALONE = ["erase", "hold", "write"]


class Folder:
    def __init__(self, path):
        self.path = path
        (path / "notes.py").write_text(SERVER)

    def write(self, *servers, more=""):
        lines = [f"  {name}: {{command: {sys.executable}, args: [{self.path}/notes.py]}}" for name in servers]
        other = self.path / "trunkline.new"
        other.write_text("\n".join([more, "servers:", *lines]))
        other.replace(self.path / "trunkline.yaml")
        return str(self.path / "trunkline.yaml")


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@contextlib.asynccontextmanager
async def running(folder, **options):
    remembered = Remembered(None)
    gateway = read_gateway(str(folder.path / "trunkline.yaml"), remembered=remembered, **options)
    await gateway.application.start()
    try:
        async with reloading(Reloader(gateway, os.environ, remembered, period=0.05)):
            yield gateway, Caller(gateway.application.engine)
    finally:
        await gateway.application.stop(drain=0)


async def test_tools_prompts_and_resources_are_called_what_their_server_calls_them(folder):
    folder.write("notes", more="prefix: false")
    async with running(folder) as (_, caller):
        tools = (await caller.request("tools/list"))["tools"]
        assert sorted(tool["name"] for tool in tools) == ALONE
        (write,) = [tool for tool in tools if tool["name"] == "write"]
        assert write["_meta"]["ui"]["resourceUri"] == "ui://notes/view"
        (link,) = (await caller.call("write", text="x"))["content"]
        for uri, text in ((link["uri"], "the latest"), ("ui://notes/view", "<p>")):
            assert (await caller.request("resources/read", {"uri": uri}))["contents"][0]["text"] == text
        assert [one["name"] for one in (await caller.request("prompts/list"))["prompts"]] == ["review"]
        prompt = await caller.request("prompts/get", {"name": "review", "arguments": {"text": "it"}})
        assert prompt["messages"][0]["content"]["text"] == "Review it"
        with pytest.raises(ProtocolError, match="Unknown tool"):
            await caller.call("notes__write", text="x")


async def test_lists_of_tools_and_limits_go_by_these_names_at_both_paths(folder):
    secret = "s" * 32
    digest = hashlib.sha256(secret.encode()).hexdigest()
    more = (
        f"prefix: false\ntokens: [{{name: ci, sha256: {digest}, tools: [write, erase]}}]\n"
        "limits: {queue: 0, tools: [{tool: erase, rate: 0.001}]}"
    )
    gateway = read_gateway(folder.write("notes", more=more))
    paths = ServerPaths(gateway, Guard())
    listener = bind(Binding(port=0))
    app = HTTPTransport(gateway.application, beside=paths)
    async with contextlib.aclosing(paths), serving(app, listener):
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {secret}"}
        for index, url in enumerate((f"{base}/mcp", base + path_of("notes"))):
            async with Client(url, headers=headers) as client:
                assert sorted([tool.name for tool in await client.tools()]) == ["erase", "write"]
                if index == 0:
                    assert (await client.call("erase")).text == "gone"
                else:
                    with pytest.raises(TrunklineError, match=r"Overloaded|429"):
                        await client.call("erase")
                with pytest.raises(TrunklineError):
                    await client.call("hold", gate=str(folder.path / "gate"))


async def test_a_second_server_is_refused_until_names_may_change(folder):
    folder.write("notes", more="prefix: false")
    async with running(folder) as (gateway, caller):
        assert sorted(await caller.tools()) == ALONE
        folder.write("notes", "more", more="prefix: false")
        await until(lambda: bool(gateway.fault))
        assert 'prefix: is for one server alone, and there are "notes", "more"' in gateway.fault
        assert sorted(await caller.tools()) == ALONE

        gate = folder.path / "gate"
        call = asyncio.create_task(caller.call("hold", gate=str(gate)))
        await until(folder.path.joinpath("gate.here").exists)
        heard = []
        gateway.federation.watch(lambda change: heard.append(change.kind))
        folder.write("notes", "more")
        await until(lambda: not gateway.fault)
        assert {"tools", "prompts", "resources"} <= set(heard)
        assert (await caller.call("notes__erase"))["content"][0]["text"] == "gone"
        assert "more__write" in await caller.tools()
        gate.touch()
        assert (await call)["content"][0]["text"] == "held"

        folder.write("more", more="prefix: false")
        await until(lambda: gateway.federation.upstreams == ("more",))
        async with asyncio.timeout(20):
            while sorted(await caller.tools()) != ALONE:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ({"a": {"command": "x"}, "b": {"command": "x"}}, '"a", "b"'),
        ({"a": {"command": "x"}, "b": {}}, '"a", "b"'),
        ({"a": {"command": "x"}, "b": {"command": "x", "disabled": True}}, None),
    ],
)
def test_what_counts_as_alone(folder, servers, said):
    mcp = folder.path / "mcp.json"
    mcp.write_text(json.dumps({"mcpServers": servers}))
    native = folder.path / "trunkline.yaml"
    native.write_text("include: [mcp.json]\nprefix: false")

    faults = read_settings(str(native)).faults
    if said is None:
        assert not faults
        assert not read_gateway(str(mcp), prefix=False).federation.prefix
        return
    assert faults == (
        f"{native}:2: prefix: is for one server alone, and there are {said}; leave it out, or disable all but one",
    )
    with pytest.raises(ConfigError, match="one server alone can go without prefix"):
        read_gateway(str(mcp), prefix=False)


def test_up_takes_it_as_an_option(tmp_path):
    entry = {"command": sys.executable, "args": ["-m", "trunkline", "up", "--stdio", str(WEATHER)]}
    (tmp_path / "one.json").write_text(json.dumps({"mcpServers": {"weather": entry}}))
    (tmp_path / "two.json").write_text(json.dumps({"mcpServers": {"weather": entry, "other": entry}}))

    refused = run("up", "--no-prefix", str(tmp_path / "two.json"))
    assert refused.returncode == 2
    assert 'one server alone can go without prefix, and there are "weather", "other"' in refused.stderr
    up = Up("--no-prefix", str(tmp_path / "one.json"))
    try:
        assert run("call", up.url, "forecast", "city=Oslo").stdout == "Oslo: sun for 1 day\n"
    finally:
        up.stop()
