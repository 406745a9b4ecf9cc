"""Endpoints over a gateway, between real HTTP hops: selection, edits, what callers may see, both eras of client."""

import contextlib
from typing import Annotated

import pytest

from tests.gateway.callers import until
from tests.gateway.test_http import served
from tests.gateway.upstreams import workshop
from trunkline import Client, Header, ResourceLink, Server
from trunkline.auth.static import StaticTokens
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.errors import Forbidden, InvalidParams, RemoteError
from trunkline.gateway import Edit, Endpoint, Federation, Selection
from trunkline.gateway.progressive import ProgressiveEngine
from trunkline.gateway.selection import EVERYTHING
from trunkline.portable.model import Entry
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

ERAS = ["modern", "legacy"]
TOKENS = StaticTokens(
    {"of-ann": Principal("t", "ann"), "of-bob": Principal("t", "bob", tools=("now", "*__add", "shop__order"))}
)


def clock() -> Server:
    server = Server("clock")

    @server.tool
    async def current(zone: Annotated[str, Header("Zone")], style: str = "long") -> str:
        """Tell the time of day in a zone."""
        return f"{zone} {style}"

    @server.tool(meta={"ui": {"resourceUri": "ui://clock/face"}})
    async def show() -> list[ResourceLink]:
        """Show a clock."""
        return [ResourceLink("clock://hidden", "hidden")]

    @server.resource("ui://clock/face")
    def face() -> str:
        return "<b>12</b>"

    @server.resource("clock://hidden")
    def hidden() -> str:
        return "hidden"

    return server


class Seen:
    """An observer that keeps the names of finished calls."""

    def __init__(self):
        self.calls = []

    def finished(self, context, outcome, seconds):
        if context.method == "tools/call":
            self.calls.append((context.params.name, context.principal.subject, outcome))


class Later:
    """An ASGI application that is known once its address is."""

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await self.app(scope, receive, send)


@contextlib.asynccontextmanager
async def endpoint(selection, *, engine=Engine, authenticator=None, era="modern", token=None, seen=None, **servers):
    """A client of an endpoint over a gateway over servers, all over HTTP; yields it and a way to make others."""
    servers = servers or {"shop": workshop(), "clock": clock()}
    async with contextlib.AsyncExitStack() as stack:
        # One listening socket for all: each stopped web server takes its time.
        behind = None
        for name, server in servers.items():
            behind = HTTPTransport(server.application, path=f"/{name}", beside=behind)
            stack.push_async_callback(server.application.stop)
        door = Later()
        base = await stack.enter_async_context(served(door))
        federation = Federation([Entry(name, "http", url=f"{base}/{name}") for name in servers])
        made = engine(Endpoint(federation, selection), observer=seen)
        application = Application(made, authenticator=authenticator)
        door.app = HTTPTransport(application, beside=behind)
        stack.push_async_callback(application.stop)
        await federation.start()
        stack.push_async_callback(federation.stop)

        async def client(era=era, token=token, **handlers):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            made = Client(f"{base}/mcp", headers=headers, era=era, **handlers)
            return await stack.enter_async_context(made)

        yield await client(), client, federation


NOW = Edit(name="now", title="Now", description="What time it is here.", pin={"zone": "Europe/Zurich"})
CHOSEN = Selection(
    tools=("shop__add", "shop__order", "clock__current"),
    edit_tools={"clock__current": NOW},
    instructions="Ask before you order.",
)


async def test_only_what_is_chosen_is_there_and_under_its_new_name():
    async with endpoint(CHOSEN) as (_, make, _):
        for era in ERAS:
            client = await make(era)
            tools = {tool.name: tool for tool in await client.tools()}
            assert list(tools) == ["shop__add", "shop__order", "now"], "in the order of the gateway"
            assert (tools["now"].raw["title"], tools["now"].description) == ("Now", "What time it is here.")
            assert (await client.call("shop__add", {"a": 1, "b": 2})).text == "3"
            assert (await client.server()).instructions == "Ask before you order."
            for hidden in ("clock__current", "shop__work", "current"):
                with pytest.raises(RemoteError, match="Unknown tool"):
                    await client.call(hidden, {"zone": "UTC"})


async def test_a_pinned_argument_is_filled_in_and_cannot_be_set():
    async with endpoint(CHOSEN) as (_, make, _):
        for era in ERAS:
            client = await make(era)
            (now,) = [tool for tool in await client.tools() if tool.name == "now"]
            assert set(now.raw["inputSchema"]["properties"]) == {"style"}
            assert "zone" not in now.raw["inputSchema"].get("required", [])
            assert (await client.call("now")).text == "Europe/Zurich long"
            assert (await client.call("now", {"style": "short"})).text == "Europe/Zurich short"
            refused = await client.call("now", {"zone": "Mars"}, check=False)
            assert refused.is_error
            assert "fixed" in refused.text


