"""The parser: JSON is JSON, comments and trailing commas are nothing, everything else is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigError
from trunkline.portable.jsonc import parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
GAPS = st.sampled_from(["", " ", "\n", "\r\n", "\t", "// one\n", '/* { "two": */', "/**/", "// /* \n"])
SCRAPS = st.lists(
    st.sampled_from([*'{}[]:,"\\/*-+.eE019 \n\tx\x00\ud800é', "true", "null", "//", "/*", "*/", '"a"', "\\u"]),
    max_size=40,
)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_json_means_what_json_means(value: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    assert parse(text, "f").value == json.loads(text)


@given(VALUES, st.data())
def test_gaps_and_trailing_commas_change_nothing(value: object, data: st.DataObject) -> None:
    assert parse(decorated(value, data), "f").value == value


@given(SCRAPS.map("".join) | st.text())
def test_any_text_is_parsed_as_json_would_or_refused(text: str) -> None:
    try:
        value = parse(text, "f").value
    except ConfigError as error:
        assert error.message.startswith("f:")
        return
    try:
        expected = json.loads(text)
    except ValueError:
        assert "//" in text or "/*" in text or "," in text or text.startswith("\ufeff")
    else:
        assert value == expected


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "1:1", "the file is empty"),
        ("// only this", "1:13", "ends too early"),
        ('{"a": 1, "a": 2}', "1:13", 'the key "a" is given twice, first on line 1'),
        ('{\n  "a": 1\n  "b": 2\n}', "3:3", '"," or "}" is expected'),
        ('{"a" 1}', "1:6", '":" is expected'),
        ("{a: 1}", "1:2", 'a key in double quotes or "}" is expected'),
        ("[1,,2]", "1:4", "a JSON value is expected"),
        ("[,]", "1:2", "a JSON value is expected"),
        ("[1] 2", "1:5", "the file goes on"),
        ("/* [1]", "1:1", 'this comment is not closed with "*/"'),
        ('["a\nb"]', "1:2", "this string is not closed"),
        ('["\\x"]', "1:2", "an escape that JSON does not know"),
        ('["\\ud800"]', "1:2", "half of a surrogate pair"),
        ("[NaN]", "1:2", "a JSON value is expected"),
        ("[01]", "1:3", '"," or "]" is expected'),
        ("[1e999]", "1:2", "out of range"),
        ("[" + "1" * 5000 + "]", "1:2", "too many digits"),
        ("[" * 5000, "1:102", "nested deeper than 100 levels"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, place: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "mcp.json")

    assert caught.value.message.startswith(f"mcp.json:{place}: not valid JSON: ")
    assert what in caught.value.message


def test_every_value_knows_its_line() -> None:
    parsed = parse('{\n "a": [\n  1,\n  {"b": 2}],\n "c":\n 3}', "f")

    assert parsed.lines == {(): 1, ("a",): 2, ("a", 0): 3, ("a", 1): 4, ("a", 1, "b"): 4, ("c",): 5}


def decorated(value: object, data: st.DataObject) -> str:
    """A value as JSONC, with a gap or trailing comma wherever one may stand."""

    def gap() -> str:
        return data.draw(GAPS)

    def comma() -> str:
        return data.draw(st.sampled_from(["", ","])) + gap()

    if isinstance(value, dict):
        members = [f"{gap()}{json.dumps(key)}{gap()}:{decorated(item, data)}" for key, item in value.items()]
        return gap() + "{" + ",".join(members) + gap() + (comma() if members else "") + "}" + gap()
    if isinstance(value, list):
        items = [decorated(item, data) for item in value]
        return gap() + "[" + ",".join(items) + (comma() if items else gap()) + "]" + gap()
    return gap() + json.dumps(value) + gap()
