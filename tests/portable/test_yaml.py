"""YAML is read with one meaning, or refused with a place and a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigError
from trunkline.portable.yaml import parse_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PIECES = ["a", "b: ", "- ", "\n", "  ", "{", "}", "[", "]", ",", "&x ", "*x", "<<: ", "!!str ", "? ", "|\n", "'", '"']


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", {"a": "no"}),
        ("a: on", {"a": "on"}),
        ("a: True", {"a": True}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 0o17", {"a": 15}),
        ("a: 017", {"a": 17}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 2026-07-28", {"a": "2026-07-28"}),
        ("a: '1'", {"a": "1"}),
        ("1: a", {"1": "a"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("- &x {b: 1}\n- &y {b: 2, e: 3}\n- <<: [*x, *y]", [{"b": 1}, {"b": 2, "e": 3}, {"b": 1, "e": 3}]),
    ],
)  # fmt: skip
def test_values_are_those_of_the_core_schema(text: str, value: object) -> None:
    assert parse_yaml(text, "f").value == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("a: 1\nb:\n  c: 1\n  c: 2", 'f:4:3: not valid YAML: the key "c" is given twice, first on line 3'),
        ("a: !!python/object/apply:os.system [x]", "f:1:4: not valid YAML: a tag"),
        ("!x a: 1", "without a tag"),
        ("[a]: 1", "a key is a text"),
        ("a: &x [*x]", "refers to an anchor that is not complete"),
        ("a: *gone", "refers to an anchor"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("a: .inf", "no number that can be counted to"),
        ("a: 1e999", "out of range"),
        (f"a: {'9' * 5000}", "too many digits"),
        ("[" * 200, "nested deeper than 100 levels"),
        ("a: b: c", "f:1:5: not valid YAML: mapping values are not allowed here"),
        ('a: "\\uD800"', "half of a surrogate pair"),
        ('a: "\\UFFFFFFFF"', "stands for no character"),
        ("a: \x01", "a character that no text file has"),
        ("<<: 5", "takes a mapping"),
    ],
)
def test_what_has_no_one_meaning_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")

    assert said in caught.value.message


def test_copies_of_copies_end() -> None:
    levels = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))

    with pytest.raises(ConfigError, match=r"copy more than 100,000 values"):
        parse_yaml("k0: &a0 [x]\n" + levels, "f")


def test_the_line_of_every_value_is_known() -> None:
    lines = parse_yaml("a: 1\nb:\n  - c\n  - d: 2\nx: &x {y: 1}\nz:\n  <<: *x\n", "f").lines

    assert lines[("b", 1, "d")] == 4
    assert lines[("z", "y")] == 7


@given(st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_raises_anything_but_a_configuration_error(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except ConfigError as error:
        assert error.message.startswith("f")