async def test_input_rounds_and_progress_go_through_a_rename():
    asked, reports = [], []

    def answer(request):
        asked.append(request.message)
        return {"n": 2, "size": "L"}

    selection = Selection(
        tools=("shop__*",),
        edit_tools={
            "shop__order": Edit(name="buy", pin={"item": "shirts"}),
            "shop__work": Edit(name="toil"),
        },
    )
    async with endpoint(selection) as (_, make, _):
        for era in ERAS:
            client = await make(era, elicit=answer)
            assert (await client.call("buy")).text == "2 shirts L"
            assert asked[-2:] == ["How many?", "Which size?"]
            assert (await client.call("toil", progress=lambda *one: reports.append(one[:2]))).text == "done"
            assert reports[-2:] == [(1, 2), (2, 2)]


@pytest.mark.parametrize("era", ERAS)
async def test_a_callers_list_of_tools_is_about_the_names_shown(era):
    async with endpoint(CHOSEN, authenticator=TOKENS, era=era, token="of-ann") as (ann, make, _):
        bob = await make(token="of-bob")
        assert [tool.name for tool in await ann.tools()] == ["shop__add", "shop__order", "now"]
        assert (await bob.call("now")).text == "Europe/Zurich long"
    async with endpoint(Selection(tools=("*",)), authenticator=TOKENS, era=era, token="of-bob") as (bob, _, _):
        assert [tool.name for tool in await bob.tools()] == ["shop__add", "shop__order"]
        with pytest.raises(RemoteError) as refused:
            await bob.call("shop__work")
        assert refused.value.remote_code == Forbidden.code


async def test_resources_are_chosen_by_their_uris():
    selection = Selection(tools=("clock__show",), resources=("shop://items/{id}",))
    async with endpoint(selection) as (client, _, _):
        assert await client.resources() == []
        assert [one.uri_template for one in await client.templates()] == ["shop://items/{id}"]
        assert (await client.read("shop://items/7")).text == "item 7 of workshop"
        assert (await client.read("ui://clock/face")).text == "<b>12</b>", "the interface of a chosen tool"
        (link,) = (await client.call("clock__show")).content
        for uri in ("shop://catalogue", link.raw["uri"]):
            with pytest.raises(RemoteError):
                await client.read(uri)


async def test_prompts_and_their_completion():
    edit = Edit(name="check", description="Check a program.")
    selection = Selection(prompts=("shop__review",), edit_prompts={"shop__review": edit})
    async with endpoint(selection) as (_, make, _):
        for era in ERAS:
            client = await make(era)
            (prompt,) = await client.prompts()
            assert (prompt.name, prompt.description) == ("check", "Check a program.")
            assert "workshop" in str((await client.prompt("check", {"language": "perl"})).messages)
            assert (await client.complete("language", "p", prompt="check")).values == ["python", "perl"]
            with pytest.raises(RemoteError):
                await client.prompt("shop__review", {"language": "perl"})


async def test_a_pinned_argument_of_a_prompt():
    selection = Selection(prompts=("*",), edit_prompts={"shop__review": Edit(name="perl", pin={"language": "perl"})})
    async with endpoint(selection) as (client, _, _):
        (prompt,) = await client.prompts()
        assert not prompt.arguments
        assert "Review this perl" in str((await client.prompt("perl")).messages)
        with pytest.raises(RemoteError, match="fixed"):
            await client.prompt("perl", {"language": "rust"})


async def test_changes_are_told_of_what_is_shown_alone():
    shop, other = workshop(), clock()
    async with endpoint(Selection(tools=("shop__*",)), shop=shop, clock=other) as (client, _, federation):
        told = []
        stop = Endpoint(federation, Selection(tools=("shop__*",))).watch(told.append)
        await until(lambda: not federation.lacking("tools"))
        told.clear()

        @other.tool
        async def unseen() -> str:
            return "unseen"

        await until(lambda: "clock__unseen" in str(federation.catalog.items("tools")))
        assert told == []

        @shop.tool
        async def fresh() -> str:
            return "fresh"

        await until(lambda: told)
        assert [change.kind for change in told] == ["tools"]
        stop()
        assert "shop__fresh" in [tool.name for tool in await client.tools()]


async def test_a_resource_that_is_not_chosen_cannot_be_followed():
    selection = Selection(resources=("shop://catalogue",))
    async with endpoint(selection, era="legacy") as (client, _, _):
        assert [one.uri for one in await client.resources()] == ["shop://catalogue"]
        options = {"timeout": 9, "maximum": 9, "repeatable": False}
        await client.connection.request("resources/subscribe", {"uri": "shop://catalogue"}, **options)
        with pytest.raises(RemoteError):
            await client.connection.request("resources/subscribe", {"uri": "shop://items/1"}, **options)


