"""Typed messages of every revision.

What it is for: decode a message or a definition of a revision into its generated Struct, and encode it again.
What may live here: what is the same for all revisions; their modules are heavy and imported on first use.
What may not: anything on the path of a forwarded message, which travels untyped.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Literal, Protocol, Union, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError

from trunkline.errors import InvalidRequest, ParseError, UnsupportedVersion
from trunkline.protocol.alternatives import hook
from trunkline.protocol.json import encode
from trunkline.protocol.revisions import REVISIONS

__all__ = ["WireModule", "decode", "decode_message", "decode_result", "encode", "module"]


class WireModule(Protocol):
    """What every generated module offers besides its definitions: methods and their types."""

    REVISION: str
    CLIENT_REQUESTS: Mapping[str, type[Struct]]
    SERVER_REQUESTS: Mapping[str, type[Struct]]
    CLIENT_NOTIFICATIONS: Mapping[str, type[Struct]]
    SERVER_NOTIFICATIONS: Mapping[str, type[Struct]]
    INPUT_REQUESTS: Mapping[str, type[Struct]]
    RESULTS: Mapping[str, object]
    ENVELOPES: Mapping[str, type[Struct]]


class _Head(Struct):
    jsonrpc: Literal["2.0"]
    id: str | int | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _NoType(Struct, tag_field="type", tag=""):
    """Makes msgspec insist on `type`: it checks the presence of a tag in unions only."""


class _NoMethod(Struct, tag_field="method", tag=""):
    """The same for `method`."""


def module(revision: str) -> WireModule:
    """The generated types of a revision. Raises `UnsupportedVersion` for one we do not know.

    module("2025-11-25").RESULTS["tools/list"]  # ListToolsResult
    """
    if revision not in REVISIONS:
        raise UnsupportedVersion(revision, tuple(REVISIONS))
    return cast("WireModule", import_module(f"trunkline.protocol.v{revision.replace('-', '_')}"))


def decode(revision: str, definition: str, raw: bytes) -> object:
    """Decode an instance of a definition named in the schema.

    Raises `ParseError` when it is not JSON, `InvalidRequest` when it is not what the definition says.

        decode("2025-11-25", "TextContent", b'{"type": "text", "text": "hi"}')  # TextContent(text="hi")
    """
    return _decode(getattr(module(revision), definition), raw, definition)


def decode_result(revision: str, method: str, raw: bytes) -> object:
    """Decode the `result` of a request's response; errors as `decode`.

    decode_result("2024-11-05", "tools/list", b'{"tools": []}')  # ListToolsResult(tools=[])
    """
    results = module(revision).RESULTS
    if method not in results:
        raise InvalidRequest(f"{revision} has no request {method!r}")
    return _decode(results[method], raw, f"result of {method}")


def decode_message(revision: str, raw: bytes) -> object:
    """Decode a JSON-RPC message to the type its method has; a batch, where the revision has them, to a list.

    A method the revision does not know gives the general JSONRPCRequest or JSONRPCNotification; errors as `decode`.

        decode_message("2025-06-18", b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}')  # PingRequest(id=1, ...)
    """
    if raw.lstrip()[:1] != b"[":
        return _decode(_message_type(module(revision), raw), raw, "message")
    if revision not in REVISIONS or not REVISIONS[revision].batches:
        raise InvalidRequest(f"{revision} has no batches: send one message at a time")
    batch = cast("list[Raw]", _decode(list[Raw], raw, "batch"))
    return [_decode(_message_type(module(revision), bytes(one)), bytes(one), "message") for one in batch]


def _message_type(types: WireModule, raw: bytes) -> type[Struct]:
    head = cast("_Head", _decode(_Head, raw, "message"))
    if head.method is UNSET:
        return types.ENVELOPES["result" if head.error is UNSET else "error"]
    if head.id is UNSET:
        known = {**types.CLIENT_NOTIFICATIONS, **types.SERVER_NOTIFICATIONS}
        return known.get(head.method, types.ENVELOPES["notification"])
    known = {**types.CLIENT_REQUESTS, **types.SERVER_REQUESTS}
    return known.get(head.method, types.ENVELOPES["request"])


@cache
def _decoder(kind: object) -> msgspec.json.Decoder[object]:
    strict = kind
    if isinstance(kind, type) and issubclass(kind, Struct):
        probe = {"type": _NoType, "method": _NoMethod}.get(kind.__struct_config__.tag_field or "")
        strict = Union[kind, probe] if probe else kind  # noqa: UP007
    return msgspec.json.Decoder(strict, dec_hook=hook)


def _decode(kind: object, raw: bytes, what: str) -> object:
    try:
        decoded = _decoder(kind).decode(raw)
    except ValidationError as error:
        raise InvalidRequest(f"Invalid {what}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(f"Parse error: {error}") from None
    if isinstance(decoded, _NoType | _NoMethod):
        raise InvalidRequest(f"Invalid {what}: the type or method is empty")
    return decoded
