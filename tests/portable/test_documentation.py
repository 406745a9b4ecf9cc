"""Every configuration shown in docs/configuration.md is read, and says what the page says."""

import re
from pathlib import Path

import pytest

from trunkline.portable.interpolate import Answers, resolve
from trunkline.portable.jsonc import parse
from trunkline.portable.read import parse_document

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BLOCKS = re.findall(r"^```jsonc?\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
ENVIRONMENT = {"HOME": "/home/ada", "GITHUB_TOKEN": "t", "API_KEY": "k"}


@pytest.mark.parametrize("text", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_is_read_and_resolved(text: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgres://localhost\n")
    document = parse_document(text, "mcp.json")

    assert document.entries
    answers = Answers(document.inputs, lambda wanted: wanted.default or "answer")
    for entry in document.entries:
        resolve(entry, ENVIRONMENT, answers, tmp_path)


def test_the_page_has_an_example_for_every_shape() -> None:
    shapes = {parse_document(text, "mcp.json").format for text in BLOCKS}

    assert shapes == {"mcpServers", "servers", "context_servers", "root", "list"}


def test_the_page_names_every_member_the_examples_use() -> None:
    page = PAGE.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    members = {step for text in BLOCKS for trail in parse(text, "f").lines for step in trail[-1:]}
    known = {member for member in members if isinstance(member, str) and re.fullmatch(r"[a-z]+[A-Za-z_]*", member)}
    servers = {entry.name for text in BLOCKS for entry in parse_document(text, "f").entries}

    assert {member for member in known - servers if f"`{member}`" not in prose} == set()
