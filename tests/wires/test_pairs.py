"""The pair table of docs/gateway.md: every feature, a client of every revision, a server on every wire.

Gateway and servers are processes, all wires are real, and neither clients (`client.py`) nor servers (`shop.py`) share
code with what is tested. Each server is met under its own path, where nothing is renamed.
"""

import asyncio
import contextlib
import itertools
import json

import pytest

from tests.wires.client import RpcError, WireClient
from tests.wires.gateway import Upstream, gateway
from tests.wires.server import MODERN, PREFIX
from tests.wires.shop import APP, RICH

REVISIONS = (MODERN, "2025-11-25", "2025-06-18", "2025-03-26")
WIRES = ("modern-http", "modern-stdio", "sessions", "stateless", "sse", "stdio", "per-session")
ALIKE = ("stdio", "modern-stdio")
"""One process for all callers: nothing on its stream says whose a log message is."""

UNKNOWING = ("stdio", "stateless")
"""These servers are told nothing of the client that calls: it may be anyone, or is forgotten after the handshake."""

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"name": "Ada"}},
    "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}
KINDS = {
    "form": ("elicitation/create", {"elicitation": {"form": {}, "url": {}}}),
    "page": ("elicitation/create", {"elicitation": {"form": {}, "url": {}}}),
    "sample": ("sampling/createMessage", {"sampling": {}}),
    "roots": ("roots/list", {"roots": {"listChanged": True}}),
}
ELICITATION = {
    MODERN: {"elicitation": {"form": {}, "url": {}}},
    "2025-11-25": {"elicitation": {"form": {}, "url": {}}},
    "2025-06-18": {"elicitation": {}},
    "2025-03-26": {},
}
"""What a client of each revision can declare."""

_keys = itertools.count()

every_revision = pytest.mark.parametrize("revision", REVISIONS)
every_wire = pytest.mark.parametrize("wire", WIRES)


class Running:
    """A gateway over a shop on each wire, and the files that say what those have."""

    def __init__(self, running, folder):
        self._gateway = running
        self._folder = folder

    def alone(self, wire):
        return self._gateway.alone(wire)

    def stock(self, wire, change):
        """Change what the shop on this wire has."""
        file = self._folder / wire
        empty: dict = {"tools": [], "resources": [], "prompts": [], "updated": {}}
        stock = json.loads(file.read_text()) if file.exists() else empty
        change(stock)
        new = file.with_suffix(".new")
        new.write_text(json.dumps(stock))
        new.replace(file)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shops")
    with contextlib.ExitStack() as stack:
        shops = {wire: stack.enter_context(Upstream("shop", wire, folder / wire)) for wire in WIRES}
        yield Running(stack.enter_context(gateway({wire: shop.entry for wire, shop in shops.items()})), folder)


def key():
    """A name nobody else uses."""
    return f"key{next(_keys)}"


def text(result):
    return result["content"][0]["text"]


async def everything(client, method, member):
    """All pages of a list."""
    items, cursor = [], {}
    while cursor is not None:
        page = await client.request(method, cursor)
        items += page[member]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else None
    return items


@every_wire
@every_revision
async def test_lists_of_many_pages(running, revision, wire):
    async with WireClient(running.alone(wire), revision) as client:
        tools = {tool["name"]: tool for tool in await everything(client, "tools/list", "tools")}
        assert {"echo", "rich", "where", "ask"} <= set(tools)
        assert tools["rich"]["x-new"] == {"deep": [1]}
        assert tools["rich"]["_meta"]["ui"] == {"resourceUri": APP}
        assert ("outputSchema" in tools["rich"]) == (revision != "2025-03-26")
        uris = {resource["uri"] for resource in await everything(client, "resources/list", "resources")}
        assert {APP, *(f"shop://note/{number}" for number in range(4))} <= uris
        assert len(await everything(client, "resources/templates/list", "resourceTemplates")) == 3
        prompts = {prompt["name"] for prompt in await everything(client, "prompts/list", "prompts")}
        assert {"prompt0", "prompt1", "prompt2"} <= prompts


@every_wire
@every_revision
async def test_reads_prompts_and_completion(running, revision, wire):
    async with WireClient(running.alone(wire), revision) as client:
        for uri in ("shop://note/1", "shop://a/any", APP):
            (contents,) = (await client.request("resources/read", {"uri": uri}))["contents"]
            assert contents == {"uri": uri, "text": f"read {uri}", "x-new": 1}
        with pytest.raises(RpcError) as missing:
            await client.request("resources/read", {"uri": "shop://none/1"})
        assert missing.value.code == (-32602 if revision == MODERN else -32002)
        got = await client.request("prompts/get", {"name": "prompt1", "arguments": {"a": "b"}})
        assert got["messages"][0]["content"]["text"] == 'prompt1 {"a": "b"}'
        assert got["x-new"] == 1
        for ref in ({"type": "ref/prompt", "name": "prompt1"}, {"type": "ref/resource", "uri": "shop://a/{id}"}):
            given = {"ref": ref, "argument": {"name": "id", "value": "v"}, "context": {"arguments": {"x": "y"}}}
            done = (await client.request("completion/complete", given))["completion"]
            assert done == {"values": [ref.get("name") or ref["uri"], "v", "y"], "total": 3, "hasMore": False}


