"""Environment files, with the quoting and comments people write in them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigError
from trunkline.portable.dotenv import parse_env, read_env_file


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# only\n\n  # comments", {}),
        ("A=1", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("  export A = some words  # why\n", {"A": "some words"}),
        ("A=", {"A": ""}),
        ("A= # nothing\nB=2", {"A": "", "B": "2"}),
        ("A=a#b", {"A": "a#b"}),
        ("A='a # b' # c", {"A": "a # b"}),
        (r"A='a\n$B'", {"A": r"a\n$B"}),
        (r'A="a\n\"b\" \$C \x"', {"A": 'a\n"b" $C \\x'}),
        ('A=`it\'s "it"`', {"A": 'it\'s "it"'}),
        ('KEY="-----BEGIN\nabc\n-----END"\nB=2', {"KEY": "-----BEGIN\nabc\n-----END", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=it's\nB=a=b", {"A": "it's", "B": "a=b"}),
        ("\ufeffA=1", {"A": "1"}),
        ("a.b-c_1=x", {"a.b-c_1": "x"}),
    ],
)
def test_values(text: str, values: dict[str, str]) -> None:
    assert parse_env(text, ".env") == values


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("A=1\nhunter2\n", 2, "is not NAME=value"),
        ("1A=hunter2", 1, "is not NAME=value"),
        ("A=1\n\nB='hunter2", 3, "opens a quote that is never closed"),
        ('A="a" hunter2', 1, "has text after the closing quote"),
    ],
)
def test_a_broken_line_is_told_by_number_and_never_shown(text: str, line: int, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_env(text, ".env")

    assert caught.value.message == f".env:{line}: this line {what}"


@given(st.text(st.sampled_from("AB= '\"`\\#\n\r\texport$")) | st.text())
def test_any_text_is_parsed_or_complained_about(text: str) -> None:
    try:
        values = parse_env(text, ".env")
    except ConfigError as error:
        assert error.message.startswith(".env:")
    else:
        assert all("=" not in name for name in values)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text().filter(lambda t: "\r" not in t)))
def test_quoting_carries_any_value(values: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = "\n".join(f"{name}={quoted(value)}" for name, value in values.items())

    assert parse_env(text, ".env") == values


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_bytes(b"A=\xff")

    with pytest.raises(ConfigError, match=r"x\.env: is not UTF-8"):
        read_env_file(tmp_path / "x.env")
