"""Official clients, in every revision and transport they speak, against our server.

Each connection is one process that walks through everything once; each test looks at one thing a user relies on.
"""

import itertools
import os
from typing import NamedTuple

import pytest

from tests.interop import running
from tests.interop.running import Seen

MODERN = "2026-07-28"
PIXEL = "iVBORw0KGgo="
TOOLS = {"echo", "add", "fail", "picture", "where", "work", "chat", "greet", "order", "think", "shelves", "wait"}
_keys = itertools.count()


class Connection(NamedTuple):
    """Which client, told to speak what, gets which revision over which transport."""

    client: str
    mode: str
    revision: str
    transport: str

    @property
    def told(self) -> str:
        """The client and what it was told to speak."""
        return f"{self.client} {self.mode}"

    @property
    def modern(self) -> bool:
        """Whether the connection has no handshake."""
        return self.revision >= MODERN

    def command(self) -> list[str]:
        """What starts the client; the server it talks to is to be added."""
        script = CLIENTS[self.client]
        start = running.node(script) if script.endswith(".mjs") else running.python(script)
        return [*start, self.mode, f"k{os.getpid()}x{next(_keys)}", "-"]


CLIENTS = {
    "python-sdk": "sdk_client.py",
    "typescript": "ts_client.mjs",
    "fastmcp": "fastmcp_client.py",
}
CONNECTIONS = [
    Connection("python-sdk", "modern", MODERN, "http"),
    Connection("python-sdk", "auto", MODERN, "http"),
    Connection("typescript", "modern", MODERN, "http"),
    Connection("typescript", "auto", MODERN, "http"),
    Connection("fastmcp", "auto", MODERN, "http"),
]
LACKS = {
    # Told which revision to speak, it asks nothing before its first call.
    "python-sdk modern": {"test_introduction"},
    # No subscriptions, no way to ask for logs without a handshake, roots without names.
    "fastmcp": {"test_list_changes", "test_logging", "test_roots", "test_cancellation", "test_tool_listing"},
}
Spoken = tuple[Connection, Seen]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test on every connection whose client has what the test is about."""
    name = metafunc.function.__name__
    able = [each for each in CONNECTIONS if not any(name in LACKS.get(key, ()) for key in (each.client, each.told))]
    ids = ["-".join((each.client, each.mode, each.transport)) for each in able]
    metafunc.parametrize("spoken", able, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def spoken(request: pytest.FixtureRequest, workshop_url: str) -> Spoken:
    """A connection and what its client saw."""
    connection: Connection = request.param
    target = [workshop_url] if connection.transport == "http" else running.ours("workshop")
    return connection, running.observe([*connection.command(), *target])


def test_negotiation(spoken: Spoken) -> None:
    connection, seen = spoken
    assert seen["revision"] == connection.revision


def test_introduction(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["server"] == ["workshop", "1.2.3", "The workshop"]
    assert seen["instructions"] == "Ask before you cut."


def test_tool_names(spoken: Spoken) -> None:
    _, seen = spoken
    assert set(seen["tools"]).issuperset(TOOLS)


def test_tool_listing(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["titles"] == ["Echo", "Give back the text.", True]
    assert seen["shape"] == {"in": ["a", "b"], "out": ["sum"]}


def test_text_survives(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["echo"] == "Grüße, 世界 🪚 \u2028"


def test_structured_output(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["add"] == [{"sum": 5}, '{"sum":5}', False]


def test_error_results(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["fail"] == [True, "The saw is blunt"]


def test_invalid_arguments_can_be_corrected_by_a_model(spoken: Spoken) -> None:
    _, seen = spoken
    failed, text = seen["invalid"]
    assert failed
    assert "a: expected `int`, got `str`" in text


def test_unknown_tool(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["unknown"] == {"code": -32602, "message": "Unknown tool: no_such_tool", "data": None}


def test_image_content(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["picture"] == ["a pixel", "image", "image/png", PIXEL]


def test_argument_in_a_header(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["where"] == "in Zürich"


def test_progress_in_order(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["work"] == [[1, 3, "step 1"], [2, 3, "step 2"], [3, 3, "step 3"]]


def test_logging(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["chat"] == [["info", "just right", "workshop"], ["error", {"text": "too loud"}, None]]


def test_elicitation(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["greet"] == ["Hello, Ada!", [["What is your name?", ["name"]]]]
    assert seen["confirm"] == ["Answer: decline", [["Are you sure?", ["sure"]]]]


def test_two_questions_with_work_between_them(spoken: Spoken) -> None:
    _, seen = spoken
    questions = [["Which city?", ["city"]], ["Which size?", ["size"]]]
    assert seen["order"] == ["Size 42 to Paris, drawn 1 time", questions]


def test_sampling(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["think"] == "tiny: Think about wood, at most 50"


def test_roots(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["shelves"] == "home=file:///home/ada"


def test_resources(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["resources"] == ["notes://logo", "notes://today"]
    assert seen["templates"] == ["notes://day/{day}"]
    assert seen["read"] == ["notes://today", "text/plain", "Sharpen the saw"]
    assert seen["blob"] == ["notes://logo", "image/png", PIXEL]
    assert seen["read_template"] == ["notes://day/sun%20day", "text/plain", "On sun day: rest"]


def test_missing_resource(spoken: Spoken) -> None:
    """Not found is -32602 since 2026-07-28 and was -32002 before (server/resources, Error Handling)."""
    connection, seen = spoken
    missing = seen["missing"]
    assert isinstance(missing, dict)
    assert missing["code"] == (-32602 if connection.modern else -32002)
    assert missing["data"] == {"uri": "notes://nowhere"}


def test_prompts(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["prompts"] == [["review", "Review", [["code", True], ["language", False]]]]
    assert seen["prompt"] == [["user", "Review this rust: x = 1"], ["assistant", "Let me see."]]


def test_completion(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["complete"] == [["python", "perl"], ["tuesday"]]


def test_cancellation(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["cancel"] == "cancelled"


def test_list_changes(spoken: Spoken) -> None:
    """A tool comes, answers and goes; a resource changes; the client hears of it in this order."""
    _, seen = spoken
    assert seen["listen"] == [["tools", "tools", "notes://today"], True, "I am new", True]


def test_connection_lives_on(spoken: Spoken) -> None:
    _, seen = spoken
    assert seen["after"] == "still here"
