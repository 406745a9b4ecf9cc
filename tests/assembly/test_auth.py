"""`auth` in trunkline.yaml: sign-in at an issuer, at every path of a gateway, in the gateway's names."""

import contextlib
import json
import os
import sys
from typing import Any

import aiohttp
import pytest

from tests.auth.authority import Guarded, authority, challenge
from trunkline.assembly.endpoints import EndpointPaths
from trunkline.assembly.gateway import read_gateway
from trunkline.assembly.paths import ServerPaths
from trunkline.assembly.plan import Remembered, make_plan
from trunkline.assembly.serving import Binding, bind, guard_of, serving
from trunkline.assembly.settings import read_settings
from trunkline.assembly.showing import show
from trunkline.auth.proofs import ProofKey
from trunkline.errors import ConfigError
from trunkline.transports.http import HTTPTransport

SERVER = """
from trunkline import Server
server = Server("notes")
@server.tool
def read() -> str:
    return "read"
@server.tool
def write() -> str:
    return "written"
@server.tool
def erase() -> str:
    return "gone"
@server.prompt
def review() -> str:
    return "Review this"
server.run()
"""
SCOPES = {"always": ["mcp"], "tools": {"notes__write": ["notes.write"], "*__erase": "nobody"},
          "prompts": {"notes__review": ["notes.review"]}}  # fmt: skip
ENDPOINTS = {
    "diary": {
        "tools": ["*"],
        "prompts": ["*"],
        "edit_tools": {"notes__write": {"name": "jot"}, "notes__read": {"name": "notes__write"}},
        "edit_prompts": {"notes__review": {"name": "check"}},
    },
    "found": {"tools": ["*"], "discovery": "progressive"},
}


def write(folder, **members: Any) -> str:
    (folder / "notes.py").write_text(SERVER)
    entry = {"command": sys.executable, "args": [str(folder / "notes.py")]}
    document = {"servers": {"notes": entry, "my notes": entry}, "endpoints": ENDPOINTS, **members}
    (folder / "trunkline.yaml").write_text(json.dumps(document))
    return str(folder / "trunkline.yaml")


