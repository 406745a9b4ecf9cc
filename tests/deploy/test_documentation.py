"""What docs/deployment.md shows is what there is."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from trunkline.assembly.settings import read_settings
from trunkline.cli.arguments import parser
from trunkline.errors import Interrupted

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"(?:^\$ |`)trunkline (up [^`\n]+)", PAGE, re.MULTILINE))
def test_its_commands_are_commands(command: str) -> None:
    if "--workers N" not in command:
        assert parser().parse_args(shlex.split(command)).module == "up"


@pytest.mark.parametrize(
    "text",
    [*re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL), *re.findall(r"`(listen: \{.*?\}|storage: memory)`", PAGE)],
)
def test_its_configuration_is_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "trunkline.yaml").write_text(text)

    assert read_settings(str(tmp_path / "trunkline.yaml")).faults == ()
    assert yaml.safe_load(text)


def test_its_error_is_the_error() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)

    assert json.loads(shown) == Interrupted("tools/call").wire()
