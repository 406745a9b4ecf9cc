"""What stands behind the gateways: as little of a server as they need, which counts what it is asked.

It is a modern one; the handshake is there for peers that know no other way.
"""

import json
from collections import Counter

import msgspec

from bench.apps.echo import App, Message, Receive, Send

REVISION = "2026-07-28"
FRESH = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
SERVER = {"io.modelcontextprotocol/serverInfo": {"name": "upstream", "version": "1"}}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}


def _upstream(count: int) -> App:
    """An application with `add` and other tools, `count` in all; `GET` tells how often each method was asked."""
    names = ["add", *(f"other_{number}" for number in range(1, count))]
    tools = [{"name": name, "description": "Add two numbers.", "inputSchema": SCHEMA} for name in names]
    discovered = {**FRESH, "supportedVersions": [REVISION], "capabilities": {"tools": {}}, "_meta": SERVER}
    greeted = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "upstream", "version": "1"},
    }
    answers = {"server/discover": discovered, "initialize": greeted, "tools/list": {**FRESH, "tools": tools}}
    asked: Counter[str] = Counter()

    def answer(body: bytes) -> tuple[int, bytes]:
        if not body:
            return 200, json.dumps(asked).encode()
        message = msgspec.json.decode(body)
        method, params = message["method"], message.get("params", {})
        asked[method] += 1
        if "id" not in message:
            return 202, b""
        reply: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
        if method == "tools/call":
            total = sum(params["arguments"].values())
            reply["result"] = {"content": [{"type": "text", "text": str(total)}], "resultType": "complete"}
        elif method in answers:
            reply["result"] = answers[method]
        else:
            reply["error"] = {"code": -32601, "message": "Method not found"}
        return 404 if "error" in reply else 200, msgspec.json.encode(reply)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, reply = answer(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    return app


one = _upstream(1)
thousand = _upstream(1_000)