@every_wire
@every_revision
async def test_what_nobody_knows_travels_in_both_directions(running, revision, wire):
    meta = {"com.example/mine": {"deep": [1, None]}, "traceparent": TRACE, "tracestate": "a=b"}
    more = {"x-new": {"big": 12345678901234567890}, "_meta": meta}
    async with WireClient(running.alone(wire), revision) as client:
        seen = json.loads(text(await client.call("echo", {"a": 1.5, "b": None}, **more)))["params"]
        assert seen["arguments"] == {"a": 1.5, "b": None}
        assert seen["x-new"] == more["x-new"]
        assert {name: seen["_meta"][name] for name in meta} == meta
        # Nothing of the caller's hop is taken for the gateway's own (basic/index, Per-request protocol fields).
        modern = wire.startswith("modern")
        assert (f"{PREFIX}protocolVersion" in seen["_meta"]) == modern
        assert not modern or seen["_meta"][f"{PREFIX}clientInfo"]["name"] != "wire"
        result = await client.call("rich")
        assert result["_meta"]["com.example/kept"] == RICH["_meta"]["com.example/kept"]
        assert result["x-new"] == RICH["x-new"]
        assert result["content"][0] == RICH["content"][0]
        if revision == "2025-03-26":
            assert "structuredContent" not in result
            assert result["content"][1] == {"type": "text", "text": "one: shop://note/1"}
        else:
            assert result["structuredContent"] == RICH["structuredContent"]
            assert result["content"][1] == RICH["content"][1]


@every_wire
@every_revision
async def test_a_trace_is_begun_for_who_begins_none(running, revision, wire):
    async with WireClient(running.alone(wire), revision) as client:
        seen = json.loads(text(await client.call("echo")))["params"]["_meta"]["traceparent"]
        assert len(seen.split("-")[1]) == 32


@every_wire
@every_revision
async def test_progress(running, revision, wire):
    async with WireClient(running.alone(wire), revision) as client:
        for token in ("mine", 7):
            client.heard.clear()
            await client.call("work", _meta={"progressToken": token})
            told = [one["params"] for one in client.heard if one["method"] == "notifications/progress"]
            expected = {"progressToken": token, "total": 2, "message": "x", "x-new": 1}
            assert told == [{**expected, "progress": done} for done in (1, 2)]
        client.heard.clear()
        await client.call("work")
        assert not [one for one in client.heard if one["method"] == "notifications/progress"]


@every_wire
@every_revision
async def test_log_messages_from_the_level_that_was_asked_for(running, revision, wire):
    async with WireClient(running.alone(wire), revision, log="warning") as client:
        await client.listen(toolsListChanged=True)
        await client.call("work")
        if wire in ALIKE:
            await asyncio.sleep(0.1)
            assert not logs(client)
            return
        async with asyncio.timeout(20):
            while len(logs(client)) < 2:
                await asyncio.sleep(0.01)
        expected = [{"level": level, "data": f"a {level}", "logger": "shop"} for level in ("warning", "error")]
        assert [{name: one[name] for name in expected[0]} for one in logs(client)] == expected


def logs(client):
    """What was logged to a client: beside its answers, or on its standing stream."""
    heard = [*client.heard, *client.told._queue]
    return [one["params"] for one in heard if one["method"] == "notifications/message"]


@every_wire
async def test_a_modern_request_that_asks_for_no_log_messages_gets_none(running, wire):
    async with WireClient(running.alone(wire)) as client:
        await client.call("work")
        assert not client.heard


def answerable(kind, revision, wire):
    """Whether a client of this revision is asked this by a server on that wire."""
    if wire in UNKNOWING or (kind == "page" and revision == "2025-06-18"):
        return False
    return revision != "2025-03-26" or kind in ("sample", "roots")


@pytest.mark.parametrize("kind", KINDS)
@every_wire
@every_revision
async def test_questions(running, revision, wire, kind):
    method, able = KINDS[kind]
    if "elicitation" in able:
        able = ELICITATION[revision]
    async with WireClient(running.alone(wire), revision, capabilities=able, answers=ANSWERS) as client:
        answer = text(await client.call("ask", {"kind": kind}))
        if not answerable(kind, revision, wire):
            assert answer == "not offered"
            assert not client.asked
            return
        assert json.loads(answer) == ANSWERS[method]
        (asked,) = client.asked
        assert asked["method"] == method
        if kind == "page":
            assert asked["params"]["url"] == "https://in.example"


