"""Every test that the page about security names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| attack")]
NAMED = re.compile(r"`(tests/[a-z_/0-9]+\.py)::([A-Za-z_0-9:]+)`")


def defined(path: Path) -> set[str]:
    """The tests of a module, as pytest names them."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{one.name}" for one in node.body if hasattr(one, "name")}
    return names


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_an_attack_names_a_test_that_is_there(row: str) -> None:
    named = NAMED.findall(row)
    assert named, "no test is named"
    for path, name in named:
        assert name.rpartition("::")[2].startswith("test_")
        assert name in defined(ROOT / path), f"{path} has no {name}"


def test_there_are_attacks() -> None:
    assert len(ROWS) > 30
