"""`key=value` arguments of `trunkline call`."""

from pathlib import Path

import pytest

from trunkline.cli.pairs import read_pairs
from trunkline.errors import ConfigError

SCHEMA = {
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "tags": {"type": "array"},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["string", "integer"]},
    }
}


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("city=Oslo", {"city": "Oslo"}),
        ("city=3", {"city": "3"}),
        ("city=a=b", {"city": "a=b"}),
        ("city=", {"city": ""}),
        ("days=3", {"days": 3}),
        ("exact=true", {"exact": True}),
        ('tags=["a"]', {"tags": ["a"]}),
        ("limit=null", {"limit": None}),
        ("limit=5", {"limit": 5}),
        ("either=5", {"either": "5"}),
        ("unknown=5", {"unknown": "5"}),
        ("unknown:=5", {"unknown": 5}),
        ("days:=[1]", {"days": [1]}),
    ],
)
def test_text_becomes_what_the_schema_wants(pair: str, expected: dict[str, object]) -> None:
    assert read_pairs([pair], None, SCHEMA) == expected


def test_pairs_are_added_to_a_whole_object() -> None:
    assert read_pairs(["days=2"], '{"city": "Oslo", "days": 1}', SCHEMA) == {"city": "Oslo", "days": 2}


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")

    assert read_pairs([f"city=@{tmp_path}/note.txt"], None, SCHEMA) == {"city": "hello"}


@pytest.mark.parametrize(
    ("pairs", "whole", "named"),
    [
        (["days=three"], None, "days: 'three' is not integer"),
        (["city"], None, "'city' is no argument"),
        (["=x"], None, "'=x' is no argument"),
        (["x:={"], None, "x: '{' is not JSON"),
        (["city=@/no/such/file"], None, "city: /no/such/file cannot be read"),
        ([], "[1]", "a JSON object is needed"),
        ([], "{", "--arguments"),
    ],
)
def test_a_mistake_is_named(pairs: list[str], whole: str | None, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_pairs(pairs, whole, SCHEMA)

    assert named in str(raised.value)
