"""Messages to start from, and grammar-aware damage.

A message is made from the official schema of its revision, pointed at what the server under test really has, and
damaged none, one or a few times: as a JSON value first, as text afterwards. The same seed gives the same bytes.
"""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from functools import cache

from tests.protocol.official import Maker, definitions, nodes

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
REVISIONS = (MODERN, *LEGACY)
PREFIX = "io.modelcontextprotocol/"
LARGEST = 300_000
"""Bytes of the largest messages, roughly."""

CAPABILITIES = ({}, {"elicitation": {}}, {"elicitation": {"form": {}}, "sampling": {}, "roots": {"listChanged": True}})
MIRRORED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

TOOLS: tuple[tuple[str, dict], ...] = (
    ("add", {"a": 1, "b": 2}),
    ("shout", {"text": "hey", "times": 2}),
    ("threaded", {"text": "stressed"}),
    ("anything", {"x": [1, {"y": None}]}),
    ("forecast", {"city": "Bern", "day": 3}),
    ("slow", {"steps": 1}),
    ("asking", {}),
)
URIS = ("note://all", "note://me/a/b?page=2", "note://me/%61", "note://", "file:///etc/passwd")

SCALARS = (
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**53 + 1,
    2**63 - 1,
    2**64,
    -(2**63) - 1,
    10**400,
    1.5,
    1e308,
    -0.0,
    "",
    " ",
    "\0",
    "\ud800",
    "\udc00\ud800",
    "\ufeff",
    "a" * 70_000,
    "\u202e\U0001f600\r\n\t",
    "__proto__",
    "../../etc/passwd",
    "{}",
    [],
    {},
    [[]],
    {"": {}},
    [None] * 500,
)
KEYS = ("", "\0", "__proto__", "jsonrpc", "id", "method", "params", "_meta", "name", "uri", "cursor", "result", "error")
METHODS = (
    "",
    "tools/",
    "tools/call/",
    "Tools/Call",
    "rpc.discover",
    "ping",
    "initialize",
    "server/discover",
    "\0",
    "x" * 9000,
)
LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e-999",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "9" * 5000,
    "'x'",
    "\\u0000",
)


@cache
def requests(revision: str) -> tuple[str, ...]:
    """The definitions of what a client may send."""
    both = [*definitions(revision)["ClientRequest"]["anyOf"]]
    notification = definitions(revision)["ClientNotification"]
    both += notification.get("anyOf", [{"$ref": "#/x/CancelledNotification"}])
    return tuple(one["$ref"].rpartition("/")[2] for one in both)


def valid(choose: random.Random, revision: str, name: str = "") -> dict:
    """A message of the revision; most name something the server has."""
    made = Maker(revision, choose, share=0.3).make(name or choose.choice(requests(revision)))
    assert isinstance(made, dict)
    made["jsonrpc"] = "2.0"
    if "method" in made and not made["method"].startswith("notifications/"):
        made["id"] = choose.choice((1, "a", choose.randint(0, 10**6), f"id-{choose.randint(0, 99)}"))
    params = made.get("params")
    if isinstance(params, dict) and choose.random() < 0.8:
        _point(choose, made["method"], params)
    if revision == MODERN and "id" in made:
        made["params"] = {**made.get("params", {}), "_meta": _meta(choose, made)}
    return made


def _meta(choose: random.Random, message: dict) -> dict:
    given = message.get("params", {}).get("_meta", {})
    kept = {key: value for key, value in given.items() if key == "progressToken"}
    if choose.random() < 0.2:
        kept[PREFIX + "logLevel"] = choose.choice(("debug", "emergency"))
    if choose.random() < 0.3:
        kept[PREFIX + "clientInfo"] = {"name": "fuzz", "version": "1"}
    return {
        PREFIX + "protocolVersion": MODERN,
        PREFIX + "clientCapabilities": deepcopy(choose.choice(CAPABILITIES)),
        **kept,
    }