@contextlib.asynccontextmanager
async def served(folder, issuer, **auth: Any):
    """A running gateway that takes tokens of an issuer: it, and a client of its own endpoint."""
    listener = bind(Binding(port=0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    issuer.audience = f"{base}/mcp"
    path = write(folder, auth={"issuer": issuer.issuer, "audience": issuer.audience, "scopes": SCOPES, **auth})
    gateway = read_gateway(path)
    guard = guard_of(gateway.plan.settings.listen, gateway.plan.auth)
    servers = ServerPaths(gateway, guard)
    endpoints = EndpointPaths(gateway, guard, servers)
    app = HTTPTransport(gateway.application, guard=guard, beside=endpoints)
    living = contextlib.aclosing(servers), contextlib.aclosing(endpoints)
    async with living[0], living[1], serving(app, listener), aiohttp.ClientSession() as http:
        yield gateway, Guarded(issuer, f"{base}/mcp", http, None, None)  # type: ignore[arg-type]


async def listed(made: Guarded, token: str, url: str, kind: str = "tools") -> list[str]:
    response = await made.ask(f"{kind}/list", {}, token, url=url)
    return [one["name"] for one in json.loads(await response.read())["result"][kind]]


async def test_a_gateway_asks_for_tokens_at_every_path_and_says_where_to_get_them(tmp_path) -> None:
    async with authority() as issuer, served(tmp_path, issuer) as (_, made):
        base = made.url.removesuffix("/mcp")
        for path in ("/mcp", "/servers/notes/mcp", "/servers/my%20notes/mcp", "/endpoints/diary/mcp"):
            response = await made.ask("tools/list", {}, url=base + path)
            assert response.status == 401
            pointer = challenge(response).partition('resource_metadata="')[2].partition('"')[0]
            assert pointer == f"{base}/.well-known/oauth-protected-resource{path}"
            async with made.http.get(pointer) as found:
                document = await found.json()
                assert (document["resource"], document["authorization_servers"]) == (base + path, [issuer.issuer])
            # A token for the gateway opens all of it, one for a path that path alone.
            assert (await made.ask("tools/list", {}, issuer.mint(), url=base + path)).status == 200
            for other in ("/mcp", "/servers/notes/mcp", "/servers/my%20notes/mcp", "/endpoints/diary/mcp"):
                token = issuer.mint(aud=base + path)
                expected = 200 if other == path or path == "/mcp" else 401
                assert (await made.ask("tools/list", {}, token, url=base + other)).status == expected, (path, other)
        for path in ("/servers/none/mcp", "/endpoints/none/mcp"):
            async with made.http.get(f"{base}/.well-known/oauth-protected-resource{path}") as found:
                assert found.status == 404


async def test_scopes_are_written_in_the_gateways_names_and_hold_under_all_others(tmp_path) -> None:
    async with authority() as issuer, served(tmp_path, issuer) as (_, made):
        base = made.url.removesuffix("/mcp")
        poor, rich = issuer.mint(), issuer.mint(scope="mcp notes.write notes.review")
        for path, name in (("/mcp", "notes__write"), ("/servers/notes/mcp", "write"), ("/endpoints/diary/mcp", "jot")):
            refused = await made.call(name, poor, url=base + path)
            assert refused.status == 403, path
            assert 'scope="mcp notes.write"' in challenge(refused)
            assert (await made.call(name, rich, url=base + path)).status == 200
        # The name of a tool with a rule, given to another, carries no rule along.
        assert (await made.call("notes__write", poor, url=f"{base}/endpoints/diary/mcp")).status == 200
        for path, name in (
            ("/mcp", "notes__review"),
            ("/servers/notes/mcp", "review"),
            ("/endpoints/diary/mcp", "check"),
        ):
            ref = {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": "a", "value": ""}}
            assert (await made.ask("prompts/get", {"name": name}, poor, url=base + path)).status == 403
            assert (await made.ask("completion/complete", ref, poor, url=base + path)).status == 403
            assert (await made.ask("prompts/get", {"name": name}, rich, url=base + path)).status == 200


async def test_a_call_through_call_tool_takes_the_scopes_of_the_tool_that_is_meant(tmp_path) -> None:
    async with authority() as issuer, served(tmp_path, issuer) as (_, made):
        url = f"{made.url.removesuffix('/mcp')}/endpoints/found/mcp"
        params = {"name": "call_tool", "arguments": {"name": "notes__write", "arguments": {}}}
        refused = await made.ask("tools/call", params, issuer.mint(), url=url)
        assert refused.status == 403
        assert 'scope="mcp notes.write"' in challenge(refused)
        assert (await made.ask("tools/call", params, issuer.mint(scope="mcp notes.write"), url=url)).status == 200
        find = {"name": "find_tools", "arguments": {"query": "erase notes", "limit": 50}}
        found = await made.ask("tools/call", find, issuer.mint(), url=url)
        assert "notes__write" in await found.text()
        assert "erase" not in (await found.text()).replace("erase notes", "")
        # An older revision is told with the same status, before its stream begins.
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        begun = await made.post(begin, issuer.mint(), url=url)
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
        assert (await made.post(call, issuer.mint(), url=url, **session)).status == 403


async def test_what_nobody_may_do_is_in_no_list(tmp_path) -> None:
    async with authority() as issuer, served(tmp_path, issuer) as (_, made):
        base, token = made.url.removesuffix("/mcp"), issuer.mint()
        whole = await listed(made, token, f"{base}/mcp")
        assert "notes__write" in whole
        assert not any("erase" in name for name in whole)
        assert sorted(await listed(made, token, f"{base}/servers/notes/mcp")) == ["read", "write"]
        assert sorted(await listed(made, token, f"{base}/endpoints/diary/mcp"))[0] == "jot"
        assert (await made.call("erase", token, url=f"{base}/servers/notes/mcp")).status == 403


async def test_a_proof_stays_used_when_the_configuration_is_read_again(tmp_path) -> None:
    async with authority() as issuer, served(tmp_path, issuer) as (gateway, made):
        key = ProofKey.make()
        token = issuer.bound(key)
        proof = key.proof("POST", made.url, token=token)
        assert (await made.call("notes__read", token, proof=proof)).status == 200
        path = gateway.plan.settings.path
        before = gateway.application.authenticator
        gateway.apply(make_plan(path, os.environ, Remembered(None)))
        assert gateway.application.authenticator is before
        auth = {"issuer": issuer.issuer, "audience": issuer.audience, "scopes": ["mcp"]}
        gateway.apply(make_plan(write(tmp_path, auth=auth), os.environ, Remembered(None)))
        assert gateway.application.authenticator is not before
        assert (await made.call("notes__read", token, proof=proof)).status == 401
        assert (await made.call("notes__write", issuer.mint())).status == 200


FAULTS = [
    ({"issuer": "https://id.example.com"}, "audience"),
    ({"issuer": "id", "audience": "https://a/mcp"}, "is not an address"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp", "scopes": ["a b"]}, "is no scope"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp", "scopes": {"tools": {"x": "all"}}}, "nobody"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp", "dpop": "maybe"}, "off, optional or required"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp", "dpop": {"window": 900}}, "dpop.window"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp", "allow": ["a b c"]}, "cannot be allowed"),
    ({"issuer": "https://id.example.com", "audience": "https://a/mcp",
      "introspection": {"client_id": "a", "client_secret": "hunter2"}}, "is no reference"),
]  # fmt: skip


@pytest.mark.parametrize(("auth", "said"), FAULTS)
def test_a_mistake_is_told_with_its_line_and_never_with_a_secret(tmp_path, auth, said) -> None:
    path = write(tmp_path, auth=auth)
    faults = "\n".join(read_settings(path).faults)
    assert said in faults
    assert "hunter2" not in faults


def test_tokens_and_an_issuer_together_are_a_mistake(tmp_path) -> None:
    auth = {"issuer": "https://id.example.com", "audience": "https://a/mcp"}
    path = write(tmp_path, auth=auth, tokens=[{"name": "ci", "sha256": "0" * 64}])
    assert any("leave out one" in fault for fault in read_settings(path).faults)


def test_the_secret_is_a_reference_and_is_shown_to_nobody(tmp_path) -> None:
    asked = {"client_id": "gateway", "client_secret": "${env:GATEWAY_SECRET}"}
    auth = {"issuer": "https://id.example.com", "audience": "https://a/mcp", "introspection": asked}
    path = write(tmp_path, auth=auth)
    plan = make_plan(path, {"GATEWAY_SECRET": "hunter2"}, Remembered(None))
    assert plan.auth is not None and plan.auth.introspection is not None
    assert plan.auth.introspection.client_secret == "hunter2"
    assert "hunter2" not in repr(plan)
    rows = {row.key: row.value for row in show(path)}
    assert rows["auth.introspection.client_secret"] == "${env:GATEWAY_SECRET}"
    assert rows["auth.issuer"] == "https://id.example.com"
    with pytest.raises(ConfigError, match="GATEWAY_SECRET"):
        make_plan(path, {}, Remembered(None))


def test_the_audience_is_the_public_url(tmp_path) -> None:
    auth = {"issuer": "https://id.example.com", "audience": ["api://tools", "https://tools.example.com/in/mcp"]}
    plan = make_plan(write(tmp_path, auth=auth), {}, Remembered(None))
    guard = guard_of(plan.settings.listen, plan.auth)
    assert guard.external_url({"path": "/mcp"}, {b"host": b"127.0.0.1"}) == "https://tools.example.com/in/mcp"
