"""The configurations of the page about signing the gateway in can be used as they stand."""

import re
from pathlib import Path

import pytest

from trunkline.assembly.plan import Remembered, make_plan
from trunkline.assembly.showing import check
from trunkline.cli.arguments import parser

PAGE = Path(__file__).resolve().parents[2] / "docs/upstream-sign-in.md"
BLOCKS = re.findall(r"^```(yaml|sh)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
ENVIRONMENT = {"REPORTS_SECRET": "one", "IDP_SECRET": "two"}


@pytest.mark.parametrize("text", [text for language, text in BLOCKS if language == "yaml"])
def test_a_configuration_of_the_page_is_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trunkline.yaml"
    path.write_text(text)
    assert check(str(path), ENVIRONMENT) == []
    assert all(entry.auth is not None for entry in make_plan(str(path), ENVIRONMENT, Remembered(None)).entries)


def test_a_command_of_the_page_is_one() -> None:
    (line,) = [text.strip() for language, text in BLOCKS if language == "sh"]
    arguments = parser().parse_args(line.split()[1:])
    assert (arguments.what, arguments.url, arguments.config) == ("login", "tracker", "trunkline.yaml")
