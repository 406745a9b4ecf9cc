"""The Inspector's command line against our server, and against our gateway over the official Python server."""

import json
from typing import Any, NamedTuple

import pytest

from tests.interop import running
from tests.interop.pairs import INSPECTED, Pair, Serving, reach


class Connected(NamedTuple):
    """What stands on the command line to reach the server, and what before its names."""

    target: list[str]
    prefix: str = ""


@pytest.fixture(scope="module", params=INSPECTED, ids=str)
def connected(request: pytest.FixtureRequest, serving: Serving) -> Connected:
    """One transport, in one of the eras the Inspector knows."""
    pair: Pair = request.param
    command, prefix = reach(pair, serving)
    target = command if pair.transport == "stdio" else [serving(command)]
    return Connected([*target, "--protocol-era", pair.mode], prefix)


def inspect(connected: Connected, *arguments: str, status: int = 0) -> dict[str, Any]:
    """What the Inspector printed; it ends with `status`."""
    done = running.run([*running.package("mcp-inspector"), "--cli", *connected.target, *arguments])
    assert done.returncode == status, done.stderr[-3000:]
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def listed(printed: dict[str, Any], kind: str, key: str = "name") -> list[str]:
    entries = printed[kind]
    return [entry[key] for entry in entries]


def test_tools(connected: Connected) -> None:
    """`--strict` ends with another status where a schema is not portable."""
    names = listed(inspect(connected, "--method", "tools/list", "--strict"), "tools")
    assert {connected.prefix + name for name in ("echo", "add", "greet", "where")} <= set(names)


def test_call(connected: Connected) -> None:
    printed = inspect(
        connected, "--method", "tools/call", "--tool-name", f"{connected.prefix}add", "--tool-arg", "a=2", "b=3"
    )
    assert printed["structuredContent"] == {"sum": 5}
    (block,) = printed["content"]
    assert json.loads(block["text"]) == {"sum": 5}


def test_failing_call(connected: Connected) -> None:
    """The Inspector's status for a result that is an error is 5."""
    printed = inspect(connected, "--method", "tools/call", "--tool-name", f"{connected.prefix}fail", status=5)
    assert printed["isError"] is True
    (block,) = printed["content"]
    assert block["text"].endswith("The saw is blunt")


def test_resources(connected: Connected) -> None:
    assert listed(inspect(connected, "--method", "resources/list"), "resources", "uri") == [
        "notes://today",
        "notes://logo",
    ]


def test_read(connected: Connected) -> None:
    printed = inspect(connected, "--method", "resources/read", "--uri", "notes://today")
    assert printed["contents"] == [{"uri": "notes://today", "mimeType": "text/plain", "text": "Sharpen the saw"}]


def test_prompts(connected: Connected) -> None:
    assert listed(inspect(connected, "--method", "prompts/list"), "prompts") == [f"{connected.prefix}review"]


def test_prompt(connected: Connected) -> None:
    given = ["--prompt-name", f"{connected.prefix}review", "--prompt-args", "code=x", "language=rust"]
    messages = inspect(connected, "--method", "prompts/get", *given)["messages"]
    assert messages[0] == {"role": "user", "content": {"type": "text", "text": "Review this rust: x"}}
