"""Every command of the page about storage runs, and prints what the page shows."""

import re
import shlex
from pathlib import Path

import pytest

from tests.storage.postgres import Server
from trunkline.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs/storage.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = "postgresql://trunkline@db.example.com/trunkline"


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(PAGE.read_text("utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """A line without what differs from run to run: names of keys, times."""
    return re.sub(r"\b[0-9a-f]{8}\b", "KEY", re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", line))


def test_the_commands_of_the_page_run(
    postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    postgresql.execute("DROP DATABASE IF EXISTS documented WITH (FORCE)")
    postgresql.execute("CREATE DATABASE documented")
    url = postgresql.url("documented")

    for command, printed in commands():
        program, *arguments = shlex.split(command.replace(SHOWN, url))

        assert program == "trunkline"
        assert main(arguments) == 0, command
        said = capsys.readouterr().out.replace(url, SHOWN)
        assert [shape(line) for line in said.splitlines()] == [shape(line) for line in printed], command


def test_the_page_shows_every_command() -> None:
    shown = {" ".join(command.split()[1:3]) for command, _ in commands()}

    assert shown == {"db upgrade", "db status", "keys new", "keys rotate", "keys list", "keys prune"}
