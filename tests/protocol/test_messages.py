"""The envelope and the modern era's ladder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from trunkline.errors import (
    HeaderMismatch,
    InvalidParams,
    InvalidRequest,
    ParseError,
    ProtocolError,
    UnsupportedVersion,
)
from trunkline.protocol import json, messages

META = {messages.VERSION_KEY: "2026-07-28", messages.CAPABILITIES_KEY: {}}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {}, "_meta": META}}
HEADERS = {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call", b"mcp-name": b"add"}


def admit(call: dict[str, object], headers: dict[bytes, bytes] | None) -> None:
    message = messages.decode(json.encode(call))
    messages.admit(message, messages.decode_params(message), headers)


def with_meta(**changes: object) -> dict[str, object]:
    meta = {**META, **changes}
    params = {"name": "add", "_meta": {key: value for key, value in meta.items() if value is not None}}
    return {**CALL, "params": params}


@given(st.binary())
def test_any_bytes_are_a_message_or_a_protocol_error(body: bytes) -> None:
    try:
        messages.decode_params(messages.decode(body))
    except ProtocolError as error:
        assert error.code in (-32700, -32600, -32602)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda of: st.lists(of) | st.dictionaries(st.text(), of)
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | JSON,
        "method": st.sampled_from(["tools/call", "ping"]) | JSON,
        "params": st.fixed_dictionaries({}, optional={"_meta": st.just(META) | JSON, "name": JSON, "arguments": JSON})
        | JSON,
        "result": JSON,
    },
)


@given(NEARLY, st.booleans())
def test_near_messages_are_admitted_or_explained(value: dict[str, object], with_headers: bool) -> None:
    try:
        message = messages.decode(json.encode(value))
        messages.admit(message, messages.decode_params(message), HEADERS if with_headers else None)
    except (ProtocolError, UnicodeEncodeError):
        return


@pytest.mark.parametrize(
    ("body", "error", "id"),
    [
        (b"{", ParseError, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"x"', ParseError, None),
        (b"[]", InvalidRequest, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', InvalidRequest, None),
        (b"3", InvalidRequest, None),
        (b'{"jsonrpc":"1.0","id":7,"method":"x"}', InvalidRequest, 7),
        (b'{"id":7,"method":"x"}', InvalidRequest, 7),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"x"}', InvalidRequest, None),
        (b'{"jsonrpc":"2.0","id":"a","method":4}', InvalidRequest, "a"),
        (b'{"jsonrpc":"2.0","id":"a"}', InvalidRequest, "a"),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":3}', ParseError, None),
    ],
)
def test_a_bad_message_is_named_and_its_id_echoed(body: bytes, error: type[ProtocolError], id: object) -> None:
    with pytest.raises(error) as raised:
        messages.decode(body)

    assert raised.value.request_id == id


def test_a_good_call_is_admitted() -> None:
    admit(CALL, HEADERS)


@pytest.mark.parametrize(
    ("call", "headers", "error"),
    [
        ({**CALL, "params": {}}, HEADERS, InvalidParams),
        (with_meta(**{messages.VERSION_KEY: None}), HEADERS, InvalidParams),
        (with_meta(**{messages.CAPABILITIES_KEY: None}), HEADERS, InvalidParams),
        (with_meta(**{messages.VERSION_KEY: 3}), HEADERS, InvalidParams),
        (with_meta(**{messages.LOG_LEVEL_KEY: "loud"}), HEADERS, InvalidParams),
        (
            with_meta(**{messages.VERSION_KEY: "1900-01-01"}),
            {**HEADERS, b"mcp-protocol-version": b"1900-01-01"},
            UnsupportedVersion,
        ),
        (
            with_meta(**{messages.VERSION_KEY: "2025-11-25"}),
            {**HEADERS, b"mcp-protocol-version": b"2025-11-25"},
            UnsupportedVersion,
        ),
        (CALL, {**HEADERS, b"mcp-protocol-version": b"2025-11-25"}, HeaderMismatch),
        (CALL, {key: value for key, value in HEADERS.items() if key != b"mcp-protocol-version"}, HeaderMismatch),
        (CALL, {key: value for key, value in HEADERS.items() if key != b"mcp-method"}, HeaderMismatch),
        (CALL, {**HEADERS, b"mcp-method": b"TOOLS/CALL"}, HeaderMismatch),
        (CALL, {**HEADERS, b"mcp-name": b"sub"}, HeaderMismatch),
    ],
)
def test_the_ladder_refuses(call: dict[str, object], headers: dict[bytes, bytes], error: type[ProtocolError]) -> None:
    with pytest.raises(error):
        admit(call, headers)


def test_an_unsupported_version_is_told_what_is_supported() -> None:
    with pytest.raises(UnsupportedVersion) as raised:
        admit(with_meta(**{messages.VERSION_KEY: "1900-01-01"}), None)

    assert raised.value.data == {
        "supported": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"],
        "requested": "1900-01-01",
    }


def test_client_info_may_be_missing() -> None:
    admit(CALL, None)


@pytest.mark.parametrize(
    ("version", "method", "meta", "modern"),
    [
        (b"2026-07-28", "tools/list", True, True),
        (b"2026-07-28", "tools/list", False, True),
        (b"1900-01-01", "tools/list", False, True),
        (b"2025-11-25", "tools/list", False, False),
        (b"2025-11-25", "tools/list", True, True),
        (None, "tools/list", True, True),
        (None, "tools/list", False, False),
        (None, "initialize", False, False),
        (b"2026-07-28", "initialize", False, False),
        (b"2026-07-28", "initialize", True, True),
    ],
)
def test_the_era_is_told_by_how_the_client_opens(version: bytes | None, method: str, meta: bool, modern: bool) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META} if meta else {}}
    headers = {} if version is None else {b"mcp-protocol-version": version}

    assert messages.is_modern(headers, messages.decode(json.encode(body))) is modern


def test_a_peer_cannot_replace_the_raw_parameters() -> None:
    message = messages.decode(
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"dev.trunkline/raw":{"x":1},"name":"n"}}'
    )

    assert bytes(messages.decode_params(message).raw) == b'{"dev.trunkline/raw":{"x":1},"name":"n"}'


def test_a_notification_has_no_id() -> None:
    assert messages.decode(messages.notification("notifications/cancelled", {"requestId": 1})).id is UNSET
