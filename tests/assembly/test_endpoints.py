"""Endpoints of a configuration under their own paths: sign-in, limits, a change while running, and what is shown."""

import contextlib
import json
import os
import sys

import pytest

from trunkline import Client
from trunkline.assembly.endpoints import EndpointPaths, path_of
from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.paths import ServerPaths
from trunkline.assembly.plan import Remembered, make_plan
from trunkline.assembly.serving import Binding, bind, serving
from trunkline.assembly.settings import read_settings
from trunkline.auth.static import StaticTokens
from trunkline.engine.principal import Principal
from trunkline.errors import RemoteError, TrunklineError
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

SERVER = """
from trunkline import Server
server = Server("notes")
@server.tool
def write(text: str, book: str = "any") -> str:
    "Write a note."
    return f"wrote {text} into {book}"
@server.tool
def erase() -> str:
    return "gone"
server.run()
"""
DIARY = {"tools": ["notes__write"], "edit_tools": {"notes__write": {"name": "write", "pin": {"book": "diary"}}}}


def write(folder, endpoints, **others):
    (folder / "notes.py").write_text(SERVER)
    servers = {"notes": {"command": sys.executable, "args": [str(folder / "notes.py")]}}
    (folder / "trunkline.yaml").write_text(json.dumps({"servers": servers, "endpoints": endpoints, **others}))
    return str(folder / "trunkline.yaml")


@contextlib.asynccontextmanager
async def served(path, **options):
    """A running gateway: yields it, its endpoints, and the URL everything stands under."""
    gateway = read_gateway(path, **options)
    servers = ServerPaths(gateway, Guard())
    endpoints = EndpointPaths(gateway, Guard(), servers)
    listener = bind(Binding(port=0))
    app = HTTPTransport(gateway.application, beside=endpoints)
    async with contextlib.aclosing(servers), contextlib.aclosing(endpoints), serving(app, listener):
        yield gateway, endpoints, f"http://127.0.0.1:{listener.getsockname()[1]}"


async def names(url, **options):
    async with Client(url, **options) as client:
        return [tool.name for tool in await client.tools()]


async def test_endpoints_stand_beside_the_gateway_and_follow_the_configuration(tmp_path):
    path = write(tmp_path, {"diary": DIARY, "all": {"tools": ["*"], "discovery": "progressive"}})
    async with served(path) as (gateway, endpoints, base):
        assert await names(f"{base}/mcp") == ["notes__write", "notes__erase"]
        async with Client(base + path_of("diary")) as client:
            assert (await client.call("write", {"text": "x"})).text == "wrote x into diary"
        assert await names(base + path_of("all"), era="legacy") == ["find_tools", "call_tool"]
        assert [(row.name, row.path, row.tools, row.progressive) for row in endpoints.statuses()] == [
            ("diary", "/endpoints/diary/mcp", 1, False),
            ("all", "/endpoints/all/mcp", 2, True),
        ]
        assert await names(f"{base}/servers/notes/mcp") == ["write", "erase"]

        write(tmp_path, {"diary": {"tools": ["notes__erase", "notes__gone"]}})
        gateway.apply(make_plan(path, os.environ, Remembered(None)))
        assert await names(base + path_of("diary")) == ["notes__erase"]
        (row,) = endpoints.statuses()
        assert row.problems == ("there is no tool 'notes__gone'",)
        with pytest.raises(TrunklineError, match="Nothing is served"):
            await names(base + path_of("all"))


TASKS = """
from trunkline import Server
server = Server("notes")
@server.tool(task=True)
async def write(text: str, book: str = "any") -> str:
    return f"wrote {text} into {book}"
server.run()
"""


async def test_tasks_of_a_server_are_carried_at_every_path_and_their_ids_are_of_that_path(tmp_path):
    path = write(tmp_path, {"diary": DIARY, "all": {"tools": ["*"], "discovery": "progressive"}})
    (tmp_path / "notes.py").write_text(TASKS)
    async with served(path) as (_, _, base):
        paths = {
            f"{base}/mcp": "notes__write",
            base + path_of("diary"): "write",
            base + path_of("all"): "call_tool",
            f"{base}/servers/notes/mcp": "write",
        }
        ids = {}
        for url, tool in paths.items():
            given = {"name": "notes__write", "arguments": {"text": "x"}} if tool == "call_tool" else {"text": "x"}
            async with Client(url) as client:
                await client.tools()
                handle = await client.start(tool, given)
                book = "diary" if url.endswith(path_of("diary")) else "any"
                assert (await handle.result()).text == f"wrote x into {book}"
                ids[url] = handle.id
        for url in paths:
            async with Client(url) as client:
                for made, id in ids.items():
                    if made == url:
                        assert (await (await client.resume(id)).result()).text.startswith("wrote x")
                    else:
                        with pytest.raises(RemoteError, match="unknown task"):
                            await client.resume(id)


async def test_sign_in_and_limits_of_the_gateway_hold_at_its_endpoints(tmp_path):
    tokens = StaticTokens({"of-ann": Principal("t", "ann"), "of-bob": Principal("t", "bob", tools=("notes__*",))})
    limits = {"tools": [{"tool": "notes__write", "rate": 0.001}], "wait": 0.1}
    path = write(tmp_path, {"diary": DIARY}, limits=limits)
    async with served(path, authenticator=tokens) as (_, _, base):
        url = base + path_of("diary")
        with pytest.raises(TrunklineError):
            await names(url)
        assert await names(url, headers={"Authorization": "Bearer of-bob"}) == []
        async with Client(url, headers={"Authorization": "Bearer of-ann"}) as ann:
            assert (await ann.call("write", {"text": "x"})).text == "wrote x into diary"
            with pytest.raises(RemoteError, match="the tool notes__write has as many calls"):
                await ann.call("write", {"text": "y"})


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        ({}, "selects nothing"),
        ({"tools": ["a__*"], "edit_tools": {"b__x": {"name": "x"}}}, "is not among the `tools` of this endpoint"),
        ({"tools": ["*"], "edit_tools": {"a": {"name": "x"}, "b": {"name": "x"}}}, "is the name of another tool"),
        (
            {"tools": ["*"], "discovery": "progressive", "edit_tools": {"a": {"name": "find_tools"}}},
            "is the name of another tool",
        ),
        ({"prompts": ["a"], "edit_prompts": {"a": {"pin": {"n": 1}}}}, "arguments of prompts are strings"),
        ({"tools": ["*"], "edit_tools": {"a": {"name": "no spaces"}}}, "letters, digits, _ and -"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake_of_the_file(tmp_path, endpoint, fault):
    (told,) = read_settings(write(tmp_path, {"one": endpoint})).faults

    assert 'endpoint "one"' in told or 'tool "a"' in told
    assert fault in told


def test_a_name_that_no_url_can_have(tmp_path):
    (told,) = read_settings(write(tmp_path, {"a/b": {"tools": ["*"]}})).faults

    assert "stands in a URL" in told
