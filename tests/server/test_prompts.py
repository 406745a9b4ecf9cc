"""What a caller sees of functions that became prompts, and of completion."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Literal

import pytest

from tests.server.conftest import request
from trunkline import Completed, ConfigError, EmbeddedResource, InvalidParams, Message, Server


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


async def complete(
    server: Server, ref: Mapping[str, str], argument: str, value: str = "", known: Mapping[str, str] | None = None
) -> object:
    params: dict[str, object] = {"ref": ref, "argument": {"name": argument, "value": value}}
    if known is not None:
        params["context"] = {"arguments": known}
    return (await request(server, "completion/complete", params))["completion"]


async def test_a_function_becomes_a_prompt(server: Server) -> None:
    @server.prompt(title="Review")
    def review(code: Annotated[str, "what to review"], language: str = "python") -> str:
        """Review code."""
        return f"Review this {language}: {code}"

    listed = (await request(server, "prompts/list"))["prompts"]
    result = await request(server, "prompts/get", {"name": "review", "arguments": {"code": "1+1"}})

    assert listed == [
        {
            "name": "review",
            "title": "Review",
            "description": "Review code.",
            "arguments": [
                {"name": "code", "description": "what to review", "required": True},
                {"name": "language", "required": False},
            ],
        }
    ]
    assert result["description"] == "Review code."
    assert result["messages"] == [{"role": "user", "content": {"type": "text", "text": "Review this python: 1+1"}}]


async def test_messages_and_content_mix(server: Server) -> None:
    @server.prompt
    async def talk(count: int) -> list[object]:
        embedded = EmbeddedResource("x://y", "text", "text/plain")
        return ["one", Message("assistant", f"{count + 1}"), Message("user", embedded)]

    messages = (await request(server, "prompts/get", {"name": "talk", "arguments": {"count": "1"}}))["messages"]

    assert messages == [
        {"role": "user", "content": {"type": "text", "text": "one"}},
        {"role": "assistant", "content": {"type": "text", "text": "2"}},
        {
            "role": "user",
            "content": {"type": "resource", "resource": {"uri": "x://y", "mimeType": "text/plain", "text": "text"}},
        },
    ]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"name": "nope"}, "Unknown prompt: nope"),
        ({"name": "talk"}, "missing required field `count`"),
        ({"name": "talk", "arguments": {"count": "x"}}, "count: "),
        ({"name": "talk", "arguments": {"count": 1}}, "are texts"),
        ({"name": "talk", "arguments": {"count": "1", "z": ""}}, "unknown field"),
    ],
)
async def test_wrong_requests_are_invalid_params(server: Server, params: object, reason: str) -> None:
    @server.prompt
    def talk(count: int) -> str:
        return "one"

    with pytest.raises(InvalidParams, match=reason):
        await request(server, "prompts/get", params)  # type: ignore[arg-type]


async def test_arguments_are_completed_by_functions_choices_and_types(server: Server) -> None:
    @server.prompt(completion={"language": ["Python", "PHP", "Rust"]})
    def review(language: str, size: Size, mode: Literal["fast", "fine"] | None = None, other: str = "") -> str:
        return ""

    @server.completion("review", "other")
    async def suggest(typed: str, known: dict[str, str]) -> list[str]:
        return [f"{typed}-{known.get('language', 'any')}"]

    ref = {"type": "ref/prompt", "name": "review"}

    assert await complete(server, ref, "language", "p") == {"values": ["Python", "PHP"], "total": 2, "hasMore": False}
    assert await complete(server, ref, "size") == {"values": ["small", "large"], "total": 2, "hasMore": False}
    assert await complete(server, ref, "mode", "fi") == {"values": ["fine"], "total": 1, "hasMore": False}
    found = await complete(server, ref, "other", "x", {"language": "Rust"})
    assert found == {"values": ["x-Rust"], "total": 1, "hasMore": False}
    assert "completions" in server.provider.capabilities()


async def test_variables_of_templates_are_completed(server: Server) -> None:
    @server.resource("weather://{city}/{day}")
    def weather(city: str, day: str) -> str:
        return city

    @server.completion("weather://{city}/{day}", "city")
    def cities(typed: str) -> Completed:
        return Completed([typed + "aris"], total=7, has_more=True)

    ref = {"type": "ref/resource", "uri": "weather://{city}/{day}"}

    assert await complete(server, ref, "city", "P") == {"values": ["Paris"], "total": 7, "hasMore": True}
    assert await complete(server, ref, "day") == {"values": [], "total": 0, "hasMore": False}


async def test_an_answer_holds_a_hundred_values_at_most(server: Server) -> None:
    server.prompt(name="p", completion={"n": [str(n) for n in range(250)]})(lambda n: n)

    found = await complete(server, {"type": "ref/prompt", "name": "p"}, "n")

    assert found == {"values": [str(n) for n in range(100)], "total": 250, "hasMore": True}


@pytest.mark.parametrize(
    ("ref", "argument"),
    [
        ({"type": "ref/prompt", "name": "nope"}, "n"),
        ({"type": "ref/resource", "uri": "x://nope"}, "n"),
        ({"type": "ref/prompt", "name": "p"}, "nope"),
        ({"type": "ref/other", "name": "p"}, "n"),
        ({}, "n"),
    ],
)
async def test_completing_what_is_not_there_is_invalid(server: Server, ref: dict[str, str], argument: str) -> None:
    server.prompt(name="p", completion={"n": ["1"]})(lambda n: n)

    with pytest.raises(InvalidParams):
        await complete(server, ref, argument)


def test_a_completion_needs_something_to_complete(server: Server) -> None:
    server.prompt(name="p")(lambda n: n)

    for of, argument in (("nope", "n"), ("p", "nope")):
        with pytest.raises(ConfigError):
            server.completion(of, argument)(lambda typed: [typed])
