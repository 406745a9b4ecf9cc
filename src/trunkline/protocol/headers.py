"""The Mcp-* request headers.

What it is for: read and write the headers that mirror the body (Streamable HTTP, Request Metadata), and compare them.
What may live here: the codec, the comparison, one-pass reading of a raw header list.
What may not: HTTP I/O, authentication, anything stateful.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from trunkline.errors import HeaderMismatch, InvalidRequest

_PREFIX, _SUFFIX = "=?base64?", "?="
_SAFE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_VALID = re.compile(rb"[\x20-\x7e\t]*")
_INTEGER = re.compile(r"(-?[0-9]{1,32})(?:\.0{1,32})?")
_SAFE_INTEGER = 2**53 - 1

SINGLE: frozenset[bytes] = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"content-length",
        b"mcp-protocol-version",
        b"mcp-method",
        b"mcp-name",
        b"mcp-session-id",
        b"last-event-id",
        b"dpop",
    }
)
"""Headers that decide something: sent twice they could be read in two ways, so they are refused."""


class HeaderParam(msgspec.Struct, frozen=True):
    """One tool parameter mirrored into a header: `Mcp-Param-{name}` and the path of the value in the arguments."""

    name: str
    path: tuple[str, ...]
    kind: str
    key: bytes
    """The lower-case header name as it arrives."""


def read(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """One pass over a raw header list: lower-case names, values without surrounding blanks.

    Blanks are cut here because HTTP parsers differ on it (RFC 9110, section 5.5 excludes them from the value).
    Raises `InvalidRequest` when a header that decides something comes twice.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        if name in headers:
            if name in SINGLE or name.startswith(b"mcp-param-"):
                raise InvalidRequest(f"The header {name.decode('latin-1')} was sent more than once")
            headers[name] += b"," + value
        else:
            headers[name] = value.strip(b" \t")
    return headers


def encode_value(value: str | int | bool) -> str:
    """The header form of a parameter value (Streamable HTTP, Value Encoding).

    encode_value(True)      # "true"
    encode_value(" padded") # "=?base64?IHBhZGRlZA==?="
    """
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    if _SAFE.fullmatch(text) and not (text.startswith(_PREFIX) and text.endswith(_SUFFIX)):
        return text
    return _PREFIX + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode() + _SUFFIX


def decode_value(value: bytes, header: str) -> str:
    """The text a header value stands for. Raises `HeaderMismatch` for characters or Base64 that are not allowed."""
    if not _VALID.fullmatch(value):
        raise HeaderMismatch(f"Header mismatch: {header} holds characters a header value may not have")
    text = value.decode("ascii")
    if not (text.startswith(_PREFIX) and text.endswith(_SUFFIX)) or len(text) < len(_PREFIX) + len(_SUFFIX):
        return text
    try:
        return base64.b64decode(text[len(_PREFIX) : -len(_SUFFIX)], validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise HeaderMismatch(f"Header mismatch: {header} is not valid Base64 of UTF-8 text") from None


def check_mirror(headers: Mapping[bytes, bytes], key: bytes, title: str, expected: str) -> None:
    """Require that a standard header is present and equal to the body's value; raises `HeaderMismatch`."""
    value = headers.get(key)
    if value is None:
        raise HeaderMismatch(f"Header mismatch: {title} is missing")
    if value == expected.encode("utf-8", "surrogatepass") and not value.startswith(b"=?") and value.isascii():
        return
    decoded = decode_value(value, title) if key == b"mcp-name" else value.decode("latin-1")
    # A name in the body may itself have edge blanks; a literal header value has lost them on the way.
    if decoded not in (expected, expected.strip(" \t")):
        raise HeaderMismatch(f"Header mismatch: {title} is {decoded[:100]!r}, the body says {expected[:100]!r}")


def check_params(params: tuple[HeaderParam, ...], headers: Mapping[bytes, bytes], arguments: object) -> None:
    """Compare `Mcp-Param-*` headers with the arguments (Server Behavior for Custom Headers)."""
    for param in params:
        expected = value_at(arguments, param.path)
        value = headers.get(param.key)
        title = f"Mcp-Param-{param.name}"
        if expected is None:
            if value is not None:
                raise HeaderMismatch(f"Header mismatch: {title} was sent but the body has no value for it")
            continue
        if value is None:
            raise HeaderMismatch(f"Header mismatch: {title} is missing but the body has a value for it")
        if not _equal(decode_value(value, title), expected):
            raise HeaderMismatch(f"Header mismatch: {title} differs from the value in the body")


def mirror_params(params: tuple[HeaderParam, ...], arguments: object) -> list[tuple[str, str]]:
    """The `Mcp-Param-*` headers a client sends for these arguments (Client Behavior)."""
    mirrored = []
    for param in params:
        value = value_at(arguments, param.path)
        if isinstance(value, str | bool) or (isinstance(value, int) and abs(value) <= _SAFE_INTEGER):
            mirrored.append((f"Mcp-Param-{param.name}", encode_value(value)))
    return mirrored


def value_at(arguments: object, path: tuple[str, ...]) -> object:
    """The value at a chain of property names, or None where the chain breaks."""
    for step in path:
        if not isinstance(arguments, dict):
            return None
        arguments = arguments.get(step)
    return arguments


@lru_cache(maxsize=256)
def accepts_both(accept: bytes) -> bool:
    """Whether an Accept value admits JSON and event streams (Sending Messages, item 2)."""
    return _accepts(accept, b"application/json") and _accepts(accept, b"text/event-stream")


@lru_cache(maxsize=256)
def accepts_stream(accept: bytes) -> bool:
    """Whether an Accept value admits an event stream."""
    return _accepts(accept, b"text/event-stream")


def _accepts(accept: bytes, wanted: bytes) -> bool:
    major = wanted.partition(b"/")[0] + b"/*"
    for part in accept.lower().split(b","):
        kind, _, parameters = part.partition(b";")
        if kind.strip() in (wanted, major, b"*/*") and parameters.replace(b" ", b"") not in (b"q=0", b"q=0.0"):
            return True
    return False


def _equal(header: str, body: object) -> bool:
    if isinstance(body, bool):
        return header == ("true" if body else "false")
    if isinstance(body, str):
        return header in (body, body.strip(" \t"))
    if isinstance(body, int | float):
        # "42.0" and "42" are the same integer (Server Validation, note); what Python alone reads as a number is none.
        number = _INTEGER.fullmatch(header)
        return number is not None and int(number[1]) == body
    return False
