"""HTTP requests as bytes and pauses: whole ones around a damaged message, and broken ones.

A case is a list of steps for one connection: bytes to send, seconds to wait, or `END`, the client's half-close.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz import messages
from tests.fuzz.messages import LEGACY
from trunkline.protocol.headers import encode_value

END = "end"
Step = bytes | float | str

SMUGGLED = "smuggled"
"""The id of requests that stand inside another request's body: it must never be answered."""


@dataclass
class Case:
    """What is sent over one connection.

    `whole`: the framing is sound, so that an answer is owed; `body` is then the message it carries.
    """

    kind: str
    steps: list[Step]
    whole: bool = False
    body: bytes = b""
    session: str = LEGACY[0]
    """The revision of the legacy session it belongs to."""


BASE = (
    ("Host", "127.0.0.1"),
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
)
Fields = list[tuple[str, str]]


def head(fields: Fields, line: str = "POST /mcp HTTP/1.1") -> bytes:
    """A request line and header fields; characters beyond Latin-1 as UTF-8."""
    text = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return (line + "\r\n" + text + "\r\n").encode("utf-8", "surrogateescape")


def post(body: bytes, fields: Fields, line: str = "POST /mcp HTTP/1.1") -> bytes:
    """A whole request."""
    return head([*fields, ("Content-Length", str(len(body)))], line) + body


def mirrored(message: dict) -> Fields:
    """The headers a careful client sends with a message."""
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    method = message.get("method")
    meta = params.get("_meta")
    if not isinstance(method, str) or not isinstance(meta, dict):
        return []
    version = meta.get(messages.PREFIX + "protocolVersion")
    if not isinstance(version, str):
        return []
    fields = [("MCP-Protocol-Version", version), ("Mcp-Method", method)]
    name = params.get(messages.MIRRORED.get(method, ""))
    if isinstance(name, str):
        fields.append(("Mcp-Name", encode_value(name)))
    arguments = params.get("arguments")
    if method == "tools/call" and name == "forecast" and isinstance(arguments, dict):
        for key in ("city", "day"):
            if isinstance(arguments.get(key), str | int):
                fields.append((f"Mcp-Param-{key.title()}", encode_value(arguments[key])))
    return [(key, _one_line(value)) for key, value in fields]


