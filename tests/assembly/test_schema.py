"""The JSON Schema editors use says what the reader accepts."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from trunkline.assembly.schema import json_schema, schema_text
from trunkline.assembly.settings import read_settings
from trunkline.portable.yaml import parse_yaml

DOCS = Path(__file__).parents[2] / "docs"
CHECKED_IN = DOCS / "trunkline.schema.json"
PAGES = {page.name: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}
BLOCKS = [
    text for page in PAGES.values() for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
]


def test_what_is_checked_in_is_what_the_types_say() -> None:
    assert CHECKED_IN.read_text("utf-8") == schema_text(), "run: python tools/generate_schema.py"


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_of_the_documentation_is_accepted_by_both(text: str, tmp_path: Path) -> None:
    (tmp_path / "trunkline.yaml").write_text(text)
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"git": {"command": "git-server"}}}))

    jsonschema.validate(parse_yaml(text, "f").value, json_schema())
    assert read_settings(str(tmp_path / "trunkline.yaml")).faults == ()


def test_the_documentation_shows_a_file_for_editors() -> None:
    assert any(text.startswith(f"# yaml-language-server: $schema={json_schema()['$id']}\n") for text in BLOCKS)


@pytest.mark.parametrize(
    "text",
    [
        "server: {}",
        "servers: {a: {comand: x}}",
        "servers: {a: {command: 5}}",
        "servers: {a: {command: x, args: x}}",
        "servers: {a: {command: x, request_timeout: 0}}",
        "servers: {a: {url: 'http://x', transport: ws}}",
        "servers: {a: {file: x, transport: openapi, operations: {includes: {}}}}",
        "servers: {a: {file: x, transport: openapi, operations: {include: {tags: pets}}}}",
        "listen: {port: 70000}",
        "listen: {path: mcp}",
        "tokens: [{sha256: abc, name: a}]",
        "tokens: [{secret: '${env:A}'}]",
    ],
)
def test_what_the_reader_refuses_the_editor_marks(text: str, tmp_path: Path) -> None:
    (tmp_path / "trunkline.yaml").write_text(text)

    assert read_settings(str(tmp_path / "trunkline.yaml")).faults
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text, "f").value, json_schema())
