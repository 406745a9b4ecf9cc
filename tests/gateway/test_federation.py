"""A federation over real servers in this process: every request, both eras on both sides."""

import asyncio
from typing import Any

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, until
from tests.gateway.upstreams import federated, workshop
from trunkline import Context, Server
from trunkline.engine.engine import error_for
from trunkline.errors import ConfigError, InvalidParams, ParseError, ProtocolError, RemoteError, ResourceNotFound
from trunkline.gateway import Federation
from trunkline.portable.model import Entry
from trunkline.protocol.messages import SERVER_INFO_KEY

ERAS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
UPSTREAMS = [(), ("east", "west")]

pairs = pytest.mark.parametrize(("revision", "legacy"), [(one, two) for one in ERAS for two in UPSTREAMS])


def shops():
    return {"east": workshop("east"), "west": workshop("west")}


@pairs
async def test_every_era_calls_every_era(revision, legacy):
    async with federated(shops(), legacy=legacy) as (_, engine, _local):
        caller = Caller(engine, revision)
        assert (await caller.call("west__add", a=2, b=40))["content"] == [{"type": "text", "text": "42"}]
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("north__add")
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("west__nothing")


@pairs
async def test_every_era_lists_and_reads_every_era(revision, legacy):
    async with federated(shops(), legacy=legacy) as (_, engine, _local):
        caller = Caller(engine, revision)
        names = await caller.tools()
        assert names.index("east__add") < names.index("west__add")
        resources = (await caller.request("resources/list"))["resources"]
        assert [one["uri"] for one in resources] == ["shop://catalogue", "shop://west__catalogue"]
        templates = (await caller.request("resources/templates/list"))["resourceTemplates"]
        assert [one["uriTemplate"] for one in templates] == ["shop://items/{id}", "shop://west__items/{id}"]
        for uri, text in {
            "shop://catalogue": "catalogue of east",
            "shop://west__catalogue": "catalogue of west",
            "shop://items/7": "item 7 of east",
            "shop://west__items/7": "item 7 of west",
        }.items():
            (contents,) = (await caller.request("resources/read", {"uri": uri}))["contents"]
            assert (contents["uri"], contents["text"]) == (uri, text)


@pairs
async def test_prompts_and_completion(revision, legacy):
    async with federated(shops(), legacy=legacy) as (_, engine, _local):
        caller = Caller(engine, revision)
        prompts = (await caller.request("prompts/list"))["prompts"]
        assert [one["name"] for one in prompts] == ["east__review", "west__review"]
        got = await caller.request("prompts/get", {"name": "west__review", "arguments": {"language": "c"}})
        assert got["messages"][0]["content"]["text"] == "Review this c for west"
        argument = {"name": "language", "value": "p"}
        completed = await caller.request(
            "completion/complete", {"ref": {"type": "ref/prompt", "name": "west__review"}, "argument": argument}
        )
        assert completed["completion"]["values"] == ["python", "perl"]
        completed = await caller.request(
            "completion/complete",
            {
                "ref": {"type": "ref/resource", "uri": "shop://west__items/{id}"},
                "argument": {"name": "id", "value": "4"},
            },
        )
        assert completed["completion"]["values"] == ["41"]


@pytest.mark.parametrize(
    "ref", [None, {}, {"type": "ref/odd"}, {"type": "ref/prompt"}, {"type": "ref/resource", "uri": 5}]
)
async def test_references_that_are_none(ref):
    async with federated(shops()) as (_, engine, _local):
        with pytest.raises(InvalidParams):
            await Caller(engine).request("completion/complete", {"ref": ref, "argument": {"name": "a", "value": ""}})


@pairs
async def test_a_missing_resource_is_told_in_the_code_of_the_era(revision, legacy):
    async with federated(shops(), legacy=legacy) as (_, engine, _local):
        caller = Caller(engine, revision)
        for uri in ("shop://west__nothing", "shop://nothing", "other://thing"):
            with pytest.raises(ResourceNotFound) as missing:
                await caller.request("resources/read", {"uri": uri})
            wire = error_for(caller.revision, missing.value)
            assert wire["code"] == (-32602 if revision == "2026-07-28" else -32002)
            assert wire["data"] == {"uri": uri}


