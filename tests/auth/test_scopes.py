"""Which scopes a request takes, what a caller without them is told, and what is not even listed."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.auth.authority import Authority, Guarded, authority, challenge, guarded, said
from trunkline import ConfigError, Scopes
from trunkline.auth.proofs import ProofKey
from trunkline.auth.scopes import Rulebook
from trunkline.protocol.messages import Params

SCOPES = Scopes(
    always=("mcp",),
    tools={"write_*": ("files.write",), "write_file": ("audit",), "secret_*": "nobody"},
    prompts={"review": ("prompts",)},
    resources={"files://*": ("files.read",)},
    methods={"completion/complete": ("complete",), "subscriptions/*": ("listen",)},
    implies={"admin": ("files.write", "audit"), "files.write": ("files.read",)},
)


@asynccontextmanager
async def door(**options: object) -> AsyncIterator[tuple[Authority, Guarded]]:
    async with authority() as issuer, guarded(issuer, scopes=SCOPES, **options) as made:  # type: ignore[arg-type]
        yield issuer, made


async def test_what_is_missing_is_named_all_at_once() -> None:
    async with door() as (issuer, made):
        response = await made.call("write_file", issuer.mint(scope="mcp"))
        assert response.status == 403
        (field,) = response.headers.getall("WWW-Authenticate")
        assert field.startswith('Bearer error="insufficient_scope", ')
        assert 'scope="audit files.write mcp"' in field
        assert "/.well-known/oauth-protected-resource/mcp" in field
        assert "Scopes are missing: audit files.write" in field
        assert (await made.call("write_file", issuer.mint(scope="mcp files.write audit"))).status == 200


async def test_without_the_scopes_for_everything_nothing_is_allowed() -> None:
    async with door() as (issuer, made):
        for method in ("tools/list", "server/discover", "prompts/list"):
            response = await made.ask(method, {}, issuer.mint(scope="other"))
            assert response.status == 403
            assert 'scope="mcp"' in challenge(response)
        assert (await made.ask("tools/list", {}, issuer.mint(scope=None))).status == 403
        assert (await made.ask("tools/list", {}, issuer.mint(scope=None, scp=["mcp"]))).status == 200


async def test_broader_scopes_stand_for_narrower_ones() -> None:
    async with door() as (issuer, made):
        admin = issuer.mint(scope="mcp admin")
        assert (await made.call("write_file", admin)).status == 200
        assert (await made.ask("resources/read", {"uri": "files://a"}, admin)).status == 200
        assert (await made.call("write_file", issuer.mint(scope="mcp files.read"))).status == 403


@pytest.mark.parametrize(
    ("method", "params", "scope"),
    [
        ("prompts/get", {"name": "review"}, "prompts"),
        ("resources/read", {"uri": "files://index"}, "files.read"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "review"}}, "complete prompts"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "files://{name}"}}, "complete files.read"),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["files://index"]}}, "files.read listen"),
    ],
)
async def test_every_kind_of_thing_has_scopes(method: str, params: dict[str, object], scope: str) -> None:
    async with door() as (issuer, made):
        response = await made.ask(method, params, issuer.mint(scope="mcp"))
        assert response.status == 403
        assert f'scope="{" ".join(sorted([*scope.split(), "mcp"]))}"' in challenge(response)


async def test_a_session_of_an_older_revision_is_told_before_its_stream_begins() -> None:
    async with door() as (issuer, made):
        token = issuer.mint(scope="mcp")
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        begun = await made.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, token)
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        for id, (method, params) in enumerate(
            [("tools/call", {"name": "write_file"}), ("resources/subscribe", {"uri": "files://index"})]
        ):
            body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
            response = await made.post(body, token, **session)
            assert response.status == 403
            assert "insufficient_scope" in challenge(response)
        poor = issuer.mint(scope="other")
        assert (await made.post({"jsonrpc": "2.0", "method": "notifications/x"}, poor, **session)).status == 403
        headers = {**session, "Accept": "text/event-stream", "Authorization": f"Bearer {poor}"}
        async with made.http.get(made.url, headers=headers) as response:
            assert response.status == 403


async def test_a_batch_is_refused_for_its_one_request_too_many() -> None:
    async with door() as (issuer, made):
        token = issuer.mint(scope="mcp")
        hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        begun = await made.post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, token)
        calls = [
            {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "who"}},
            {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "write_file"}},
        ]
        response = await made.post(calls, token, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})
        assert response.status == 403


async def test_lists_hide_only_what_no_scope_would_unlock() -> None:
    async with door() as (issuer, made):
        token = issuer.mint(scope="mcp")
        listed = json.loads(await (await made.ask("tools/list", {}, token)).read())["result"]["tools"]
        assert [tool["name"] for tool in listed] == ["who", "read_file", "write_file"]
        response = await made.call("secret_door", issuer.mint(scope="mcp admin"))
        assert response.status == 403
        assert "WWW-Authenticate" not in response.headers
        prompts = json.loads(await (await made.ask("prompts/list", {}, token)).read())["result"]["prompts"]
        assert [prompt["name"] for prompt in prompts] == ["review"]


async def test_hidden_resources_are_in_no_list() -> None:
    rules = Scopes(always=("mcp",), resources={"files://*": "nobody"}, prompts={"*": "nobody"})
    async with authority() as issuer, guarded(issuer, scopes=rules) as made:
        for method, member in (("resources/list", "resources"), ("resources/templates/list", "resourceTemplates"),
                               ("prompts/list", "prompts")):  # fmt: skip
            response = await made.ask(method, {}, issuer.mint())
            assert json.loads(await response.read())["result"][member] == []


async def test_a_challenge_is_in_the_scheme_of_the_token() -> None:
    async with door() as (issuer, made):
        key = ProofKey.make()
        response = await made.enter(key, issuer.bound(key, scope="mcp"), "write_file")
        assert response.status == 403
        assert response.headers["WWW-Authenticate"].startswith('DPoP error="insufficient_scope"')


async def test_stepping_up_ends() -> None:
    """A client that asks for the union of what it had and what it was told needs one step, and no loop."""
    async with door() as (issuer, made):
        held = {"mcp"}
        for _ in range(2):
            response = await made.call("write_file", issuer.mint(scope=" ".join(held)))
            if response.status == 200:
                break
            held |= set(challenge(response).partition('scope="')[2].partition('"')[0].split())
        assert response.status == 200
        assert str(await said(response)) == "written"


def test_names_of_callers_fill_no_memory() -> None:
    rules = Rulebook(SCOPES)
    for number in range(10_000):
        rules.needed("tools/call", Params(name=f"write_{number}"))
    assert rules.of.cache_info().currsize <= 4096
    assert rules.together.cache_info().currsize <= 4096


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\\b", "ä"])
def test_what_is_no_scope_is_refused(name: str) -> None:
    for rules in ({"always": (name,)}, {"tools": {"x": (name,)}}, {"implies": {"a": (name,)}}, {"implies": {name: ()}}):
        with pytest.raises(ConfigError):
            Scopes(**rules)  # type: ignore[arg-type]


def test_rules_go_in_circles_without_end() -> None:
    rules = Rulebook(Scopes(implies={"a": ("b",), "b": ("a",)}))
    assert rules.held(frozenset({"a"})) == {"a", "b"}
