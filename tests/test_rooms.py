"""The import contract of pyproject.toml holds, and it breaks where it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [*map(str, command), "--config", str(ROOT / "pyproject.toml")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("protocol/headers.py", "import trunkline.engine", "trunkline.protocol.headers:1 imports trunkline.engine"),
        ("protocol/headers.py", "import asyncio", "trunkline.protocol.headers:1 imports asyncio"),
        ("engine/context.py", "from trunkline import Server", "trunkline.engine.context:1 imports trunkline"),
        ("extensions/tasks.py", "import trunkline.extensions.events", "parts of extensions do not import each other"),
        ("errors.py", "import trunkline.engine", "trunkline.errors:1 imports trunkline.engine"),
        ("drawer/odds.py", "import trunkline.engine", "drawer is not in the table of rooms"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, line: str, fault: str) -> None:
    package = tmp_path / "trunkline"
    for module in ("__init__", "errors", "engine/__init__", "engine/context", "extensions/__init__"):
        write(package / f"{module}.py", "")
    write(package / "extensions/events.py", "import trunkline.engine.context\nimport trunkline.errors\n")
    before = lint(tmp_path)
    write((package / file).parent / "__init__.py", "")
    write(package / file, line)

    outcome = lint(tmp_path)

    assert before.returncode == 0, before.stdout
    assert outcome.returncode == 1
    assert fault in " ".join(outcome.stdout.split())


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