def _point(choose: random.Random, method: str, params: dict) -> None:
    """Aim the parameters at what is there."""
    for key in ("requestState", "inputResponses", "cursor", "task"):
        params.pop(key, None)
    if method == "tools/call":
        params["name"], arguments = choose.choice(TOOLS)
        params["arguments"] = deepcopy(arguments)
    elif method == "prompts/get":
        params.update(name="review", arguments={"code": "x", "language": "rust"})
    elif "uri" in params:
        params["uri"] = choose.choice(URIS)
    elif method == "completion/complete":
        params["ref"] = {"type": "ref/prompt", "name": "review"}
        params["argument"] = {"name": "language", "value": "r"}
    elif method == "initialize":
        params["capabilities"] = deepcopy(choose.choice(CAPABILITIES))
        params["clientInfo"] = {"name": "fuzz", "version": "1"}
    elif method == "subscriptions/listen":
        params["notifications"] = {"toolsListChanged": True, "resourceSubscriptions": [choose.choice(URIS)]}
    elif method == "logging/setLevel":
        params["level"] = choose.choice(("debug", "info"))


# -- damage to the value -----------------------------------------------------------------------------------------------


def damaged(choose: random.Random, message: object, times: int) -> object:
    """A copy of a JSON value with so many wounds."""
    copy = deepcopy(message)
    for _ in range(times):
        copy = choose.choice(_WOUNDS)(choose, copy)
    return copy


def _place(choose: random.Random, value: object) -> tuple[dict | list, str | int] | None:
    places = list(nodes(value))
    return choose.choice(places) if places else None


def _drop(choose: random.Random, value: object) -> object:
    place = _place(choose, value)
    if place is not None:
        del place[0][place[1]]  # type: ignore[arg-type]
    return value


def _retype(choose: random.Random, value: object) -> object:
    place = _place(choose, value)
    if place is None:
        return choose.choice(SCALARS)
    place[0][place[1]] = deepcopy(choose.choice(SCALARS))  # type: ignore[index]
    return value


def _add(choose: random.Random, value: object) -> object:
    place = _place(choose, {"": value})
    inner = place[0][place[1]] if place else value  # type: ignore[index]
    if isinstance(inner, dict):
        inner[choose.choice(KEYS)] = deepcopy(choose.choice(SCALARS))
    elif isinstance(inner, list):
        inner.append(deepcopy(choose.choice(SCALARS)))
    return value


def _nest(choose: random.Random, value: object) -> object:
    place = _place(choose, value)
    if place is None:
        return [value]
    inner: object = place[0][place[1]]  # type: ignore[index]
    for _ in range(choose.choice((1, 2, 100, 200))):
        inner = [inner] if choose.random() < 0.5 else {"n": inner}
    place[0][place[1]] = inner  # type: ignore[index]
    return value


def _enlarge(choose: random.Random, value: object) -> object:
    place = _place(choose, value)
    if place is None:
        return value
    inner = place[0][place[1]]  # type: ignore[index]
    if isinstance(inner, str):
        inner = inner * _times(inner, choose.choice((50, 3000)))
    elif isinstance(inner, int):
        inner = inner * 10 ** choose.choice((18, 60, 310))
    elif isinstance(inner, list):
        inner = inner * _times(inner, choose.choice((50, 1000)))
    else:
        inner = {**(inner if isinstance(inner, dict) else {}), **{f"k{i}": i for i in range(choose.choice((20, 2000)))}}
    place[0][place[1]] = inner  # type: ignore[index]
    return value


