"""An upstream that talks garbage: `python -m tests.fuzz.upstream SEED` on stdio, `http_upstream(seed)` in this process.

Its tool `good` adds one to `n` and is always answered rightly, on stdio between lines of noise. Its tool `bad` is
answered by whatever the seed and `n` say.
"""

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.fuzz import messages

TOOLS = [
    {"name": name, "inputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    for name in ("good", "bad")
]
LISTED = {"tools": TOOLS, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
SERVER = {"name": "garbage", "version": "1"}


def answer(message: dict) -> dict:
    """What a good server says."""
    method = message.get("method")
    result: dict = {"resultType": "complete"}
    if method == "server/discover":
        result.update(supportedVersions=[messages.MODERN], capabilities={"tools": {}}, ttlMs=0, cacheScope="private")
        result["_meta"] = {messages.PREFIX + "serverInfo": SERVER}
    elif method == "initialize":
        result = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": SERVER,
        }
    elif method == "tools/list":
        result = LISTED
    elif method == "tools/call":
        number = message["params"].get("arguments", {}).get("n", 0)
        result["content"] = [{"type": "text", "text": str(number + 1)}]
    return {"jsonrpc": "2.0", "id": message.get("id"), "result": result}


def wants_garbage(message: dict) -> bool:
    """Whether it is a call of `bad`."""
    return message.get("method") == "tools/call" and message["params"].get("name") == "bad"


def choices(seed: int, message: dict) -> random.Random:
    """The random source of one answer."""
    return random.Random(f"upstream {seed}/{message['params'].get('arguments', {}).get('n')}")


def garbage(choose: random.Random, message: dict) -> bytes:
    """A message that is nearly an answer, or nothing like it."""
    whole: dict = answer(message)
    kind = choose.random()
    if kind < 0.1:
        whole = messages.valid(choose, choose.choice(messages.REVISIONS))
    elif kind < 0.2:
        whole = {
            "jsonrpc": "2.0",
            "id": message.get("id"),
            "error": {"code": -32000, "message": "no", "data": {"a": [1]}},
        }
    elif kind < 0.3:
        params = {"progressToken": message.get("id"), "progress": 1, "level": "info", "data": {}}
        whole = {
            "jsonrpc": "2.0",
            "method": choose.choice(("notifications/progress", "notifications/message", "x")),
            "params": params,
        }
    elif kind < 0.4:
        requested = {
            "inputRequests": {"a": {"method": "elicitation/create", "params": {"message": "?"}}},
            "requestState": "s",
        }
        whole["result"] = {"resultType": "input_required", **requested}
    text = messages.encode(choose, messages.damaged(choose, whole, choose.choice((0, 1, 1, 2))))
    return messages.scarred(choose, text) if choose.random() < 0.3 else text


def noise(choose: random.Random) -> bytes:
    """Lines that answer nothing: no id in them is one of the client's."""
    stray = garbage(choose, {"id": f"stray-{choose.randint(0, 9)}", "method": "tools/call", "params": {}})
    pieces = (
        b"npm WARN deprecated\n",
        b"\x1b[31mred\x1b[0m\n",
        choose.randbytes(200).replace(b"\n", b"") + b"\n",
        b"\n\r\n",
        b"[]\n",
        b"null\n",
    )
    return choose.choice((*pieces, stray.replace(b"\r\n", b" ").replace(b"\n", b" ") + b"\n"))


def stdio(seed: int) -> None:
    """Answer lines until the end of input."""
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message or "method" not in message:
            continue
        if wants_garbage(message):
            out.write(garbage(choices(seed, message), message) + b"\n")
        else:
            choose = random.Random(f"{seed} {line!r}")
            out.write(noise(choose) + json.dumps(answer(message)).encode() + b"\n" + noise(choose))
        out.flush()


def http_answer(choose: random.Random, message: dict) -> bytes:
    """Bytes on the connection instead of an HTTP response, or one with a strange body."""
    body = garbage(choose, message)
    event = b"data: " + body.replace(b"\r\n", b" ").replace(b"\n", b" ")
    kind = choose.choice(
        (
            "application/json",
            "text/event-stream",
            "text/event-stream",
            "text/html",
            "",
            "application/json; charset=utf-7",
        )
    )
    status = choose.choice(
        (
            b"200 OK",
            b"200 OK",
            b"200 OK",
            b"202 Accepted",
            b"204 No Content",
            b"400 Bad",
            b"404 x",
            b"500 Oops",
            b"599",
            b"999 \xff",
        )
    )
    if kind == "text/event-stream":
        body = choose.choice(
            (
                event + b"\n\n",
                event,
                event + b"\r\r",
                b": x\n\n" * 50 + event + b"\n\n",
                b"id: \0\nretry: -5\nevent: \xff\n" + event + b"\n\n",
            )
        )
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: " + kind.encode() + b"\r\n"
    return choose.choice(
        (
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"Content-Length: %d\r\n\r\n" % (len(body) + 100) + body,
            head + b"Content-Length: %d\r\n\r\n" % max(0, len(body) - 3) + body,
            head + b"\r\n" + body,
            head
            + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)
            + body
            + choose.choice((b"\r\n0\r\n\r\n", b"\r\nzz\r\n", b"")),
            head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
            head + b"X: " + b"h" * choose.choice((9000, 200_000)) + b"\r\n\r\n",
            b"HTTP/1.1 307 x\r\nLocation: "
            + choose.choice((b"/mcp", b"http://[", b"//evil.example/", b"", b"file:///x"))
            + b"\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            choose.randbytes(300),
            b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
            b"",
        )
    )


@asynccontextmanager
async def http_upstream(seed: int, bad: Callable[[dict], bytes] | None = None) -> AsyncIterator[str]:
    """Serve it on a free port, `bad` answering in the seed's place; yields the URL."""

    def by_seed(message: dict) -> bytes:
        return http_answer(choices(seed, message), message)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _exchange(reader, writer, bad or by_seed)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bad: Callable[[dict], bytes]) -> None:
    """One request; the connection is closed after it."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
    raw = await reader.readexactly(length)
    message = json.loads(raw) if raw else {}
    if "method" not in message or "id" not in message:
        writer.write(b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    elif wants_garbage(message):
        writer.write(bad(message))
    else:
        body = json.dumps(answer(message)).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )
    await writer.drain()


if __name__ == "__main__":
    stdio(int(sys.argv[1]))
