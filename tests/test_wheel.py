"""The wheel: what a stranger gets from `pip install trunkline` is complete and runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=clean, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with nothing but the wheel and what it depends on."""
    place = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--wheel", "--out-dir", place, ROOT, cwd=place)
    run(UV, "venv", "--python", sys.executable, place / "venv", cwd=place)
    (wheel,) = place.glob("*.whl")
    run(UV, "pip", "install", "--python", place / "venv" / "bin" / "python", wheel, cwd=place)
    return place


@pytest.mark.timeout(300)
def test_the_command_is_there(installed: Path) -> None:
    command = installed / "venv" / "bin" / "trunkline"

    assert run(command, "--version", cwd=installed).startswith("trunkline 0.")
    assert "trunkline up mcp.json" in run(command, "--help", cwd=installed)


@pytest.mark.timeout(300)
def test_a_server_in_ten_lines_is_called_through_the_command(installed: Path) -> None:
    (installed / "weather.py").write_text((ROOT / "examples" / "weather.py").read_text())
    command = installed / "venv" / "bin" / "trunkline"

    assert (
        run(command, "call", "weather.py", "forecast", "city=Oslo", "days=3", cwd=installed) == "Oslo: sun for 3 days\n"
    )
    assert run(command, "read", "weather.py", "weather://Rome", cwd=installed) == "Rome: sun\n"


@pytest.mark.timeout(300)
def test_the_tables_of_a_database_are_made_from_the_wheel_alone(installed: Path) -> None:
    command = installed / "venv" / "bin" / "trunkline"

    assert (
        run(command, "db", "upgrade", "sqlite:///state.db", cwd=installed)
        == "sqlite:///state.db: ran core_0001, tasks_0001\n"
    )


def test_the_wheel_holds_types_licence_and_nothing_else(installed: Path) -> None:
    (wheel,) = installed.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert "trunkline/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"trunkline"}
