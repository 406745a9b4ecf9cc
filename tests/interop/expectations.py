"""What every client must see in every workshop, and where peers differ from each other."""

import re
from typing import Any

from tests.interop.pairs import Pair

PIXEL = "iVBORw0KGgo="
QUESTIONS = {"greet", "confirm", "order", "think", "shelves"}
TOOLS = {"add", "echo", "fail", "picture", "where", "work", "chat", "wait", "outcome", "grow", "shrink", "touch"}


class Like:
    """Any text in which the pattern is found, for what a peer words in its own way."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.search(self._pattern, other) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"<like {self._pattern!r}>"


class Start:
    """The first of some reports, or all, or none: never another one, nor another order."""

    def __init__(self, reports: list[Any]) -> None:
        self._reports = reports

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and other == self._reports[: len(other)]

    def __hash__(self) -> int:
        return hash(str(self._reports))

    def __repr__(self) -> str:
        return f"<the start of {self._reports!r}>"


def missing(code: int, message: object) -> dict[str, object]:
    return {"code": code, "message": message, "data": {"uri": "notes://nowhere"}}


EXPECTED: dict[str, Any] = {
    # What the server says of itself, and the tools it lists.
    "server": ["workshop", "1.2.3", "The workshop"],
    "instructions": "Ask before you cut.",
    "tools": sorted(TOOLS | QUESTIONS),
    "titles": ["Echo", "Give back the text.", True],
    "shape": {"in": ["a", "b"], "out": ["sum"]},
    # Calls: text survives, structured content comes with its text, failures are results a model can read.
    "echo": "Grüße, 世界 🪚 \u2028",
    "add": [{"sum": 5}, '{"sum":5}', False],
    "fail": [True, "The saw is blunt"],
    "invalid": [True, Like("a: expected `int`, got `str`")],
    "unknown": {"code": -32602, "message": "Unknown tool: no_such_tool", "data": None},
    "picture": ["a pixel", "image", "image/png", PIXEL],
    "where": "in Zürich",
    # What comes before the result comes in order, and only what was asked for.
    "work": [[1, 3, "step 1"], [2, 3, "step 2"], [3, 3, "step 3"]],
    "chat": [["info", "just right", "workshop"], ["error", {"text": "too loud"}, None]],
    # What the server asks: an answer, a refusal, two questions with work between them, a model, roots.
    "greet": ["Hello, Ada!", [["What is your name?", ["name"]]]],
    "confirm": ["Answer: decline", [["Are you sure?", ["sure"]]]],
    "order": [
        "Size 42 to Paris, drawn 1 time",
        [["Which city?", ["city"]], ["Which size?", ["size"]]],
    ],
    "think": "tiny: Think about wood, at most 50",
    "shelves": "home=file:///home/ada",
    # Resources, prompts, completion.
    "resources": ["notes://logo", "notes://today"],
    "templates": ["notes://day/{day}"],
    "read": ["notes://today", "text/plain", "Sharpen the saw"],
    "blob": ["notes://logo", "image/png", PIXEL],
    "read_template": ["notes://day/sun%20day", "text/plain", "On sun day: rest"],
    "prompts": [["review", "Review", [["code", True], ["language", False]]]],
    "prompt": [["user", "Review this rust: x = 1"], ["assistant", "Let me see."]],
    "complete": [["python", "perl"], ["tuesday"]],
    # A call that is given up stops at the server; changes are told in order; the connection outlives it all.
    "cancel": "cancelled",
    "listen": [["tools", "tools", "notes://today"], True, "I am new", True],
    "after": "still here",
}
PYDANTIC = [True, Like("valid integer")]
BY_SERVER: dict[str, dict[str, Any]] = {
    "python-sdk": {
        "add": [{"sum": 5}, '{\n  "sum": 5\n}', False],
        "fail": [True, "Error executing tool fail: The saw is blunt"],
        "invalid": PYDANTIC,
        "unknown": [True, "Unknown tool: no_such_tool"],
        "missing": missing(-32602, "Unknown resource: notes://nowhere"),
    },
    "typescript": {
        "invalid": [True, Like("expected number, received string")],
        "unknown": {"code": -32602, "message": "Tool no_such_tool not found", "data": None},
        "missing": missing(-32602, "Resource not found: notes://nowhere"),
    },
    "fastmcp": {
        "server": ["workshop", "1.2.3", None],
        "tools": ["add", "echo", "fail", "outcome", "picture", "wait", "work"],
        "invalid": PYDANTIC,
        "unknown": [True, "Unknown tool: 'no_such_tool'"],
        "missing": missing(-32602, "Resource not found: 'notes://nowhere'"),
    },
}
GATEWAY = {
    "server": ["trunkline", Like("^[0-9.]+"), None],
    "unknown": {"code": -32602, "message": Like("Unknown tool: no upstream has 'shop__no_such_tool'"), "data": None},
}
BY_GATEWAY: dict[str, dict[str, Any]] = {
    # A launched process is shared by all callers, and what it logs is for the operator alone.
    "python-sdk": {**GATEWAY, "chat": []},
    "typescript": GATEWAY,
    "launched": {**GATEWAY, "chat": []},
    "python-http": GATEWAY,
    "sessions": GATEWAY,
    "sse": GATEWAY,
    "fastmcp": GATEWAY,
}
NO_OUTPUT = {"in": ["a", "b"], "out": None}
NO_PERSON = [Like("could not answer .*Method not found"), []]
BY_CLIENT: dict[str, dict[str, Any]] = {
    # No structured output and no elicitation yet: data comes as text, a question fails with a reason.
    "python-sdk 2025-03-26": {
        "shape": NO_OUTPUT,
        "add": [None, '{"sum":5}', False],
        "greet": NO_PERSON,
        "confirm": NO_PERSON,
        "order": NO_PERSON,
    },
    # It declares elicitation in every revision, and so is asked.
    "typescript 2025-03-26": {"shape": NO_OUTPUT, "add": [None, '{"sum":5}', False]},
    "typescript-v1 2025-11-25": {
        "unknown": {"code": -32602, "message": "MCP error -32602: Unknown tool: no_such_tool", "data": None},
    },
}
ABSENT: dict[str, dict[str, set[str]]] = {
    "client": {
        # Told which revision to speak, it asks nothing before its first call.
        "python-sdk modern": {"server", "instructions"},
        # No subscriptions, roots without names; the rest is as in the official SDK, which it wraps.
        "fastmcp": {"titles", "shape", "shelves", "cancel", "listen"},
        # No way to ask for logs where no handshake is.
        "fastmcp auto": {"chat"},
    },
    "server": {
        # No change notifications where a handshake is. Nor logging/setLevel: our client leaves out itself what is fine.
        "python-sdk legacy": {"listen"},
        "python-sdk sse": {"listen"},
        # What its workshop does not have: it pushes questions only, completes nothing, has no subscriptions.
        "fastmcp": {"where", "chat", "complete", "listen", *QUESTIONS},
        "gateway over fastmcp": {"where", "chat", "complete", "listen", *QUESTIONS},
        "gateway over sse": {"listen"},
    },
}


def steps(pair: Pair) -> list[str]:
    """What is looked at on a connection."""
    client, server = ABSENT["client"], ABSENT["server"]
    absent: set[str] = set()
    for key in (pair.client, f"{pair.client} {pair.mode}"):
        absent |= client.get(key, set())
    for key in (pair.server, f"{pair.server} {pair.mode}", f"{pair.server} {pair.transport}"):
        absent |= server.get(key, set())
    if pair.upstream is not None:
        # It passes on the instructions of those upstreams that are there by the time it is asked.
        absent.add("instructions")
    return [step for step in ("revision", *EXPECTED, "missing") if step not in absent]


def expected(pair: Pair, step: str) -> Any:
    """What the client must see there."""
    if step == "revision":
        return pair.revision
    if step == "work" and pair.client.startswith("typescript") and pair.transport == "stdio":
        # It handles a response before what came with it in one piece: `processReadBuffer` gives it all at once, and
        # notifications are put off (`_onnotification`); on a busy machine progress is then for an unknown token.
        return Start(EXPECTED["work"])
    if step == "missing" and (pair.server == "trunkline" or pair.upstream):
        return _missing_from_us(pair)
    gateway = BY_GATEWAY.get(pair.upstream, {}) if pair.upstream else {}
    client = BY_CLIENT.get(f"{pair.client} {pair.revision}", {}) if pair.server == "trunkline" else {}
    for differing in (gateway, BY_SERVER.get(pair.workshop, {}), client):
        if step in differing:
            return differing[step]
    return EXPECTED[step]


def _missing_from_us(pair: Pair) -> dict[str, object]:
    """Not found is -32602 since 2026-07-28 and was -32002 before (server/resources, Error Handling)."""
    text = Like("^(MCP error -32002: )?Resource not found: notes://nowhere$")
    # The second TypeScript client makes the new code of the old one.
    return missing(-32602 if pair.modern or pair.client == "typescript" else -32002, text)
