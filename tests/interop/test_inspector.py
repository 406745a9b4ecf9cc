"""The Inspector's command line against our server."""

import json

import pytest

from tests.interop import running

Connected = list[str]
"""What stands on the command line to reach the server."""


@pytest.fixture(scope="module", params=["http-modern", "http-legacy", "stdio-auto"])
def connected(request: pytest.FixtureRequest, workshop_url: str) -> Connected:
    """HTTP or stdio, in one of the eras the Inspector knows."""
    transport, era = request.param.split("-")
    target = [workshop_url] if transport == "http" else running.ours("workshop")
    return [*target, "--protocol-era", era]


def inspect(connected: Connected, *arguments: str, status: int = 0) -> dict[str, object]:
    """What the Inspector printed; it ends with `status`."""
    done = running.run([*running.package("mcp-inspector"), "--cli", *connected, *arguments])
    assert done.returncode == status, done.stderr[-3000:]
    printed: dict[str, object] = json.loads(done.stdout)
    return printed


def listed(printed: dict[str, object], kind: str, key: str = "name") -> list[str]:
    entries = printed[kind]
    assert isinstance(entries, list)
    return [entry[key] for entry in entries]


def test_tools(connected: Connected) -> None:
    """`--strict` ends with another status where a schema is not portable."""
    names = listed(inspect(connected, "--method", "tools/list", "--strict"), "tools")
    assert {"echo", "add", "greet", "where"} <= set(names)


def test_call(connected: Connected) -> None:
    printed = inspect(connected, "--method", "tools/call", "--tool-name", "add", "--tool-arg", "a=2", "b=3")
    assert printed["structuredContent"] == {"sum": 5}
    assert printed["content"] == [{"type": "text", "text": '{"sum":5}'}]


def test_failing_call(connected: Connected) -> None:
    """The Inspector's status for a result that is an error is 5."""
    printed = inspect(connected, "--method", "tools/call", "--tool-name", "fail", status=5)
    assert printed["isError"] is True
    assert printed["content"] == [{"type": "text", "text": "The saw is blunt"}]


def test_resources(connected: Connected) -> None:
    assert listed(inspect(connected, "--method", "resources/list"), "resources", "uri") == [
        "notes://today",
        "notes://logo",
    ]


def test_read(connected: Connected) -> None:
    printed = inspect(connected, "--method", "resources/read", "--uri", "notes://today")
    assert printed["contents"] == [{"uri": "notes://today", "mimeType": "text/plain", "text": "Sharpen the saw"}]


def test_prompts(connected: Connected) -> None:
    assert listed(inspect(connected, "--method", "prompts/list"), "prompts") == ["review"]


def test_prompt(connected: Connected) -> None:
    given = ["--prompt-name", "review", "--prompt-args", "code=x", "language=rust"]
    messages = inspect(connected, "--method", "prompts/get", *given)["messages"]
    assert isinstance(messages, list)
    assert messages[0] == {"role": "user", "content": {"type": "text", "text": "Review this rust: x"}}
