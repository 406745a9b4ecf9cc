"""JSON-RPC messages as they arrive.

What it is for: decode one message as far as dispatch needs it, and explain precisely what is wrong with a bad one.
What may live here: the envelope, the head of `params`, the admission rules that need no I/O.
What may not: results of particular methods, sockets, clocks.

The fast path decodes strictly into Structs; only when that fails the cold path decodes again, untyped, to explain.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from trunkline.errors import (
    InvalidParams,
    InvalidRequest,
    ParseError,
    ProtocolError,
    UnsupportedVersion,
)
from trunkline.protocol import json
from trunkline.protocol.headers import check_mirror
from trunkline.protocol.revisions import LOG_LEVELS, NAME_PARAMS, REVISIONS, SERVED

Id = str | int
LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"


class Message(Struct):
    """Any JSON-RPC message: a request has method and id, a notification only method, a response result or error."""

    jsonrpc: Literal["2.0"]
    id: Id | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class Meta(Struct):
    """The `_meta` keys the engine acts on (basic/index, Reserved keys); all others stay in the raw parameters."""

    version: str | UnsetType = field(default=UNSET, name=VERSION_KEY)
    client_info: dict[str, object] | UnsetType = field(default=UNSET, name=CLIENT_INFO_KEY)
    capabilities: dict[str, object] | UnsetType = field(default=UNSET, name=CAPABILITIES_KEY)
    log_level: LogLevel | UnsetType = field(default=UNSET, name=LOG_LEVEL_KEY)
    progress_token: Id | UnsetType = field(default=UNSET, name="progressToken")
    traceparent: str | UnsetType = UNSET


class Params(Struct):
    """The head of `params`: what routing and the ladder need.

    `raw` is the whole of it, for forwarding; `decode_params` always sets it, whatever a peer put under its name.
    """

    meta: Meta | UnsetType = field(default=UNSET, name="_meta")
    name: str | UnsetType = UNSET
    uri: str | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    arguments: Raw | UnsetType = UNSET
    request_state: str | UnsetType = field(default=UNSET, name="requestState")
    input_responses: Raw | UnsetType = field(default=UNSET, name="inputResponses")
    raw: Raw = field(default=Raw(b"{}"), name="dev.trunkline/raw")


NO_META = Meta()
EMPTY_PARAMS = Raw(b"{}")

_decode_message = msgspec.json.Decoder(Message).decode
_decode_params = msgspec.json.Decoder(Params).decode


def decode(body: bytes) -> Message:
    """Decode one message. Raises `ParseError` or `InvalidRequest`; `request_id` is set where it is readable."""
    try:
        message = _decode_message(body)
        if not body.isascii():
            # The decoder passes over raw parts unread; whoever reads them later relies on UTF-8.
            body.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise explain(body) from None
    if body.count(b"[") + body.count(b"{") > json.MAX_DEPTH:
        try:
            json.check_depth(body)
        except ParseError as error:
            raise identified(error, message.id) from None
    if message.method is UNSET and message.result is UNSET and message.error is UNSET:
        raise identified(InvalidRequest("A message needs a method, a result or an error"), message.id)
    return message


def decode_params(message: Message) -> Params:
    """Decode the head of a request's parameters. Raises `InvalidParams` that names the wrong one."""
    raw = message.params
    if raw is UNSET:
        return Params()
    try:
        params = _decode_params(raw)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidParams(f"Invalid params: {_place(error)}") from None
    except (msgspec.DecodeError, RecursionError):
        raise ParseError("Parse error: nested too deeply or not UTF-8") from None
    params.raw = raw
    return params


