"""How to sign in at an endpoint, where clients look for it (RFC 9728, 3).

What it is for: the protected resource metadata of any endpoint here, for anyone, web pages included.
What may live here: that answer. What may not: what it says, which an authenticator knows.
"""

from trunkline.engine.doors import Authenticator, ProtectedResource
from trunkline.errors import ProtocolError
from trunkline.protocol import json
from trunkline.protocol.headers import read
from trunkline.protocol.messages import error_message
from trunkline.transports.asgi import Headers, Scope, Send, error_headers, respond
from trunkline.transports.guard import Guard

PLACE = "/.well-known/oauth-protected-resource"

_PUBLIC: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"mcp-protocol-version"),
]
_KEEP = (b"cache-control", b"public, max-age=300")


async def describe(authenticator: Authenticator | None, guard: Guard, endpoint: str, scope: Scope, send: Send) -> bool:
    """Answer a request for the metadata of an endpoint; False, without an answer, where it has none.

    Parameters:
        authenticator: of the endpoint.
        guard: says what its URL is, and which hosts it has.
        endpoint: its path, below where the application is mounted.
    """
    if not isinstance(authenticator, ProtectedResource):
        return False
    if scope["method"] == "OPTIONS":
        await respond(send, 204, headers=_PUBLIC)
        return True
    if scope["method"] not in ("GET", "HEAD"):
        await respond(send, 405, headers=[(b"allow", b"GET, HEAD, OPTIONS")])
        return True
    try:
        headers = read(scope["headers"])
        guard.check_host(headers)
    except ProtocolError as error:
        await respond(send, error.status, error_message(None, error), error_headers(error))
        return True
    url = guard.external_url({**scope, "path": scope.get("root_path", "") + endpoint}, headers)
    body = json.encode(authenticator.metadata(url))
    fields = [*_PUBLIC, _KEEP, (b"content-type", b"application/json")]
    if scope["method"] == "HEAD":
        fields.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": b""})
    else:
        await respond(send, 200, body, fields)
    return True