async def test_links_in_results_lead_back():
    async with federated(shops()) as (_, engine, _local):
        caller = Caller(engine)
        for tool, text in {"east__point": "catalogue of east", "west__point": "catalogue of west"}.items():
            link, embedded = (await caller.call(tool))["content"]
            assert embedded["resource"]["uri"] == link["uri"]
            (contents,) = (await caller.request("resources/read", {"uri": link["uri"]}))["contents"]
            assert contents["text"] == text


@pairs
async def test_progress_comes_through(revision, legacy):
    async with federated(shops(), legacy=legacy) as (_, engine, _local):
        caller = Caller(engine, revision)
        params = {"name": "east__work", "arguments": {}, "_meta": {"progressToken": "mine"}}
        await caller.request("tools/call", params)
        heard = [one["params"] for one in caller.heard if one["method"] == "notifications/progress"]
        assert heard == [
            {"progressToken": "mine", "progress": 1, "total": 2, "message": "half"},
            {"progressToken": "mine", "progress": 2, "total": 2},
        ]


@pytest.mark.parametrize("legacy", UPSTREAMS)
async def test_logs_of_a_shared_process_are_not_the_callers(legacy):
    async with federated(shops(), legacy=legacy, shared=True) as (_, engine, _local):
        caller = Caller(engine, log="debug")
        await caller.call("east__work")
        assert not [one for one in caller.heard if one["method"] == "notifications/message"]


async def test_nobody_is_told_who_the_other_hop_is():
    async with federated(shops()) as (_, engine, _local):
        caller = Caller(engine, capabilities={"elicitation": {}, "extensions": {"com.example/x": {}}})
        result = await caller.call("east__whoami")
        assert result["structuredContent"]["capabilities"] == ["elicitation"]
        assert result["structuredContent"]["client"] == "gateway"
        assert result["_meta"][SERVER_INFO_KEY]["name"] == "trunkline"
        legacy = await Caller(engine, "2025-11-25").call("east__whoami")
        assert SERVER_INFO_KEY not in legacy.get("_meta", {})


async def test_what_the_gateway_tells_of_itself_is_kept_briefly():
    async with federated({"one": workshop()}, legacy=False) as (_federation, engine, _local):
        told = await Caller(engine).request("server/discover")
    assert (told["ttlMs"], told["cacheScope"]) == (60_000, "public")


async def test_the_trace_follows_the_call():
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with federated(shops(), legacy=("west",)) as (_, engine, _local):
        params = {"name": "east__whoami", "arguments": {}, "_meta": {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}}
        for tool in ("east__whoami", "west__whoami"):
            result = await Caller(engine).request("tools/call", {**params, "name": tool})
            assert result["structuredContent"]["trace"] == trace