def _times(value: object, wanted: int) -> int:
    """How often a value may be repeated: a little more than a server takes is as good as a hundred times more."""
    return min(wanted, LARGEST // (len(str(value)) + 1) + 1)


def _reorder(choose: random.Random, value: object) -> object:
    if isinstance(value, dict):
        items = [(key, _reorder(choose, inner)) for key, inner in value.items()]
        choose.shuffle(items)
        return dict(items)
    return value


def _rename(choose: random.Random, value: object) -> object:
    place = _place(choose, value)
    if place is not None and isinstance(place[0], dict):
        inner = place[0].pop(place[1])
        place[0][choose.choice((*KEYS, str(place[1]).upper(), f"{place[1]} "))] = inner
    return value


def _other_method(choose: random.Random, value: object) -> object:
    if isinstance(value, dict):
        value["method"] = choose.choice(METHODS)
    return value


def _in_list(choose: random.Random, value: object) -> object:
    return [value] * _times(value, choose.choice((0, 1, 2, 99, 150)))


def _as_response(choose: random.Random, value: object) -> object:
    if isinstance(value, dict):
        value.pop("method", None)
        value[choose.choice(("result", "error"))] = deepcopy(choose.choice(SCALARS))
    return value


_WOUNDS: tuple[Callable[[random.Random, object], object], ...] = (
    _drop, _drop, _retype, _retype, _retype, _add, _nest, _enlarge, _reorder, _rename, _other_method, _in_list,
    _as_response,
)  # fmt: skip


# -- damage to the text ------------------------------------------------------------------------------------------------


def encode(choose: random.Random, value: object) -> bytes:
    """One of the ways to write a value."""
    ascii_only = choose.random() < 0.5
    separators = choose.choice(((",", ":"), (", ", ": "), (" ,\t", " :\r\n")))
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    return text.encode("utf-8", "surrogatepass")


def scarred(choose: random.Random, text: bytes) -> bytes:
    """The text of a message, damaged as text."""
    return choose.choice(_SCARS)(choose, text)


def _cut(choose: random.Random, text: bytes) -> bytes:
    return text[: choose.randint(0, len(text))]


def _flip(choose: random.Random, text: bytes) -> bytes:
    at = choose.randint(0, max(0, len(text) - 1))
    return text[:at] + bytes((choose.randint(0, 255),)) + text[at + 1 :]


def _insert(choose: random.Random, text: bytes) -> bytes:
    at = choose.randint(0, len(text))
    piece = choose.choice(
        (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"//c\n", b",", b"}", b"[" * 3000, b'{"a":' * 3000, b"\\ud800")
    )
    return text[:at] + piece + text[at:]


def _bom(choose: random.Random, text: bytes) -> bytes:
    return choose.choice((b"\xef\xbb\xbf" + text, text.decode("utf-8", "replace").encode("utf-16"), b"\x00" + text))


def _literal(choose: random.Random, text: bytes) -> bytes:
    head, colon, rest = text.partition(choose.choice((b'"id":', b'"a":', b'"params":', b":")))
    _, comma, tail = rest.partition(choose.choice((b",", b"}")))
    return head + colon + choose.choice(LITERALS).encode() + comma + tail


def _twice(choose: random.Random, text: bytes) -> bytes:
    """A duplicate key, with another value."""
    key = choose.choice((b'"id"', b'"method"', b'"params"', b'"jsonrpc"', b'"name"', b'"_meta"', b'"arguments"'))
    other = choose.choice((b"7", b'"tools/list"', b"{}", b'"2.0"', b"null"))
    return text.replace(key, key + b":" + other + b"," + key, 1)


def _behind(choose: random.Random, text: bytes) -> bytes:
    return text + choose.choice((b"\n", b" ", b"\0", b"x", text, b"\r\n" + text, b",", b"]"))


_SCARS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _flip, _insert, _bom, _literal, _literal, _twice, _twice, _behind,
)  # fmt: skip


def body(choose: random.Random, revision: str) -> tuple[bytes, dict]:
    """The bytes of one more or less damaged message, and the undamaged message its headers should be made for."""
    whole = valid(choose, revision)
    value = damaged(choose, whole, choose.choice((0, 1, 1, 1, 2, 3)))
    text = encode(choose, value)
    if choose.random() < 0.3:
        text = scarred(choose, text)
    readable = value if isinstance(value, dict) and choose.random() < 0.8 else whole
    return text, readable
