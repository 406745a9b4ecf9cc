"""What a caller sees of a function that became a tool."""

import asyncio
import dataclasses
import enum
import functools
import logging
from collections.abc import Callable
from typing import Annotated, Literal, NotRequired, TypedDict

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel, Field

from tests.server.conftest import call, request, text
from trunkline import (
    ConfigError,
    Context,
    DeadlineExceeded,
    Header,
    Image,
    InvalidParams,
    Server,
    Text,
    ToolError,
    ToolResult,
)


@dataclasses.dataclass
class Place:
    city: str
    country: str = "FR"


class Weather(TypedDict):
    degrees: float
    wind: NotRequired[float]


class Point(msgspec.Struct):
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0)] = 1


async def listed(server: Server) -> dict[str, dict[str, object]]:
    tools = (await request(server, "tools/list"))["tools"]
    return {tool["name"]: tool for tool in tools}  # type: ignore[attr-defined]


async def test_a_function_becomes_a_tool(server: Server) -> None:
    @server.tool
    async def add(a: int, b: int = 2) -> int:
        """Add two numbers.

        Args:
            a: the first
            b: the second,
                in a longer line
        """
        return a + b

    tool = (await listed(server))["add"]

    assert tool["description"] == "Add two numbers."
    assert tool["inputSchema"] == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "the first"},
            "b": {"type": "integer", "description": "the second, in a longer line", "default": 2},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    assert tool["outputSchema"] == {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
    }
    result = await call(server, "add", {"a": 1})
    assert (text(result), result["structuredContent"]) == ("3", {"result": 3})


async def test_rest_docstrings_describe_parameters_too(server: Server) -> None:
    @server.tool
    async def find(text: str, limit: Annotated[int, "how many"] = 3) -> str:
        """Find it.

        :param text: what to look for
        :param int limit: overruled by the annotation
        :returns: the text
        """
        return text

    tool = (await listed(server))["find"]

    assert tool["description"] == "Find it."
    properties = tool["inputSchema"]["properties"]  # type: ignore[index]
    assert properties["text"]["description"] == "what to look for"
    assert properties["limit"]["description"] == "how many"


@pytest.mark.parametrize("kind", ["msgspec", "pydantic"])
async def test_types_of_every_kind_arrive_as_their_authors_wrote_them(server: Server, kind: str) -> None:
    seen: list[object] = []

    async def everything(
        place: Place,
        point: Point,
        weather: Weather,
        colour: Colour,
        mode: Literal["fast", "slow"],
        tags: list[str] | None = None,
    ) -> None:
        seen.extend([place, point, weather, colour, mode, tags])

    async def person(who: Person, level: int = Field(3, le=5)) -> None:
        seen.extend([who, level])

    if kind == "pydantic":
        server.tool(person)
        result = await call(server, "person", {"who": {"name": "Ada"}})
        assert seen == [Person(name="Ada", age=1), 3]
    else:
        server.tool(everything)
        arguments = {
            "place": {"city": "Nice"},
            "point": {"x": 1, "y": 2},
            "weather": {"degrees": 3},
            "colour": "red",
            "mode": "fast",
        }
        result = await call(server, "everything", arguments)
        assert seen == [Place("Nice"), Point(1, 2), {"degrees": 3.0}, Colour.RED, "fast", None]
    assert "isError" not in result


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"a": "1"}, "- a: expected `int`, got `str`"),
        ({}, "- missing required field `a`"),
        ({"a": 1, "z": 1}, "- contains unknown field `z`"),
        ({"a": 1, "place": {"city": 3}}, "- place.city: expected `str`, got `int`"),
    ],
)
async def test_wrong_arguments_are_explained_to_the_model(server: Server, arguments: object, reason: str) -> None:
    @server.tool
    async def take(a: int, place: Place | None = None) -> None: ...

    result = await call(server, "take", arguments)

    assert result["isError"] is True
    assert text(result) == f"Invalid arguments for tool 'take':\n{reason}"


