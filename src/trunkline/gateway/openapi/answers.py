"""From an HTTP answer to a tool's result.

What it is for: JSON, text, images and bytes as content; errors as results a model can act on.
What may live here: that mapping, pure. What may not: reading from the network.
"""

import base64
import email.utils
import time
from collections.abc import Mapping
from http import HTTPStatus

from trunkline.errors import ParseError
from trunkline.gateway.masking import Mask
from trunkline.protocol import json

STATUS_KEY = "dev.trunkline/status"
RETRY_KEY = "dev.trunkline/retry"
RETRY_AFTER_KEY = "dev.trunkline/retryAfter"
"""Members of a failed result's `_meta`: the HTTP status, whether to try again, and in how many seconds."""

MAX_BYTES = 8 * 1024 * 1024
"""The size of an answer that is passed on."""

_EXCERPT = 2_000
_LONGEST = 86_400

Result = dict[str, object]


def failure(text: str, meta: Mapping[str, object] | None = None) -> Result:
    """A result that says what went wrong."""
    result: Result = {"content": [{"type": "text", "text": text}], "isError": True}
    return {**result, "_meta": dict(meta)} if meta else result


def refused(status: int, headers: Mapping[str, str], body: bytes, mask: Mask) -> Result:
    """The result for an HTTP error: the status, the beginning of what was said, and whether to try again."""
    text = f"HTTP {status} {_phrase(status)}".rstrip()
    said = mask.text(body[: 4 * _EXCERPT].decode("utf-8", "replace")).strip()[:_EXCERPT]
    meta: dict[str, object] = {STATUS_KEY: status}
    if status in (429, 503):
        meta[RETRY_KEY] = True
        wait = _retry_after(headers.get("Retry-After", ""))
        text += "; try again later" if wait is None else f"; try again in {wait} s"
        if wait is not None:
            meta[RETRY_AFTER_KEY] = wait
    if status == HTTPStatus.UNAUTHORIZED:
        text += "; the gateway's credentials for this API are missing or not accepted"
    return failure(f"{text}\n\n{said}" if said else text, meta)


def accepted(status: int, media: str, charset: str, body: bytes, address: str) -> Result:
    """The result for a successful answer.

    Parameters:
        media, charset: of the body.
        address: names bytes that have no content type of their own; without query.
    """
    if not body:
        return _content({"type": "text", "text": f"{status} {_phrase(status)}".rstrip()})
    if media == "application/json" or media.endswith("+json"):
        return _structured(body, charset)
    kind = media.partition("/")[0]
    if kind in ("image", "audio"):
        return _content({"type": kind, "data": base64.b64encode(body).decode(), "mimeType": media})
    if kind == "text" or media.endswith(("xml", "yaml", "javascript", "x-www-form-urlencoded")) or not media:
        return _content({"type": "text", "text": _decoded(body, charset)})
    blob = {"uri": address, "mimeType": media, "blob": base64.b64encode(body).decode()}
    return _content({"type": "resource", "resource": blob})


def _structured(body: bytes, charset: str) -> Result:
    text = _decoded(body, charset)
    result = _content({"type": "text", "text": text})
    try:
        value = json.parse(text)
    except ParseError:
        return result
    return {**result, "structuredContent": value} if isinstance(value, dict) else result


def _content(block: dict[str, object]) -> Result:
    return {"content": [block]}


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _retry_after(value: str) -> int | None:
    """Seconds, from either form of the header (RFC 9110, section 10.2.3)."""
    if value.isascii() and value.strip().isdigit():
        return min(int(value.strip()[:9]), _LONGEST)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0, min(int(moment - time.time()) + 1, _LONGEST))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
