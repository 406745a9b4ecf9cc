"""The ASGI types and the few responses every HTTP file here writes."""

import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from trunkline.errors import (
    Forbidden,
    HeaderMismatch,
    InvalidParams,
    InvalidRequest,
    IssuerUnavailable,
    MethodNotFound,
    MissingCapability,
    Overloaded,
    ParseError,
    ProtocolError,
    Refused,
    RemoteError,
    StorageUnavailable,
    Unauthenticated,
    Unavailable,
    UnsupportedVersion,
)

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")
STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # Tells nginx and others not to buffer (Streamable HTTP, Receiving Messages).
    (b"x-accel-buffering", b"no"),
]


async def respond(send: Send, status: int, body: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole response; a body is JSON unless the headers say otherwise."""
    fields = [(b"content-length", b"%d" % len(body)), *headers]
    if body and not any(name == b"content-type" for name, _ in fields):
        fields.append(JSON_TYPE)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def error_headers(error: ProtocolError) -> Headers:
    """What goes with an error: a challenge, and when the same request may succeed (RFC 9110, 10.2.3)."""
    if isinstance(error, Refused | Unauthenticated | Forbidden):
        return [(name.encode(), value.encode()) for name, value in error.headers]
    if not isinstance(error, Overloaded | Unavailable) or error.retry_after is None:
        return []
    return [(b"retry-after", b"%d" % math.ceil(error.retry_after))]


async def read_body(receive: Receive, declared: bytes | None, limit: int) -> bytes | None:
    """The request body, or None when the client left. Raises `Refused` (413) when it is larger than `limit` bytes."""
    if declared is not None and (not declared.isdigit() or len(declared) > 15 or int(declared) > limit):
        raise Refused(413, f"The request body is larger than {limit} bytes")
    event = await receive()
    if event["type"] == "http.disconnect":
        return None
    body: bytes = event.get("body", b"")
    if not event.get("more_body", False):
        if len(body) > limit:
            raise Refused(413, f"The request body is larger than {limit} bytes")
        return body
    chunks, size = [body], len(body)
    while event.get("more_body", False):
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        chunks.append(event.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise Refused(413, f"The request body is larger than {limit} bytes")
    return b"".join(chunks)


def http_status(error: ProtocolError) -> int:
    """The HTTP status of a response with this error: 200 unless the table below says otherwise."""
    code = error.remote_code if isinstance(error, RemoteError) else error.code
    return _STATUS_OF_CODE.get(code, 200)


# Streamable HTTP gives these codes a status; every other error of a well-formed request travels with 200.
_STATUS_OF_CODE: dict[int, int] = {
    error.code: error.status
    for error in (
        ParseError,
        InvalidRequest,
        MethodNotFound,
        InvalidParams,
        HeaderMismatch,
        MissingCapability,
        UnsupportedVersion,
        Unauthenticated,
        Forbidden,
        Overloaded,
        StorageUnavailable,
        IssuerUnavailable,
    )
}