@pytest.mark.parametrize("kind", KINDS)
@every_wire
@every_revision
async def test_who_cannot_answer_is_not_asked(running, revision, wire, kind):
    async with WireClient(running.alone(wire), revision) as client:
        assert text(await client.call("ask", {"kind": kind})) == "not offered"
        assert not client.asked


@every_wire
@every_revision
async def test_a_page_that_an_error_asks_for(running, revision, wire):
    able = ELICITATION[revision]
    async with WireClient(running.alone(wire), revision, capabilities=able, answers=ANSWERS) as client:
        params = {"key": key()}
        if wire.startswith("modern") or (revision == MODERN and wire != "stdio"):
            assert text(await client.call("visit", params)) == "welcome"
            assert len(client.asked) == (0 if wire.startswith("modern") else 1)
            return
        with pytest.raises(RpcError) as first:
            await client.call("visit", params)
        assert first.value.code == -32042
        assert first.value.data["elicitations"][0]["url"] == "https://in.example"
        assert text(await client.call("visit", params)) == "welcome"


@every_wire
@every_revision
async def test_a_call_that_is_given_up_stops_at_the_server(running, revision, wire):
    name = key()
    async with WireClient(running.alone(wire), revision) as client:
        before = client.last
        calling = asyncio.create_task(client.call("wait", {"key": name}))
        while client.last == before:
            await asyncio.sleep(0)
        id = client.last
        await fate(client, name, "waiting")
        if revision == MODERN:
            calling.cancel()
        else:
            gone = {"requestId": id, "reason": "no more"}
            await client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone})
        await fate(client, name, "cancelled")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def fate(client, name, expected):
    """Until the server tells this of a wait."""
    async with asyncio.timeout(20):
        while text(await client.call("fate", {"key": name})) != expected:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire != "stateless"])
@every_revision
async def test_lists_and_resources_that_change(running, revision, wire):
    # What keeps no stream cannot tell; its lists are read anew when they are stale.
    uri, name = f"shop://note/{key()}", key()
    async with WireClient(running.alone(wire), revision) as client:
        flags = {f"{kind}ListChanged": True for kind in ("tools", "resources", "prompts")}
        await client.listen(**flags, resourceSubscriptions=[uri])
        await updated(running, client, wire, uri)
        for kind, identity in (("tools", "name"), ("resources", "uri"), ("prompts", "name")):
            new = name if identity == "name" else f"shop://{name}"
            running.stock(wire, lambda stock, kind=kind, new=new: stock[kind].append(new))
            async with asyncio.timeout(20):
                while new not in [one[identity] for one in await everything(client, f"{kind}/list", kind)]:
                    await client.hears(f"notifications/{kind}/list_changed")
        assert text(await client.call(name)) == f"I am {name}"


async def updated(running, client, wire, uri):
    """Have the resource change until the client hears of it: the subscription may just be under way."""
    hearing = asyncio.create_task(client.hears("notifications/resources/updated", uri))
    for edition in itertools.count():
        running.stock(wire, lambda stock, edition=edition: stock["updated"].update({uri: edition}))
        if (await asyncio.wait([hearing], timeout=0.3))[0]:
            break
    await hearing


@every_wire
@every_revision
async def test_arguments_mirrored_into_headers(running, revision, wire):
    async with WireClient(running.alone(wire), revision) as client:
        await everything(client, "tools/list", "tools")
        mirrored = {"Mcp-Param-Region": "eu-west"} if revision == MODERN else {}
        params = {"name": "where", "arguments": {"region": "eu-west"}}
        seen = json.loads(text(await client.request("tools/call", params, mirrored)))
        assert seen["params"]["arguments"] == {"region": "eu-west"}
        assert seen["headers"] == ({"mcp-param-region": "eu-west"} if wire == "modern-http" else {})
        if revision == MODERN:
            for wrong in ({}, {"Mcp-Param-Region": "us-east"}):
                with pytest.raises(RpcError) as refused:
                    await client.request("tools/call", params, wrong)
                assert refused.value.code == -32020


@every_wire
@every_revision
async def test_the_server_is_told_what_its_client_can_do(running, revision, wire):
    apps = {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}
    able = {"sampling": {}, "roots": {"listChanged": True}, "extensions": apps, "experimental": {"x": {}}}
    async with WireClient(running.alone(wire), revision, capabilities=able) as client:
        told = json.loads(text(await client.call("whoami")))
        assert told == ({} if wire in UNKNOWING else {"sampling": {}, "roots": {}, "extensions": apps})