async def test_wrong_arguments_of_pydantic_models_are_explained_all_at_once(server: Server) -> None:
    @server.tool
    async def take(who: Person, n: int) -> None: ...

    result = await call(server, "take", {"who": {"name": 1, "age": -1}, "n": "1", "z": 0})

    assert text(result).splitlines()[1:] == [
        "- who.name: input should be a valid string",
        "- who.age: input should be greater than or equal to 0",
        "- n: input should be a valid integer",
        "- z: extra inputs are not permitted",
    ]


@pytest.mark.parametrize("arguments", [[], "text", 3])
async def test_arguments_that_are_no_object_are_a_malformed_request(server: Server, arguments: object) -> None:
    @server.tool
    async def take(a: int = 1) -> None: ...

    with pytest.raises(InvalidParams, match="must be an object"):
        await call(server, "take", arguments)


async def test_absent_arguments_are_none_at_all(server: Server) -> None:
    @server.tool
    async def take(a: int = 1) -> int:
        return a

    assert text(await call(server, "take")) == "1"


async def test_an_unknown_tool_is_a_protocol_error(server: Server) -> None:
    @server.tool
    async def known() -> None: ...

    with pytest.raises(InvalidParams, match="Unknown tool: nope"):
        await call(server, "nope")


async def test_the_context_is_injected_and_never_in_the_schema(server: Server) -> None:
    @server.tool
    async def who(context: Context) -> str:
        return context.principal.subject

    @server.tool
    async def maybe(asked: Context | None = None) -> str:
        return asked.principal.subject if asked else "nobody"

    tools = await listed(server)

    assert tools["who"]["inputSchema"] == tools["maybe"]["inputSchema"]
    assert tools["who"]["inputSchema"]["properties"] == {}  # type: ignore[index]
    assert [text(await call(server, name)) for name in ("who", "maybe")] == ["anonymous", "anonymous"]


async def test_keyword_arguments_open_the_schema(server: Server) -> None:
    @server.tool
    async def collect(a: int, **more: int) -> dict[str, int]:
        return {"a": a, **more}

    tool = (await listed(server))["collect"]
    assert tool["inputSchema"]["additionalProperties"] == {"type": "integer"}  # type: ignore[index]
    assert (await call(server, "collect", {"a": 1, "b": 2}))["structuredContent"] == {"a": 1, "b": 2}
    assert (await call(server, "collect", {"a": 1, "b": "2"}))["isError"] is True


@pytest.mark.parametrize("options", [{}, {"inline": True}, {"timeout": 5.0}])
async def test_synchronous_functions_work_in_every_mode(server: Server, options: dict[str, object]) -> None:
    def double(a: int) -> int:
        return 2 * a

    server.tool(**options)(double)  # type: ignore[call-overload]

    assert text(await call(server, "double", {"a": 4})) == "8"


async def test_a_slow_call_is_stopped_at_its_timeout(server: Server) -> None:
    @server.tool(timeout=0.01)
    async def slow() -> None:
        await asyncio.sleep(30)

    with pytest.raises(DeadlineExceeded, match="was stopped after"):
        await call(server, "slow")


async def test_a_timeout_inside_a_tool_is_the_tools_own_failure(server: Server) -> None:
    @server.tool(timeout=5)
    async def slow() -> None:
        raise TimeoutError

    assert text(await call(server, "slow")) == "Tool 'slow' failed"


@pytest.mark.parametrize(
    ("annotation", "value", "shown", "structured"),
    [
        (str, "plain", "plain", None),
        (bool, True, "true", {"result": True}),
        (list[int], [1, 2], "[1,2]", {"result": [1, 2]}),
        (dict[str, int], {"a": 1}, '{"a":1}', {"a": 1}),
        (Place, Place("Nice"), '{"city":"Nice","country":"FR"}', {"city": "Nice", "country": "FR"}),
        (Point, Point(1, 2), '{"x":1,"y":2}', {"x": 1, "y": 2}),
        (Weather, {"degrees": 1.5}, '{"degrees":1.5}', {"degrees": 1.5}),
        (Person, Person(name="Ada"), '{"name":"Ada","age":1}', {"name": "Ada", "age": 1}),
        (list[Person], [{"name": "Ada"}], '[{"name":"Ada","age":1}]', {"result": [{"name": "Ada", "age": 1}]}),
        (int | None, None, "null", {"result": None}),
        (object, {"a": (1, 2)}, '{"a":[1,2]}', None),
        (list[object], [Text("block"), 1], "block", None),
        (dict[str, object], {"a": None}, '{"a":null}', {"a": None}),
        (Literal["a", "b"], "a", "a", {"result": "a"}),
        (Colour, Colour.RED, '"red"', {"result": "red"}),
    ],
)
async def test_return_values_become_text_and_structured_content(
    server: Server, annotation: object, value: object, shown: str, structured: object
) -> None:
    async def give():  # type: ignore[no-untyped-def]
        return value

    give.__annotations__["return"] = annotation
    server.tool(give)

    result = await call(server, "give")
    schema = (await listed(server))["give"].get("outputSchema")

    assert text(result) == shown
    assert result.get("structuredContent") == structured
    assert (schema is None) == (structured is None)
    if schema is not None:
        jsonschema.validate(structured, schema)  # type: ignore[arg-type]
        assert schema["type"] == "object"  # type: ignore[index]