FORM = {"action": "accept", "content": {"n": 3, "size": "XL"}}
ANSWERS = {
    "elicitation/create": FORM,
    "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "yes"}},
    "roots/list": {"roots": [{"uri": "file:///here"}]},
}
ABLE = {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25", "2025-06-18"])
async def test_a_modern_upstream_asks_a_person_of_any_era(revision):
    async with federated(shops()) as (_, engine, _local):
        caller = Caller(engine, revision, capabilities=ABLE, answers=ANSWERS)
        assert (await caller.call("east__order", item="hats"))["content"][0]["text"] == "3 hats XL"
        assert [one.params["message"] for one in caller.asked] == ["How many?", "Which size?"]
        assert (await caller.call("east__consult"))["content"][0]["text"] == "yes file:///here"


async def test_a_legacy_upstream_with_sessions_asks_a_legacy_person():
    async with federated(shops(), legacy=("east", "west"), shared=False) as (_, engine, _local):
        caller = Caller(engine, "2025-11-25", capabilities=ABLE, answers=ANSWERS)
        assert (await caller.call("east__order", item="hats"))["content"][0]["text"] == "3 hats XL"
        refusing = Caller(engine, "2025-11-25", capabilities=ABLE, answers={})
        assert (await refusing.call("east__order", item="hats"))["isError"]


async def test_a_legacy_upstream_is_told_what_each_of_its_callers_can_do():
    async with federated(shops(), legacy=("east", "west"), shared=False) as (_, engine, _local):
        for able in (ABLE, {}, {"roots": {"listChanged": True}}):
            caller = Caller(engine, capabilities=able, answers=ANSWERS)
            told = (await caller.call("east__whoami"))["structuredContent"]["capabilities"]
            assert told == sorted(able)


@pytest.mark.parametrize("legacy", UPSTREAMS)
async def test_what_the_caller_cancels_is_cancelled_at_the_upstream(legacy):
    server, seen = Server("s"), []

    @server.tool
    async def wait() -> str:
        seen.append("begun")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "never"

    async with federated({"s": server}, legacy=legacy and ("s",)) as (_, engine, _local):
        call = asyncio.create_task(Caller(engine).call("s__wait"))
        await until(lambda: seen == ["begun"])
        call.cancel()
        await until(lambda: seen == ["begun", "cancelled"])
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_shared_legacy_process_is_offered_nothing():
    entries = [Entry(name, "stdio", command="x") for name in shops()]
    async with federated(shops(), legacy=("east", "west"), shared=True, entries=entries) as (_, engine, local):
        caller = Caller(engine, "2025-11-25", capabilities=ABLE, answers=ANSWERS)
        result = await caller.call("east__whoami")
        assert result["structuredContent"]["capabilities"] == []
        assert len(local.made) == 2


async def test_the_state_of_an_upstream_is_sealed_and_the_callers_own():
    async with federated(shops()) as (_, engine, _local):
        alice = Caller(engine, capabilities=ABLE, answers=ANSWERS, principal=ALICE)
        bob = Caller(engine, capabilities=ABLE, answers=ANSWERS, principal=BOB)
        params = {"name": "east__order", "arguments": {"item": "hats"}}
        first = await alice.once("tools/call", params)
        assert first["resultType"] == "input_required"
        answers = dict.fromkeys(first["inputRequests"], FORM)
        retry = {**params, "requestState": first["requestState"], "inputResponses": answers}
        with pytest.raises(InvalidParams):
            await bob.once("tools/call", retry)
        with pytest.raises(InvalidParams):
            await alice.once("tools/call", {**retry, "name": "west__order"})
        second = await alice.once("tools/call", retry)
        assert second["resultType"] == "input_required"


async def test_sessions_of_a_legacy_upstream_belong_to_one_caller():
    async with federated(shops(), legacy=("east", "west"), shared=False) as (federation, engine, local):
        alice, bob = (Caller(engine, "2025-11-25", principal=one) for one in (ALICE, BOB))
        able = Caller(engine, "2025-11-25", principal=ALICE, capabilities=ABLE)
        await asyncio.gather(*(alice.call("east__add", a=1, b=1) for _ in range(5)))
        assert federation.statuses()[0].sessions == 1
        await bob.call("east__add", a=1, b=1)
        await able.call("east__add", a=1, b=1)
        await alice.call("east__add", a=1, b=1)
        assert federation.statuses()[0].sessions == 3
        assert federation.statuses()[1].sessions == 0
        assert len(local.made) == 5


async def test_a_lost_session_is_made_anew_without_the_callers_notice():
    async with federated(shops(), legacy=("east", "west"), shared=False) as (_, engine, local):
        caller = Caller(engine)
        await caller.call("east__add", a=1, b=1)
        await local.made[-1].peer.channel.close()
        assert (await caller.call("east__add", a=1, b=1))["content"][0]["text"] == "2"


async def test_large_numbers_and_unknown_members_survive():
    server = Server("numbers")

    @server.tool
    async def same(value: Any) -> dict[str, Any]:
        return {"value": value}

    for legacy in ((), ("numbers",)):
        async with federated({"numbers": server}, legacy=legacy) as (_, engine, _local):
            result = await Caller(engine).call("numbers__same", value=[2**70, {"new": {"deep": 1e-7}}])
            assert result["structuredContent"]["value"] == [2**70, {"new": {"deep": 1e-7}}]


async def test_duplicate_keys_are_refused():
    from msgspec import Raw

    from trunkline.protocol.messages import Message, decode_params

    async with federated(shops()) as (federation, engine, _local):
        caller = Caller(engine, "2025-11-25")
        params = decode_params(
            Message("2.0", 1, "tools/call", Raw(b'{"name": "east__add", "arguments": {"a": 1, "a": 2, "b": 3}}'))
        )
        from trunkline.engine.context import Context

        context = Context(1, "tools/call", params, caller.revision, ALICE, caller, {})
        await caller.tools()
        with pytest.raises(ParseError):
            await federation.call_tool(context)


async def test_errors_of_a_tool_are_the_tools():
    server = Server("s")

    @server.tool
    async def fail() -> str:
        raise RemoteError(-1234, "just no", {"because": 1})

    async with federated({"s": server}) as (_, engine, _local):
        with pytest.raises(ProtocolError) as failure:
            await Caller(engine).call("s__fail")
        assert failure.value.wire() == {"code": -1234, "message": "just no", "data": {"because": 1}}


@pytest.mark.parametrize("legacy", UPSTREAMS)
async def test_changes_reach_listeners_under_their_own_names(legacy):
    servers = shops()
    async with federated(servers, legacy=legacy) as (federation, engine, _local):
        caller = Caller(engine)
        await caller.tools()
        await caller.request("resources/list")
        changes = []
        unwatch = federation.watch(changes.append)
        await federation.follow(None, ["shop://west__catalogue"])
        await asyncio.sleep(0.1)
        servers["west"].notify_resource_updated("shop://catalogue")
        await until(lambda: [one.uri for one in changes if one.kind == "resource"] == ["shop://west__catalogue"])

        @servers["west"].tool
        async def fresh() -> str:
            return "new"

        await until(lambda: "tools" in [one.kind for one in changes])
        assert "west__fresh" in await caller.tools()
        servers["west"].remove_tool("fresh")
        await federation.unfollow(None, ["shop://west__catalogue"])
        unwatch()


async def test_one_upstream_under_its_own_path_is_not_renamed():
    async with federated(shops()) as (federation, _engine, _local):
        from tests.gateway.callers import gateway

        alone = federation.single("west")
        async with gateway(alone) as engine:
            caller = Caller(engine)
            assert "add" in await caller.tools()
            assert (await caller.call("add", a=1, b=2))["content"][0]["text"] == "3"
            (contents,) = (await caller.request("resources/read", {"uri": "shop://catalogue"}))["contents"]
            assert contents == {"uri": "shop://catalogue", "text": "catalogue of west", "mimeType": "text/plain"}
            assert set(alone.capabilities()) >= {"tools", "resources", "prompts"}
        assert federation.statuses()[1].state == "ready"
        with pytest.raises(ConfigError):
            federation.single("south")


async def test_tools_the_configuration_hides_do_not_exist():
    entries = [
        Entry("east", "http", url="x", allow=("a*", "point"), deny=("point",)),
        Entry("west", "http", disabled=True),
    ]
    async with federated(shops(), entries=entries) as (federation, engine, _local):
        caller = Caller(engine)
        assert await caller.tools() == ["east__add"]
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("east__point")
        with pytest.raises(InvalidParams, match="Unknown tool"):
            await caller.call("west__add")
        assert [status.state for status in federation.statuses()] == ["ready", "disabled"]


async def test_header_parameters_are_known_by_the_names_clients_use():
    from typing import Annotated

    from trunkline import Header

    server = Server("s")

    @server.tool
    async def query(region: Annotated[str, Header("Region")]) -> str:
        return region

    async with federated({"s": server}) as (federation, engine, _local):
        await Caller(engine).tools()
        assert [param.name for param in federation.header_params("s__query")] == ["Region"]
        assert federation.header_params("query") == ()


def test_two_servers_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="'a'"):
        Federation([Entry("a", "stdio"), Entry("a", "stdio")])


async def test_the_state_of_one_upstream_is_not_told_to_another_that_has_the_resource_by_now():
    first, second = Server("first"), Server("second")

    async def secret(context: Context) -> str:
        return str((await context.elicit("Whose?")).action)

    first.resource("shared://secret")(secret)
    second.resource("shared://other")(secret)
    async with federated({"first": first, "second": second}) as (federation, engine, _):
        caller = Caller(engine, capabilities={"elicitation": {}})
        await caller.request("resources/list")
        asked = await caller.once("resources/read", {"uri": "shared://secret"})
        assert asked["resultType"] == "input_required"
        first.remove_resource("shared://secret")
        second.resource("shared://secret")(secret)
        await until(lambda: federation.catalog.locate("shared://secret").upstream == "second")
        again = {"requestState": asked["requestState"], "inputResponses": {"elicit-1": {"action": "accept"}}}
        with pytest.raises(InvalidParams, match="another upstream"):
            await caller.once("resources/read", {"uri": "shared://secret", **again})
