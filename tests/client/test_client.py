"""The caller's API, mostly against our own server in the same process, in both eras."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.client.raw import DISCOVERED, Message, answer, refusal, serving
from trunkline import (
    Client,
    ConfigError,
    Context,
    ElicitAnswer,
    ElicitRequest,
    InvalidAnswer,
    LogMessage,
    RemoteError,
    RequestTimeout,
    SampleRequest,
    Server,
    ToolError,
    TransportError,
    accept_defaults,
)
from trunkline.protocol.revisions import Era

ERAS = pytest.mark.parametrize("era", ["modern", "legacy"])
FORM = {"type": "object", "properties": {"name": {"type": "string", "default": "Ann"}, "age": {"type": "integer"}}}


def make_server() -> Server:
    """A server with a bit of everything."""
    server = Server("bits", instructions="Be kind.")

    @server.tool
    async def add(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @server.tool
    async def fail() -> str:
        """Fail."""
        raise ToolError("the disk is full")

    @server.tool
    async def greet(context: Context) -> str:
        """Ask who it is."""
        answered = await context.elicit("Who is it?", FORM)
        return f"{answered.action} {answered.content}"

    @server.tool
    async def think(context: Context) -> str:
        """Ask a model."""
        said = await context.sample("What now?")
        return str(said)

    @server.tool
    async def where(context: Context) -> str:
        """Ask for the roots."""
        return str(await context.roots())

    @server.tool
    async def work(context: Context) -> str:
        """Report."""
        await context.progress(1, 2, "half")
        await context.log("warning", {"left": 0.5}, "worker")
        await context.progress(2, 2)
        return "done"

    @server.resource("memo://{name}")
    async def memo(name: str) -> str:
        """A memo."""
        return f"memo {name}"

    @server.resource("memo://fixed")
    async def fixed() -> str:
        """A fixed memo."""
        return "fixed"

    @server.prompt
    async def review(code: str) -> str:
        """Review."""
        return f"Review {code}"

    return server


@pytest.fixture
def server() -> Server:
    return make_server()


@ERAS
async def test_tools_are_listed_and_called_with_a_mapping_keywords_or_both(server: Server, era: Era) -> None:
    async with Client(server, era=era) as client:
        tools = {tool.name: tool for tool in await client.tools()}
        assert tools["add"].description == "Add."
        assert tools["add"].input_schema["required"] == ["a"]
        assert tools["add"].raw["name"] == "add"
        for result in (
            await client.call("add", {"a": 1, "b": 3}),
            await client.call("add", a=1, b=3),
            await client.call("add", {"a": 1}, b=3),
        ):
            assert result.data == 4
            assert result.text == "4"
            assert not result.is_error


@ERAS
async def test_a_failed_tool_raises_unless_asked_not_to(server: Server, era: Era) -> None:
    async with Client(server, era=era) as client:
        with pytest.raises(ToolError, match="the disk is full"):
            await client.call("fail")
        result = await client.call("fail", check=False)
        assert result.is_error
        assert result.raw["isError"] is True


@ERAS
async def test_an_unknown_tool_is_the_servers_error(server: Server, era: Era) -> None:
    async with Client(server, era=era) as client:
        with pytest.raises(RemoteError) as caught:
            await client.call("nope")
        assert caught.value.remote_code == -32602


@ERAS
async def test_resources_templates_prompts_and_facts(server: Server, era: Era) -> None:
    async with Client(server, era=era) as client:
        assert [resource.uri for resource in await client.resources()] == ["memo://fixed"]
        assert [template.uri_template for template in await client.templates()] == ["memo://{name}"]
        assert (await client.read("memo://x")).text == "memo x"
        prompts = await client.prompts()
        assert [(prompt.name, [argument.name for argument in prompt.arguments]) for prompt in prompts] == [
            ("review", ["code"])
        ]
        filled = await client.prompt("review", code="x = 1")
        assert filled.messages[0].role == "user"
        assert filled.messages[0].content.text == "Review x = 1"
        facts = await client.server()
        assert (facts.name, facts.era, facts.instructions) == ("bits", era, "Be kind.")
        assert facts.revision in (await client.discover())["supportedVersions"]  # type: ignore[operator]
        await client.ping()


@ERAS
async def test_handlers_answer_what_the_server_asks(server: Server, era: Era) -> None:
    seen: list[ElicitRequest] = []

    def elicit(request: ElicitRequest) -> dict[str, object]:
        seen.append(request)
        return {"name": "Bob"}

    async def sample(request: SampleRequest) -> str:
        return f"{request.messages[0]['content']} {request.max_tokens}"

    async with Client(
        server, era=era, elicit=elicit, sample=sample, roots=lambda: [Path("/tmp"), "https://x"]
    ) as client:
        assert (await client.call("greet")).text == "accept {'name': 'Bob'}"
        assert "What now?" in (await client.call("think")).text
        assert "file:///tmp" in (await client.call("where")).text
    assert seen[0].message == "Who is it?"
    assert seen[0].schema["properties"] == FORM["properties"]
    assert seen[0].mode == "form"


@ERAS
@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (accept_defaults, "accept {'name': 'Ann'}"),
        (lambda request: None, "decline"),
        (lambda request: ElicitAnswer("cancel"), "cancel"),
    ],
)
async def test_a_person_may_accept_decline_or_cancel(server: Server, era: Era, handler: object, text: str) -> None:
    async with Client(server, era=era, elicit=handler) as client:  # type: ignore[arg-type]
        assert (await client.call("greet")).text.startswith(text)


@ERAS
async def test_what_has_no_handler_is_not_declared(server: Server, era: Era) -> None:
    async with Client(server, era=era, elicit=accept_defaults) as client:
        with pytest.raises((RemoteError, ToolError), match="sampling"):
            await client.call("think")


@ERAS
async def test_progress_and_log_reach_the_callbacks_of_the_call(server: Server, era: Era) -> None:
    progress: list[object] = []
    logged: list[LogMessage] = []

    async def note(message: LogMessage) -> None:
        logged.append(message)

    async with Client(server, era=era, log=logged.append, log_level="info") as client:
        result = await client.call("work", progress=lambda *report: progress.append(report), log=note)
        assert result.text == "done"
    assert progress == [(1, 2, "half"), (2, 2, None)]
    assert logged == [LogMessage("warning", {"left": 0.5}, "worker")]


@ERAS
async def test_changes_are_told_and_drop_what_is_cached(server: Server, era: Era) -> None:
    async with Client(server, era=era) as client:
        ready = asyncio.Event()
        changes = client.listen("memo://fixed", tools=True, on_ready=ready.set)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.wait_for(ready.wait(), 5)

        async def more() -> str:
            """More."""
            return "more"

        server.add_tool(more)
        assert (await asyncio.wait_for(waiting, 5)).kind == "tools"
        assert "more" in [tool.name for tool in await client.tools()]
        server.notify_resource_updated("memo://fixed")
        change = await asyncio.wait_for(anext(changes), 5)
        assert (change.kind, change.uri, change.missed) == ("resource", "memo://fixed", False)
        await changes.aclose()


async def test_the_in_process_server_is_stopped_with_the_client(server: Server) -> None:
    stopped = []

    @server.on_stop
    async def stop() -> None:
        stopped.append(True)

    async with Client(server) as client:
        await client.ping()
    assert stopped == [True]


async def test_a_python_file_and_a_command_are_started(tmp_path: Path) -> None:
    script = tmp_path / "echo.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    message = json.loads(line)\n"
        "    if 'id' in message:\n"
        "        result = {'supportedVersions': ['2026-07-28'], 'capabilities': {}, 'tools': []}\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': result}), flush=True)\n"
    )
    for target in (script, str(script), [sys.executable, str(script)], f"{sys.executable} {script}"):
        async with Client(target) as client:
            assert await client.tools() == []


@pytest.mark.parametrize("target", ["", "ftp://x", "nowhere.py", "http://", "http://host:99999/mcp"])
async def test_what_is_no_target_is_told_at_once(target: str) -> None:
    with pytest.raises((ConfigError, TransportError)):
        async with Client(target):
            pass


class Answering:
    """An HTTP server that answers by method; counts the requests."""

    def __init__(self, **results: object) -> None:
        self.results = results
        self.asked: list[str] = []
        self.bodies: list[Message] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.asked.append(message["method"])
        self.bodies.append(message)
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        result = self.results[message["method"].replace("/", "_")]
        found = result(message) if callable(result) else result
        return found if isinstance(found, web.Response) else web.json_response(answer(message, found))


async def test_pages_are_followed() -> None:
    def page(message: Message) -> Message:
        cursor = int(message["params"].get("cursor", "0"))  # type: ignore[attr-defined]
        tools = [{"name": f"t{cursor}", "inputSchema": {}}]
        return {"tools": tools, "nextCursor": str(cursor + 1)} if cursor < 3 else {"tools": tools}

    async with serving(Answering(tools_list=page)) as url, Client(url) as client:
        assert [tool.name for tool in await client.tools()] == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("cursor", ["same", 7, {}])
async def test_pages_that_lead_nowhere_end(cursor: object) -> None:
    async with serving(Answering(tools_list={"tools": [], "nextCursor": cursor})) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer, match="cursor"):
            await client.tools()


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"tools": {}},
        {"tools": [{"name": 5, "inputSchema": {}}]},
        {"tools": ["x"]},
        {"tools": [], "resultType": "input_required", "requestState": "s"},
        {"tools": [], "resultType": "task"},
    ],
)
async def test_lists_that_are_none_are_told(result: Message) -> None:
    async with serving(Answering(tools_list=result)) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer):
            await client.tools()


@pytest.mark.parametrize(
    "result",
    [
        {"content": "text"},
        {"content": [{"text": "no type"}]},
        {"content": [{"type": "text", "text": 5}]},
        {"content": [], "isError": "yes"},
        {"content": [{"type": "image", "data": "not base64!", "mimeType": "image/png"}]},
        {"resultType": "invented"},
        {"resultType": 5},
        {"resultType": "input_required"},
        {"resultType": "input_required", "inputRequests": []},
        {"resultType": "input_required", "inputRequests": {"x": {"method": "roots/list"}}},
        {"resultType": "input_required", "inputRequests": {"x": {"params": {}}}},
        {"resultType": "input_required", "requestState": 5},
    ],
)
async def test_results_that_are_none_are_told(result: Message) -> None:
    async with serving(Answering(tools_call=result)) as url, Client(url, elicit=accept_defaults) as client:
        with pytest.raises(InvalidAnswer):
            await client.call("x")


async def test_unknown_content_is_kept_as_it_came() -> None:
    block = {"type": "hologram", "depth": 3}
    async with serving(Answering(tools_call={"content": [block]})) as url, Client(url) as client:
        result = await client.call("x")
    assert (result.content[0].type, result.content[0].raw) == ("hologram", block)


async def test_a_round_repeats_only_its_request_with_the_state_as_it_came() -> None:
    state = "opaque \N{SNOWMAN} \\u0041"

    def call(message: Message) -> Message:
        params: Message = message["params"]  # type: ignore[assignment]
        if "inputResponses" not in params and "requestState" not in params:
            ask = {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": FORM}}
            return {"resultType": "input_required", "inputRequests": {"k": ask}, "requestState": state}
        if "inputResponses" in params:
            return {"resultType": "input_required", "inputRequests": {}}
        return {"content": [], "structuredContent": params.get("requestState", "none")}

    def second(message: Message) -> Message:
        return {"content": []} if "inputResponses" in message["params"] and len(fixture.bodies) > 3 else call(message)

    fixture = Answering(tools_call=second)
    async with serving(fixture) as url, Client(url, elicit=accept_defaults) as client:
        await client.call("x", {"keep": 1})
    first, again, third = [body for body in fixture.bodies if body["method"] == "tools/call"]
    assert len({first["id"], again["id"], third["id"]}) == 3
    params: Message = again["params"]  # type: ignore[assignment]
    assert params["requestState"] == state
    assert params["inputResponses"] == {"k": {"action": "accept", "content": {"name": "Ann"}}}
    assert params["arguments"] == {"keep": 1}
    assert "requestState" not in third["params"]  # type: ignore[operator]


async def test_a_server_that_never_has_enough_is_stopped() -> None:
    result = {"resultType": "input_required", "inputRequests": {"k": {"method": "roots/list"}}}
    fixture = Answering(tools_call=result)
    async with serving(fixture) as url, Client(url, roots=[], rounds=3) as client:
        with pytest.raises(InvalidAnswer, match="3 times"):
            await client.call("x")
    assert fixture.asked.count("tools/call") == 4


async def test_structured_results_are_held_to_the_output_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = {"tools": [{"name": "x", "inputSchema": {}, "outputSchema": schema}]}
    fixture = Answering(tools_list=tools, tools_call={"content": [], "structuredContent": {"n": "five"}})
    async with serving(fixture) as url, Client(url) as client:
        await client.tools()
        with pytest.raises(InvalidAnswer, match="output schema"):
            await client.call("x")
        fixture.results["tools_call"] = {"content": [], "structuredContent": {"n": 5}}
        assert (await client.call("x")).data == {"n": 5}


async def test_a_schema_that_points_to_the_network_is_not_followed() -> None:
    fetched = []

    async def web_of_schemas(request: web.Request) -> web.Response:
        fetched.append(request.path)
        return web.json_response({})

    async with serving(web_of_schemas) as other:
        tools = {"tools": [{"name": "x", "inputSchema": {"$ref": other}, "outputSchema": {"$ref": other}}]}
        fixture = Answering(tools_list=tools, tools_call={"content": [], "structuredContent": {}})
        async with serving(fixture) as url, Client(url) as client:
            await client.tools()
            await client.call("x")
    assert fetched == []


async def test_fresh_results_are_not_asked_for_again() -> None:
    fixture = Answering(
        tools_list={"tools": [], "ttlMs": 60_000, "cacheScope": "private"},
        prompts_list={"prompts": [], "ttlMs": 0, "cacheScope": "private"},
    )
    async with serving(fixture) as url, Client(url) as client:
        for _ in range(3):
            await client.tools()
            await client.prompts()
    assert fixture.asked.count("tools/list") == 1
    assert fixture.asked.count("prompts/list") == 3


async def test_structured_numbers_are_ordinary_numbers() -> None:
    def call(message: Message) -> web.Response:
        text = f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{{"content":[],"structuredContent":{{"p":0.10}}}}}}'
        return web.Response(text=text, content_type="application/json")

    async with serving(Answering(tools_call=call)) as url, Client(url) as client:
        assert (await client.call("x")).data == {"p": 0.1}


async def test_a_timeout_of_one_call() -> None:
    server = Server("slow")

    @server.tool
    async def sleep() -> str:
        """Sleep."""
        await asyncio.sleep(3600)
        return ""

    async with Client(server) as client:
        with pytest.raises(RequestTimeout):
            await client.call("sleep", timeout=0.05)
        assert len(await client.tools()) == 1


async def test_headers_go_with_every_request_and_are_not_shown() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(answer(await request.json(), DISCOVERED))

    async with serving(handler) as url, Client(url, headers={"Authorization": "Bearer s3cret"}) as client:
        await client.discover()
        assert "s3cret" not in repr(client)
    assert seen == ["Bearer s3cret"] * 2


async def test_a_refused_version_reaches_the_caller() -> None:
    async def handler(request: web.Request) -> web.Response:
        error = refusal(await request.json(), -32022, "no", {"supported": ["2099-01-01"]})
        return web.json_response(error, status=400)

    async with serving(handler) as url:
        with pytest.raises(RemoteError, match="no"):
            async with Client(url):
                pass


async def test_progress_keeps_a_call_alive_also_when_nobody_is_told() -> None:
    server = Server("slow")

    @server.tool
    async def crawl(context: Context) -> str:
        """Report now and then."""
        for step in range(10):
            await asyncio.sleep(0.1)
            await context.progress(step)
        return "arrived"

    async with Client(server) as client:
        assert (await client.call("crawl", timeout=0.5)).text == "arrived"


@pytest.mark.parametrize(
    "option", [["--token", "s3cret"], ["TOKEN=s3cret"], ["https://me:s3cret@host/"], ["-k=s3cret"]]
)
def test_a_command_is_named_without_its_options(option: list[str]) -> None:
    one, other = (Client(["server", *option, last]).connection.target for last in ("a", "b"))
    assert one.name == "server"
    assert one.key != other.key