async def test_what_a_selection_names_and_nobody_has_is_a_problem_not_a_crash():
    selection = Selection(tools=("shop__add", "shop__gone", "gone__*"), resources=("none://x",))
    async with endpoint(selection) as (client, _, federation):
        assert [tool.name for tool in await client.tools()] == ["shop__add"]
        made = Endpoint(federation, selection)
        await until(lambda: len(made.problems()) == 3)
        assert made.problems() == [
            "there is no tool 'shop__gone'",
            "no tool matches 'gone__*'",
            "there is no resource 'none://x'",
        ]
        assert made.count("tools") == 1


async def test_a_sick_server_is_told_only_where_it_could_show():
    entries = [Entry("gone", "http", url="http://127.0.0.1:9/mcp")]
    async with served(workshop().app) as base:
        federation = Federation([*entries, Entry("shop", "http", url=f"{base}/mcp")])
        await federation.start()
        try:
            await until(lambda: federation.lacking("tools") == ("gone",))
            made = Endpoint(federation, Selection(tools=("shop__add",)))
            assert (made.count("tools"), made.problems()) == (1, [])
            assert Endpoint(federation, Selection(tools=("gone__*",))).count("tools") is None
        finally:
            await federation.stop()


# -- progressive discovery --------------------------------------------------------------------------------------------


async def test_two_tools_stand_for_all():
    async with endpoint(EVERYTHING, engine=ProgressiveEngine) as (_, make, _):
        for era in ERAS:
            client = await make(era)
            assert [tool.name for tool in await client.tools()] == ["find_tools", "call_tool"]
            found = (await client.call("find_tools", {"query": "time of day", "limit": 3})).structured
            if era == "modern":
                (first, *_) = found["tools"]
                assert first["name"] == "clock__current"
                assert set(first) == {"name", "description", "inputSchema"}
            called = await client.call("call_tool", {"name": "clock__current", "arguments": {"zone": "UTC"}})
            assert called.text == "UTC long"


@pytest.mark.parametrize("era", ERAS)
async def test_the_call_inside_is_seen_under_its_real_name_with_its_callers_rights(era):
    seen = Seen()
    setting = {"engine": ProgressiveEngine, "authenticator": TOKENS, "seen": seen, "era": era}
    async with endpoint(EVERYTHING, token="of-ann", **setting) as (ann, make, _):
        bob = await make(token="of-bob")
        assert [tool.name for tool in await bob.tools()] == [tool.name for tool in await ann.tools()]
        query = {"query": "time zone add order", "limit": 50}
        for client, visible in ((ann, True), (bob, False)):
            assert ("clock__current" in (await client.call("find_tools", query)).text) is visible
            assert "shop__add" in (await client.call("find_tools", query)).text
        seen.calls.clear()
        inner = {"name": "clock__current", "arguments": {"zone": "UTC"}}
        assert (await ann.call("call_tool", inner)).text == "UTC long"
        with pytest.raises(RemoteError) as refused:
            await bob.call("call_tool", inner)
        assert refused.value.remote_code == Forbidden.code
        assert seen.calls == [("clock__current", "ann", "ok"), ("clock__current", "bob", Forbidden.name)]


async def test_the_call_inside_asks_and_tells_its_caller():
    reports = []
    async with endpoint(EVERYTHING, engine=ProgressiveEngine) as (_, make, _):
        for era in ERAS:
            client = await make(era, elicit=lambda request: {"n": 2, "size": "L"})
            ordered = await client.call("call_tool", {"name": "shop__order", "arguments": {"item": "hats"}})
            assert ordered.text == "2 hats L"
            await client.call("call_tool", {"name": "shop__work"}, progress=lambda *one: reports.append(one[:2]))
            assert reports[-2:] == [(1, 2), (2, 2)]


async def test_state_of_a_round_is_bound_to_the_tool_inside():
    async with endpoint(EVERYTHING, engine=ProgressiveEngine) as (_, make, _):
        client = await make(elicit=lambda request: None)
        params = {"name": "call_tool", "arguments": {"name": "shop__order", "arguments": {"item": "hats"}}}
        asked = await client.connection.request("tools/call", params, timeout=9, maximum=9, repeatable=False)
        assert asked["resultType"] == "input_required"
        params["arguments"]["arguments"] = {"item": "shoes"}
        with pytest.raises(RemoteError) as refused:
            await client.connection.request(
                "tools/call", {**params, "requestState": asked["requestState"]}, timeout=9, maximum=9, repeatable=False
            )
        assert refused.value.remote_code == InvalidParams.code


async def test_malformed_use_of_the_two_is_told_to_the_model():
    async with endpoint(EVERYTHING, engine=ProgressiveEngine) as (client, _, _):
        for tool, arguments in (
            ("find_tools", {}),
            ("find_tools", {"query": "x", "limit": 0}),
            ("call_tool", {"arguments": {}}),
            ("call_tool", {"name": "shop__add", "arguments": [1]}),
            ("call_tool", {"name": "call_tool", "arguments": {"name": "shop__add"}}),
        ):
            assert (await client.call(tool, arguments, check=False)).is_error
        with pytest.raises(RemoteError, match="Unknown tool"):
            await client.call("call_tool", {"name": "nobody__has", "arguments": {}})
