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


def test_half_a_character_does_not_keep_the_rest_from_travelling() -> None:
    parsed = json.parse(rb'{"cut \ud83d": ["\ud83d\ude00", "\ude00", {"a": "b \uD83D"}]}', mend=True)

    assert stdlib.loads(json.encode(parsed)) == {"cut \ufffd": ["\U0001f600", "\ufffd", {"a": "b \ufffd"}]}


@pytest.mark.parametrize("text", [b"1" * 5000, b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", b"{", b"\xff"])
def test_what_cannot_be_decoded_for_people_is_a_parse_error_too(text: bytes) -> None:
    with pytest.raises(ParseError):
        json.plain(text)


def test_number_reads_what_was_kept_as_digits() -> None:
    assert json.number(msgspec.Raw(b"0.10")) == 0.1
    assert json.number(3) == 3
    assert json.number(True) is None
    assert json.number("3") is None


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_nesting_is_counted_outside_of_strings(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    fits = opening * json.MAX_DEPTH + "1" + closing * json.MAX_DEPTH
    quoted = stdlib.dumps({"text": '\\"[{' * 500, "\\": "[" * 500})

    json.check_depth(fits.encode())
    json.check_depth(f"[{','.join([fits[len(opening) : -1]] * 9)}]".encode())
    json.check_depth(quoted.encode())
    with pytest.raises(ParseError, match="nested deeper"):
        json.check_depth(f"[{fits}]".encode())


def test_an_endless_string_full_of_quotes_is_no_burden() -> None:
    with pytest.raises(ParseError):
        json.parse(b'{"a":"' + b'\\"[' * 500_000)


@pytest.mark.parametrize("text", [rb'"\ud800"', rb'{"a":["\udc00\ud800"]}', rb'{"\uD800":1}'])
def test_half_of_a_surrogate_pair_is_refused(text: bytes) -> None:
    with pytest.raises(ParseError):
        json.parse(text)
    with pytest.raises(ParseError):
        json.plain(text)


def test_surrogate_pairs_and_their_look_alikes_are_read() -> None:
    assert json.parse(rb'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", r"\ud800"]


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xed\xa0\x80"', b"[" * 100_000, b"NaN", b""])
def test_plain_values_come_from_json_alone(raw: bytes) -> None:
    with pytest.raises(ParseError):
        json.plain(raw)


@pytest.mark.parametrize(
    "text", [b'{"a":[1,true,null,"\xc3\xa4"]}', b'{"a":18446744073709551616}', b'{"a":0.5}', b'[{"a":{}},-0.0,1e16]']
)
def test_spaces_change_nothing_but_the_way_it_is_read(text: bytes) -> None:
    compact, spaced = json.parse(text), json.parse(text.replace(b":", b" : ").replace(b",", b" , "))
    assert json.encode(compact) == json.encode(spaced) == text
