"""The fixture server as one that has never heard of the modern era, the way older servers answer it.

CONFORMANCE_WIRE names the newest revision it knows.
"""

import json
import os

from conformance.server import server
from trunkline.transports.asgi import Event, Receive, Scope, Send, respond

MODERN = b"2026-07-28"
NEWEST = os.environ.get("CONFORMANCE_WIRE", "2025-11-25")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a revision that is not known, agree on none that is newer than ours; pass everything else on."""
    if scope["type"] != "http":
        await server.app(scope, receive, send)
    elif (b"mcp-protocol-version", MODERN) in scope["headers"]:
        fault = {"code": -32000, "message": "Bad Request: Unsupported protocol version"}
        await respond(send, 400, json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}).encode())
    elif scope["method"] == "POST":
        await _older(scope, receive, send)
    else:
        await server.app(scope, receive, send)


async def _older(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `initialize` as if a client had offered nothing newer than we know."""
    event: Event = await receive()
    body = event.get("body", b"")
    while event.get("more_body"):
        event = await receive()
        body += event.get("body", b"")
    try:
        message = json.loads(body)
    except ValueError:
        message = None
    if isinstance(message, dict) and message.get("method") == "initialize":
        offered = message.get("params", {})
        if isinstance(offered, dict) and str(offered.get("protocolVersion")) > NEWEST:
            body = json.dumps({**message, "params": {**offered, "protocolVersion": NEWEST}}).encode()
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
            scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
    sent = False

    async def replay() -> Event:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    await server.app(scope, replay, send)
