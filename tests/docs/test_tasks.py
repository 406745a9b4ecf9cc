"""Every command of the page about tasks runs in a terminal of 80 columns, and prints what the page shows.

Those that go on, `trunkline up` and `trunkline worker`, are tried by themselves: the others need tasks that wait.
"""

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import TRUNKLINE, Up
from tests.cli.test_worker import Worker
from tests.docs.test_snippets import blocks

PAGE = Path(__file__).resolve().parents[2] / "docs/tasks.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ID = re.compile(r"\bt-[A-Za-z0-9_-]{24}")
SHOWN_URL = "http://127.0.0.1:8808/mcp"

pytestmark = pytest.mark.timeout(180)


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
    """A line without what differs from run to run: ids, times, how wide columns are."""
    line = ID.sub("ID", re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", line))
    return " ".join(re.sub(r"\b\d+(\.\d+)? ?[smhd]\b", "SPAN", line).split())


def in_terminal(words: list[str]) -> tuple[int, list[str]]:
    """Exit code and lines of a command in a terminal of 80 columns."""
    out, inner = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(words, stdin=inner, stdout=inner, stderr=inner, env=environment)
    os.close(inner)
    seen = b""
    while True:
        try:
            chunk = os.read(out, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(out)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    return process.wait(30), [line.rstrip() for line in plain.replace("\r", "").splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where `reports.py` of the page is."""
    monkeypatch.chdir(tmp_path)
    Path("reports.py").write_text(blocks(PAGE)[0])
    yield tmp_path


def test_the_commands_of_the_page_run(folder: Path) -> None:
    first, *rest = commands()
    assert first[0].startswith("trunkline up ")
    up = Up(*shlex.split(first[0])[2:])
    ids: dict[str, str] = {}
    try:
        for command, printed in rest:
            if command.startswith("trunkline worker "):
                continue
            for shown, real in ids.items():
                command = command.replace(shown, real)
            program, *words = shlex.split(command.replace(SHOWN_URL, up.url))
            assert program == "trunkline"
            code, said = in_terminal([TRUNKLINE, *words])
            assert code == 0, (command, said)
            assert [shape(line) for line in said] == [shape(line) for line in printed], command
            ids |= dict(zip(ID.findall("\n".join(printed)), ID.findall("\n".join(said)), strict=True))
    finally:
        up.stop()


def test_the_worker_of_the_page_runs(folder: Path) -> None:
    [command] = [command for command, _ in commands() if command.startswith("trunkline worker ")]

    assert Worker(*shlex.split(command)[2:]).end() == 0


def test_the_page_names_every_action_and_status() -> None:
    from trunkline.cli.task_arguments import _SHOWN

    text = PAGE.read_text("utf-8")
    for name in ("list", "show", "watch", "cancel", "retry", "purge", *_SHOWN):
        assert re.search(rf"`[^`]*\b{name.replace('_', '[_ ]')}\b", text), name


def test_the_page_has_every_part_of_a_policy() -> None:
    from trunkline import Retry, TaskPolicy

    text = PAGE.read_text("utf-8")
    for name in TaskPolicy.__struct_fields__:
        assert f"| `{name}` |" in text or name == "after"
    assert f"`Retry({', '.join(Retry.__struct_fields__)})`" in text