async def test_content_and_text_mix_in_a_list(server: Server) -> None:
    @server.tool
    async def picture() -> list[str | Image]:
        return ["Look:", Image(b"\x89PNG", "image/png")]

    result = await call(server, "picture")

    assert result["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image", "data": "iVBORw==", "mimeType": "image/png"},
    ]
    assert "outputSchema" not in (await listed(server))["picture"]


async def test_none_is_no_content(server: Server) -> None:
    @server.tool
    async def nothing() -> None: ...

    assert (await call(server, "nothing"))["content"] == []


async def test_a_tool_result_says_everything_itself(server: Server) -> None:
    @server.tool
    async def full() -> ToolResult:
        return ToolResult([Text("two rows")], structured={"rows": 2}, is_error=True, meta={"a": 1})

    result = await call(server, "full")

    assert result["content"] == [{"type": "text", "text": "two rows"}]
    assert (result["structuredContent"], result["isError"]) == ({"rows": 2}, True)
    assert result["_meta"]["a"] == 1  # type: ignore[index]


async def test_a_tools_own_failure_is_shown_and_a_bug_is_not(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @server.tool
    async def known() -> None:
        raise ToolError("The city is not known")

    @server.tool
    async def bug() -> None:
        raise RuntimeError("password=hunter2")

    assert text(await call(server, "known")) == "The city is not known"
    with caplog.at_level(logging.ERROR, "trunkline.server"):
        result = await call(server, "bug")
    assert (text(result), result["isError"]) == ("Tool 'bug' failed", True)
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("annotation", [Place, Person, Weather])
async def test_a_result_that_breaks_its_schema_is_an_error(
    server: Server, annotation: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong():  # type: ignore[no-untyped-def]
        return {"city": 3}

    wrong.__annotations__["return"] = annotation
    server.tool(wrong)

    result = await call(server, "wrong")

    assert result["isError"] is True
    assert text(result) == "Tool 'wrong' returned a result that does not match its output schema"
    assert "returned what its output schema does not allow" in caplog.text


async def test_schemas_written_by_the_author_are_kept_and_enforced(server: Server) -> None:
    schema: dict[str, object] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/small"}},
        "$defs": {"small": {"type": "integer", "maximum": 3}},
        "required": ["n"],
    }

    @server.tool(input_schema=schema, output_schema=schema)
    async def echo(arguments: dict[str, object]) -> dict[str, object]:
        return {"n": 2 * int(str(arguments["n"]))}

    @server.tool(input_schema=schema)
    async def spread(**arguments: object) -> str:
        return repr(arguments)

    assert (await listed(server))["echo"]["inputSchema"] == schema
    assert (await call(server, "echo", {"n": 1}))["structuredContent"] == {"n": 2}
    assert "n: 4 is greater than the maximum of 3" in text(await call(server, "echo", {"n": 4}))
    assert "output schema" in text(await call(server, "echo", {"n": 3}))
    assert text(await call(server, "spread", {"n": 1})) == "{'n': 1}"


async def test_parameters_are_mirrored_into_headers(server: Server) -> None:
    @server.tool(headers={"tenant": "Tenant"})
    async def query(region: Annotated[str, Header("Region")], tenant: int) -> str:
        return region

    schema = (await listed(server))["query"]["inputSchema"]

    assert schema["properties"]["region"]["x-mcp-header"] == "Region"  # type: ignore[index]
    mirrored = [(param.name, param.path, param.kind) for param in server.provider.header_params("query")]
    assert mirrored == [("Region", ("region",), "string"), ("Tenant", ("tenant",), "integer")]
    assert server.provider.header_params("nope") == ()


async def test_everything_an_author_says_is_listed(server: Server) -> None:
    @server.tool(
        name="a.b-c",
        title="ABC",
        description="Does it",
        annotations={"readOnlyHint": True},
        icons=[{"src": "https://example.com/i.png"}],
        meta={"dev.example/x": 1},
        structured=False,
    )
    async def ignored() -> int:
        return 1

    assert (await listed(server))["a.b-c"] == {
        "name": "a.b-c",
        "title": "ABC",
        "description": "Does it",
        "inputSchema": {"type": "object", "properties": {}, "additionalProperties": False},
        "annotations": {"readOnlyHint": True},
        "icons": [{"src": "https://example.com/i.png"}],
        "_meta": {"dev.example/x": 1},
    }
    assert "structuredContent" not in await call(server, "a.b-c")


def test_what_cannot_work_is_refused_when_it_is_registered(server: Server) -> None:
    async def positional(a: int, /) -> None: ...

    async def variadic(*a: int) -> None: ...

    async def float_header(a: Annotated[float, Header("A")]) -> None: ...

    async def fine() -> None: ...

    server.tool(fine)
    for wrong in (positional, variadic, float_header, fine):
        with pytest.raises(ConfigError):
            server.tool(wrong)
    for options in (
        {"name": "two words"},
        {"headers": {"nope": "X"}},
        {"output_schema": {"type": "string"}},
        {"input_schema": {"type": "object"}},
        {"output_schema": {"type": "object", "properties": 3}},
    ):
        with pytest.raises(ConfigError):
            server.tool(**options)(fine)  # type: ignore[call-overload]


async def test_a_message_asked_for_by_a_tool_is_asked_in_rounds(server: Server) -> None:
    @server.tool
    async def greet(context: Context) -> str:
        answer = await context.elicit("Who are you?", {"type": "object", "properties": {"name": {"type": "string"}}})
        return f"Hello, {answer.content['name']}"

    capabilities = {"elicitation": {}}
    first = await call(server, "greet", capabilities=capabilities)
    assert first["resultType"] == "input_required"
    params = {
        "name": "greet",
        "requestState": first["requestState"],
        "inputResponses": {"elicit-1": {"action": "accept", "content": {"name": "Ada"}}},
    }
    second = await request(server, "tools/call", params, capabilities=capabilities)
    assert text(second) == "Hello, Ada"


async def test_answers_that_come_before_the_question_are_used(server: Server) -> None:
    @server.tool
    async def greet(context: Context) -> str:
        answer = await context.elicit("Who are you?", key="who")
        return f"Hello, {answer.content['name']}"

    params = {
        "name": "greet",
        "inputResponses": {"who": {"action": "accept", "content": {"name": "Ada"}}, "other": {"action": "accept"}},
    }

    assert text(await request(server, "tools/call", params, capabilities={"elicitation": {}})) == "Hello, Ada"


async def test_anything_that_can_be_called_can_be_a_tool(server: Server) -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        async def up(self, by: int = 1) -> int:
            self.count += by
            return self.count

        async def __call__(self, by: int) -> int:
            return await self.up(by)

    def hidden(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def wrapper(**arguments: object) -> object:
            return function(**arguments)

        return wrapper

    counter = Counter()
    server.tool(counter.up)
    server.tool(name="instance")(counter)
    server.tool(name="partial")(functools.partial(counter.up, by=5))
    server.tool(name="hidden")(hidden(counter.up))
    server.tool(name="hidden-inline", inline=True)(hidden(counter.up))

    calls = [("up", {}), ("instance", {"by": 2}), ("partial", {}), ("hidden", {}), ("hidden-inline", {"by": 3})]
    assert [text(await call(server, name, arguments)) for name, arguments in calls] == ["1", "3", "8", "9", "12"]