def admit(
    message: Message, params: Params, headers: Mapping[bytes, bytes] | None, names: Mapping[str, str] = {}
) -> None:
    """The modern era's ladder: version, `_meta`, mirrored headers.

    Order and codes: Streamable HTTP, Server Validation; basic/index, Per-request protocol fields.

    Parameters:
        headers: None where there is no header layer.
        names: further methods that carry `Mcp-Name`, and the parameter it mirrors: those of extensions.
    """
    method = message.method
    meta = params.meta if params.meta is not UNSET else NO_META
    version = meta.version
    if version is UNSET:
        raise InvalidParams(f"Invalid params: _meta needs {VERSION_KEY!r}")
    if headers is not None and headers.get(b"mcp-protocol-version") != version.encode("utf-8", "replace"):
        check_mirror(headers, b"mcp-protocol-version", "MCP-Protocol-Version", version)
    revision = REVISIONS.get(version)
    if revision is None or revision.era != "modern":
        raise UnsupportedVersion(version, SERVED)
    if meta.capabilities is UNSET:
        raise InvalidParams(f"Invalid params: _meta needs {CAPABILITIES_KEY!r}")
    if headers is None or method is UNSET:
        return
    if headers.get(b"mcp-method") != method.encode("utf-8", "replace"):
        check_mirror(headers, b"mcp-method", "Mcp-Method", method)
    mirrored = NAME_PARAMS.get(method)
    if mirrored is not None:
        name = params.name if mirrored == "name" else params.uri
        if name is UNSET:
            raise InvalidParams(f"Invalid params: {method} needs {mirrored!r}")
        check_mirror(headers, b"mcp-name", "Mcp-Name", name)
    elif method in names:
        check_mirror(headers, b"mcp-name", "Mcp-Name", text_param(params, method, names[method]))


def text_param(params: Params, method: str, name: str) -> str:
    """A parameter that is text. Raises `InvalidParams` where it is missing or none."""
    whole = json.plain(params.raw)
    value = whole.get(name) if isinstance(whole, dict) else None
    if not isinstance(value, str):
        raise InvalidParams(f"Invalid params: {method} needs {name!r}, a string")
    return value


def is_modern(headers: Mapping[bytes, bytes], message: Message) -> bool:
    """Which era a request over HTTP belongs to (versioning, "A dual-era server selects its behavior").

    Per-request `_meta` or a modern, or unknown, version header make it modern; `initialize` without them, a known
    legacy version header or no header at all make it legacy.
    """
    version = headers.get(b"mcp-protocol-version")
    if version is not None:
        known = REVISIONS.get(version.decode("latin-1"))
        if known is None or known.era == "modern":
            return message.method != "initialize" or carries_version(message)
    return carries_version(message)


def carries_version(message: Message) -> bool:
    """Whether the parameters carry the modern era's `_meta` version key."""
    return message.params is not UNSET and VERSION_KEY.encode() in bytes(message.params) and _has_version(message)


def _has_version(message: Message) -> bool:
    try:
        params = decode_params(message)
    except ProtocolError:
        return True
    return params.meta is not UNSET and params.meta.version is not UNSET


def explain(body: bytes) -> ProtocolError:
    """Why a body is not an acceptable message; the cold path."""
    try:
        value = json.parse(body)
    except ParseError as error:
        return error
    if isinstance(value, list):
        return InvalidRequest("Batches are not part of this protocol revision: send one message per request")
    if not isinstance(value, dict):
        return InvalidRequest("A message is a JSON object")
    id = value.get("id")
    return identified(InvalidRequest(_fault(value)), id if _is_id(id) else UNSET)  # type: ignore[arg-type]


def identified(error: ProtocolError, id: Id | UnsetType) -> ProtocolError:
    """Note on an error which request it answers, so that whoever writes it can echo the id."""
    if id is not UNSET:
        error.request_id = id
    return error


def result_message(id: Id, result: object) -> bytes:
    """Encode a result response."""
    return json.encode({"jsonrpc": "2.0", "id": id, "result": result})


def error_message(id: Id | None, error: ProtocolError) -> bytes:
    """Encode an error response; without an id where none was readable."""
    if id is None:
        return json.encode({"jsonrpc": "2.0", "error": error.wire()})
    return json.encode({"jsonrpc": "2.0", "id": id, "error": error.wire()})


def notification(method: str, params: Mapping[str, object] | None = None) -> bytes:
    """Encode a notification."""
    if params is None:
        return json.encode({"jsonrpc": "2.0", "method": method})
    return json.encode({"jsonrpc": "2.0", "method": method, "params": params})


def _is_id(value: object) -> bool:
    """Whether it is an id that a response can echo: lone surrogates are no UTF-8."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _fault(value: dict[str, object]) -> str:
    if value.get("jsonrpc") != "2.0":
        return 'A message needs "jsonrpc": "2.0"'
    if "id" in value and not _is_id(value["id"]):
        return "A request id is a string or an integer"
    if "method" in value and not isinstance(value["method"], str):
        return "A method is a string"
    return "The message is not a JSON-RPC request, notification or response"


def _place(error: Exception) -> str:
    text = str(error)
    reason, _, place = text.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if LOG_LEVEL_KEY in place or "enum value" in reason:
        return f"unknown log level, use one of {', '.join(LOG_LEVELS)}"
    return f"{place}: {reason}" if place else reason
