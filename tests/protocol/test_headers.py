"""The Mcp-* headers: Streamable HTTP, Request Metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import HeaderMismatch, InvalidRequest
from trunkline.protocol import headers, schema

SCALARS = st.text() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        (42, "42"),
        (-7, "-7"),
        (True, "true"),
        ("", ""),
    ],
)
def test_the_specification_s_examples(value: str | int | bool, encoded: str) -> None:
    assert headers.encode_value(value) == encoded


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_decoded_header_is_the_value(value: str) -> None:
    encoded = headers.encode_value(value)

    assert encoded.isascii()
    assert "\n" not in encoded and "\r" not in encoded
    assert headers.decode_value(encoded.encode(), "Mcp-Name") == value


@given(st.binary())
def test_any_bytes_decode_or_are_a_header_mismatch(value: bytes) -> None:
    try:
        headers.decode_value(value, "Mcp-Name")
    except HeaderMismatch as error:
        assert error.code == -32020


@pytest.mark.parametrize(
    "value", [b"=?base64?SGVsbG8?=", b"=?base64?SGVs!G8=?=", b"=?base64?/w==?=", b"caf\xc3\xa9", b"a\x00b"]
)
def test_bad_base64_and_bad_characters_are_refused(value: bytes) -> None:
    with pytest.raises(HeaderMismatch):
        headers.decode_value(value, "Mcp-Name")


@pytest.mark.parametrize("value", [b"=?base64?SGVsbG8=", b"SGVsbG8=?=", b"=?BASE64?SGVsbG8=?="])
def test_without_the_whole_wrapper_a_value_is_literal(value: bytes) -> None:
    assert headers.decode_value(value, "Mcp-Name") == value.decode()


def test_blanks_around_a_value_do_not_count_whatever_the_http_parser_left() -> None:
    read = headers.read([(b"mcp-name", b"  add \t")])

    headers.check_mirror(read, b"mcp-name", "Mcp-Name", "add")


@pytest.mark.parametrize(
    "name", [b"mcp-method", b"mcp-name", b"mcp-param-region", b"host", b"authorization", b"content-length"]
)
def test_a_deciding_header_sent_twice_is_refused(name: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        headers.read([(name, b"a"), (name, b"a")])


def test_other_headers_may_repeat() -> None:
    assert headers.read([(b"accept", b"a/b"), (b"accept", b"c/d")]) == {b"accept": b"a/b,c/d"}


@pytest.mark.parametrize("value", [None, b"ADD", b"add2", b"", b"=?base64?YWRkMg==?="])
def test_a_name_that_is_missing_or_other_is_a_mismatch(value: bytes | None) -> None:
    with pytest.raises(HeaderMismatch):
        headers.check_mirror({} if value is None else {b"mcp-name": value}, b"mcp-name", "Mcp-Name", "add")


PARAMS = schema.header_params(
    {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "where": {"type": "object", "properties": {"zone": {"type": "integer", "x-mcp-header": "Zone"}}},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"},
        },
    }
)


@given(SCALARS.filter(lambda value: isinstance(value, str)), st.integers(-(2**53) + 1, 2**53 - 1), st.booleans())
def test_what_a_client_mirrors_a_server_accepts(region: str, zone: int, dry: bool) -> None:
    arguments = {"region": region, "where": {"zone": zone}, "dry": dry}
    try:
        region.encode()
    except UnicodeEncodeError:
        return

    sent = headers.mirror_params(PARAMS, arguments)
    received = headers.read([(name.lower().encode(), value.encode()) for name, value in sent])

    headers.check_params(PARAMS, received, arguments)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"region": "eu"}, {}),
        ({"region": "eu"}, {b"mcp-param-region": b"us"}),
        ({"region": None}, {b"mcp-param-region": b"eu"}),
        ({}, {b"mcp-param-region": b"eu"}),
        ({"where": {"zone": 4}}, {b"mcp-param-zone": b"5"}),
        ({"where": {"zone": 10}}, {b"mcp-param-zone": b"1_0"}),
        ({"where": {"zone": 9007199254740992}}, {b"mcp-param-zone": b"9007199254740993"}),
        ({"dry": True}, {b"mcp-param-dry": b"True"}),
    ],
)
def test_headers_and_arguments_that_differ_are_refused(arguments: object, sent: dict[bytes, bytes]) -> None:
    with pytest.raises(HeaderMismatch):
        headers.check_params(PARAMS, sent, arguments)


def test_integers_compare_as_numbers() -> None:
    headers.check_params(PARAMS, {b"mcp-param-zone": b"42.0"}, {"where": {"zone": 42}})


def test_null_and_absent_values_are_not_mirrored() -> None:
    assert headers.mirror_params(PARAMS, {"region": None, "where": {}}) == []


@pytest.mark.parametrize(
    ("accept", "both"),
    [
        (b"application/json, text/event-stream", True),
        (b"text/event-stream;q=0.9,application/json", True),
        (b"*/*", True),
        (b"application/*, text/*", True),
        (b"application/json", False),
        (b"text/event-stream", False),
        (b"application/json, text/event-stream;q=0", False),
        (b"", False),
    ],
)
def test_accept_must_admit_json_and_streams(accept: bytes, both: bool) -> None:
    assert headers.accepts_both(accept) is both
