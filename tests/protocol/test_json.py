"""JSON as peers must see it: nothing lost, nothing read in two ways."""

import json as stdlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ParseError
from trunkline.protocol import json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_parsed_is_encoded_again_without_loss(value: object) -> None:
    try:
        text = stdlib.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return

    assert stdlib.loads(json.encode(json.parse(text))) == value


@pytest.mark.parametrize(
    "digits", ["0.10", "1e400", "1E5", "-0.0", "12345678901234567890123", "0.1000000000000000055511"]
)
def test_numbers_keep_their_digits(digits: str) -> None:
    assert json.encode(json.parse(f'{{"n":{digits}}}')) == f'{{"n":{digits}}}'.encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b'{"a":{"b":1,"b":1}}', "duplicate key 'b'"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"\xff", "not UTF-8"),
        (b"", "Expecting value"),
        (b"[1,]", "Expecting value"),
        (b"[" * 100_000, "deeper than 128"),
        (b'{"a":' * 100_000, "deeper than 128"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        json.parse(text)


def test_brackets_in_strings_are_no_nesting() -> None:
    text = stdlib.dumps(["[" * 1000, '\\"[{' * 100])

    assert json.parse(text) == stdlib.loads(text)


def test_number_reads_what_was_kept_as_digits() -> None:
    assert json.number(msgspec.Raw(b"0.10")) == 0.1
    assert json.number(3) == 3
    assert json.number(True) is None
    assert json.number("3") is None