def _one_line(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ").replace("\0", " ").encode("utf-8", "replace").decode()[:8000]


def message_case(choose: random.Random, session: Fields) -> Case:
    """A damaged message in a sound request."""
    revision = choose.choice((messages.MODERN, *messages.REVISIONS))
    body, readable = messages.body(choose, revision)
    fields = [*BASE, *mirrored(readable)]
    if revision != messages.MODERN:
        fields += session if choose.random() < 0.8 else [("MCP-Protocol-Version", revision)]
    return Case(f"message {revision}", [post(body, fields)], True, body)


def session_case(choose: random.Random, session: Fields) -> Case:
    """What only legacy sessions have: streams to open and to resume, foreign and forged session ids, batches."""
    id = session[0][1] if session else "none"
    at = choose.randrange(len(id))
    odd = choose.choice(
        (id, id, id[:-1], id[:at] + "A" + id[at + 1 :], id.swapcase(), "", "é" + id, id + id, "." * 5000)
    )
    fields = [*BASE[::2], ("Mcp-Session-Id", odd)]
    verb = choose.choice(("GET", "GET", "DELETE", "POST", "POST"))
    if verb == "GET":
        if choose.random() < 0.5:
            fields.append(
                ("Last-Event-ID", choose.choice(("", "0", "/", "a/1", "1/-1", "\xff", "9" * 3000, f"{id}/1")))
            )
        return Case("session GET", [head(fields, "GET /mcp HTTP/1.1"), 0.002, END])
    if verb == "DELETE":
        fields[1] = ("Mcp-Session-Id", odd if odd != id else id[::-1])
        return Case("session DELETE", [head(fields, "DELETE /mcp HTTP/1.1"), END])
    items = [messages.body(choose, choose.choice(LEGACY))[0] for _ in range(choose.choice((0, 1, 3, 120)))]
    body = b"[" + b",".join(items) + choose.choice((b"]", b"]", b"]", b",]", b""))
    return Case("batch", [post(body, [*BASE, ("Mcp-Session-Id", odd), ("Connection", "close")])])


def _call(id: object = 1, tool: str = "add") -> tuple[bytes, Fields]:
    arguments = dict(messages.TOOLS)[tool]
    meta = {messages.PREFIX + "protocolVersion": messages.MODERN, messages.PREFIX + "clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    message = {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
    return json.dumps(message).encode(), [*BASE, *mirrored(message)]


VALUES = (
    "", " ", "\t", "\0", "\x7f", "é", "世界", "a,b", "=?base64?", "=?base64?=", "=?base64?!!!?=", "=?base64?YQ==?=",
    "=?base64?YWRk?=",
    "=?base64?gIA=?=", "=?BASE64?YWRk?=", "=?utf-8?B?YWRk?=", "add ", " add", "ADD", "tools/call", "2026-07-28",
    "2025-11-25",
    "2024-11-05", "1999-01-01", "9" * 400, "x" * 5000, "%61dd", '"add"', "0", "-1", "null", "gzip", "chunked",
    "*/*;q=0", "text/event-stream",
)  # fmt: skip
NAMES = (
    "Mcp-Method", "Mcp-Name", "MCP-Protocol-Version", "Mcp-Session-Id", "Mcp-Param-City", "Mcp-Param-Day",
    "Mcp-Param-", "Mcp-Param-X",
    "Last-Event-ID", "Accept", "Content-Type", "Content-Encoding", "Host", "Origin", "Authorization", "Forwarded",
    "X-Forwarded-Host",
    "X-HTTP-Method-Override", "Expect", "Upgrade", "Connection", "Accept-Encoding", "Range", "traceparent",
    "Mcp_Method", "mcp-name ",
)  # fmt: skip


def header_case(choose: random.Random, session: Fields) -> Case:
    """A good call with header fields changed, doubled or missing; the framing stays sound."""
    body, fields = _call(choose.randint(1, 99), choose.choice(("add", "forecast", "slow")))
    fields += session if choose.random() < 0.1 else []
    for _ in range(choose.choice((1, 1, 2, 3))):
        at = choose.randrange(len(fields)) if fields else 0
        action = choose.choice(("add", "change", "double", "drop", "case"))
        name, value = choose.choice(NAMES), choose.choice(VALUES)
        if action == "add" or not fields:
            fields.append((name, value))
        elif action == "change":
            fields[at] = (fields[at][0], value)
        elif action == "double":
            fields.append((fields[at][0], choose.choice((fields[at][1], value))))
        elif action == "drop":
            del fields[at]
        else:
            fields[at] = (fields[at][0].swapcase(), fields[at][1].swapcase())
    sent = post(body, [*fields, ("Connection", "close")])
    # The parser may refuse some of these names and values; then nothing is owed but a closed connection.
    return Case("header", [sent], False)


def _hidden() -> bytes:
    body, fields = _call(SMUGGLED)
    return post(body, fields)


def _both_lengths(choose: random.Random) -> list[Step]:
    """Content-Length and Transfer-Encoding that disagree (RFC 9112, section 6.1)."""
    hidden = _hidden()
    body = b"0\r\n\r\n" + hidden
    coding = choose.choice(
        ("chunked", " chunked", "Chunked", "chunked, identity", "xchunked", "identity", "gzip, chunked", "chunked\t")
    )
    pair = [("Content-Length", str(len(body))), ("Transfer-Encoding", coding)]
    choose.shuffle(pair)
    return [head([*_call()[1], *pair]) + body]


def _two_lengths(choose: random.Random) -> list[Step]:
    body, fields = _call()
    hidden = _hidden()
    lengths = [str(len(body)), str(len(body) + len(hidden))]
    choose.shuffle(lengths)
    joined = choose.random() < 0.3
    pair = [("Content-Length", ", ".join(lengths))] if joined else [("Content-Length", one) for one in lengths]
    return [head([*fields, *pair]) + body + hidden]


def _odd_length(choose: random.Random) -> list[Step]:
    body, fields = _call()
    length = choose.choice(
        ("-1", "+5", "0x10", "1e3", "", " ", "5 5", "9" * 30, "18446744073709551616", "5,5", "٣", "1_0", "4294967297")
    )
    return [head([*fields, ("Content-Length", length)]) + body]


def _shorter(choose: random.Random) -> list[Step]:
    """Less than was declared, then the end."""
    body, fields = _call()
    sent = head([*fields, ("Content-Length", str(len(body) + choose.choice((1, 500))))]) + body
    return [sent, END]


def _longer(choose: random.Random) -> list[Step]:
    """More than was declared: what follows is no request."""
    body, fields = _call()
    return [post(body, fields) + choose.choice((b"}", b"\r\n\r\n\r\n", b"\0" * 10, body, b"garbage\r\n\r\n"))]


def _folded(choose: random.Random) -> list[Step]:
    body, fields = _call()
    at = choose.randrange(len(fields))
    fields[at] = (fields[at][0], fields[at][1] + choose.choice(("\r\n ", "\r\n\t", "\n ", "\r")) + "tail")
    return [post(body, fields)]


def _odd_names(choose: random.Random) -> list[Step]:
    body, fields = _call()
    odd = choose.choice(
        (
            "Mcp-Method ",
            " Mcp-Method",
            "Mcp-Method\t",
            "Mcp-M\0thod",
            "",
            "Mcp Method",
            "Mcp-Méthod",
            "Host\r",
            "(a)",
            "a:b",
        )
    )
    fields.insert(choose.randrange(len(fields)), (odd, "tools/list"))
    return [post(body, fields)]


def _odd_target(choose: random.Random) -> list[Step]:
    body, fields = _call()
    target = choose.choice((
        "http://127.0.0.1/mcp", "http://evil.example/mcp", "//evil.example/mcp", "/mcp?x=1", "/mcp#f", "/mcp/",
        "/./mcp", "/x/../mcp", "/%6dcp",
        "/mcp%00", "/mcp;a=b", "*", "", "mcp", "/" + "a" * 20_000, "/\xe9", "evil.example:80", "/mcp\t", "/%",
        "/%zz", "http://[::1/mcp",
    ))  # fmt: skip
    verb = choose.choice(("POST", "GET", "CONNECT", "OPTIONS"))
    version = choose.choice(("1.1", "1.1", "1.0", "2.0", "0.9", "1.11", "x"))
    return [post(body, fields, f"{verb} {target} HTTP/{version}")]


def _odd_verb(choose: random.Random) -> list[Step]:
    body, fields = _call()
    verb = choose.choice(
        (
            "GET",
            "PUT",
            "DELETE",
            "PATCH",
            "HEAD",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "post",
            "PRI",
            "BREW",
            "P\0ST",
            "",
            "X" * 300,
        )
    )
    if choose.random() < 0.4:
        fields.append(
            (
                "Origin",
                choose.choice(
                    ("null", "http://evil.example", "http://127.0.0.1:1", "http://[", "\t", "http://localhost\u0130")
                ),
            )
        )
    return [post(body, fields, f"{verb} /mcp HTTP/1.1")]


def _chunks(choose: random.Random) -> list[Step]:
    """Chunked framing, sound and unsound."""
    body, fields = _call()
    size = choose.choice(
        (
            f"{len(body):x}",
            f"{len(body):020x}",
            f"{len(body):x};ext=1",
            "-5",
            "g",
            "",
            "f" * 17,
            f"{len(body):x} ",
            "0x5",
        )
    )
    tail = choose.choice(
        (
            b"\r\n0\r\n\r\n",
            b"0\r\n\r\n",
            b"\r\n0\r\nTrailer: x\r\n\r\n",
            b"\n0\n\n",
            b"\r\n0\r\n" + b"T: x\r\n" * 500 + b"\r\n",
            b"",
        )
    )
    sent = (
        head([*fields, ("Transfer-Encoding", "chunked"), ("Connection", "close")])
        + size.encode()
        + b"\r\n"
        + body
        + tail
    )
    return [sent, END] if choose.random() < 0.5 else [sent]


def _huge_head(choose: random.Random) -> list[Step]:
    body, fields = _call()
    extra = choose.choice(
        ([("X-Big", "x" * 100_000)], [(f"X-{i}", "y" * 20) for i in range(3000)], [("X-" + "n" * 70_000, "v")])
    )
    return [post(body, [*fields, *extra])]


def _endless_head(choose: random.Random) -> list[Step]:
    return [b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n", *[b"X-Endless: " + b"e" * 30_000] * 8, END]


def _trickle(choose: random.Random) -> list[Step]:
    """A whole request, a few bytes at a time."""
    body, fields = _call()
    sent = post(body, [*fields, ("Connection", "close")])
    step = len(sent) // choose.choice((3, 10, 30)) + 1
    pieces: list[Step] = []
    for at in range(0, len(sent), step):
        pieces += [sent[at : at + step], 0.001]
    return pieces


def _half_closed(choose: random.Random) -> list[Step]:
    """A whole request of a client that will not send more, or the beginning of one."""
    body, fields = _call(1, choose.choice(("add", "slow", "threaded")))
    sent = post(body, fields)
    return [sent[: choose.choice((1, 30, len(sent) // 2, len(sent) - 1, len(sent), len(sent)))], END]


def _pipelined(choose: random.Random) -> list[Step]:
    tools = choose.choices(("add", "slow", "threaded", "shout"), k=choose.choice((2, 5, 20)))
    sent = b"".join(post(*_call(at, tool)) for at, tool in enumerate(tools))
    if choose.random() < 0.3:
        sent += b"POST /mcp HTTP/1.1\r\nBroken\r\n\r\n"
    return [sent]


def _garbage(choose: random.Random) -> list[Step]:
    noise = choose.randbytes(choose.choice((1, 16, 300, 5000)))
    return [
        choose.choice(
            (
                noise,
                b"\r\n" * 50,
                b"\x16\x03\x01\x02\x00\x01" + noise,
                b"GET /\r\n\r\n",
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"\0" * 200,
            )
        ),
        END,
    ]


def _upgrade(choose: random.Random) -> list[Step]:
    """Asks for another protocol: h2c, a web socket."""
    body, fields = _call()
    what = choose.choice(("websocket", "h2c", "x"))
    fields += [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", what), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
    fields += [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13")]
    return [post(body, fields, choose.choice(("POST /mcp HTTP/1.1", "GET /mcp HTTP/1.1")))]


def _expect(choose: random.Random) -> list[Step]:
    body, fields = _call()
    fields.append(("Expect", choose.choice(("100-continue", "200-ok", "100-Continue, x"))))
    return [head([*fields, ("Content-Length", str(len(body)))]), 0.002, body]


ATTACKS: tuple[Callable[[random.Random], list[Step]], ...] = (
    _both_lengths, _two_lengths, _odd_length, _shorter, _longer, _folded, _odd_names, _odd_target, _odd_verb,
    _chunks, _huge_head,
    _endless_head, _trickle, _half_closed, _pipelined, _garbage, _upgrade, _expect,
)  # fmt: skip


def attack_case(choose: random.Random, session: Fields) -> Case:
    """A request whose framing is the point."""
    attack = choose.choice(ATTACKS)
    return Case(attack.__name__.lstrip("_"), attack(choose))
