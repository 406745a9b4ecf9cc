"""The fixture server as one that has never heard of the modern era, the way older servers answer it."""

import json

from conformance.server import server
from trunkline.transports.asgi import Receive, Scope, Send, respond

MODERN = b"2026-07-28"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a revision that is not known; pass everything else on."""
    if scope["type"] == "http" and (b"mcp-protocol-version", MODERN) in scope["headers"]:
        fault = {"code": -32000, "message": "Bad Request: Unsupported protocol version"}
        await respond(send, 400, json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}).encode())
        return
    await server.app(scope, receive, send)
