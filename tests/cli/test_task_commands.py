"""`trunkline tasks`: what operators see, what they never see, and what a mistake is answered with."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from tests.cli.test_commands import TRUNKLINE
from tests.extensions.tasks.storing import emptied, new, run_one
from trunkline.cli import main
from trunkline.engine.doors import InputRequest
from trunkline.engine.principal import ANONYMOUS
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import NewTask, Task
from trunkline.extensions.tasks.running import Origin, _encode
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage.storage import open_storage

Fill = Callable[[TaskStore], Coroutine[object, object, list[Task]]]
SECRET = "hunter2"
ASK = InputRequest("elicitation/create", {"message": f"Use {SECRET}?", "requestedSchema": {"type": "object"}})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'trunkline.db'}"
    return emptied(request.getfixturevalue("postgresql"))


def heed_interrupts() -> None:
    """As from a terminal: what a shell runs in the background is told to ignore them, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def called(tool: str = "report", policy: TaskPolicy | None = None) -> NewTask:
    """A call with a secret in it, stored as it is."""
    params = json.dumps({"name": tool, "arguments": {"password": SECRET}}).encode()
    origin = Origin("tools/call", params, "2026-07-28", ANONYMOUS, {}, None, "0" * 32)
    return NewTask("ann", None, tool, policy or TaskPolicy(), _encode(origin), b'{"chain":"c"}')


def filled(url: str, fill: Fill, scope: str = "app") -> list[Task]:
    """Do something with the store, in its own loop."""

    async def work() -> list[Task]:
        async with open_storage(url, branches=[TASKS]) as storage:
            return await fill(TaskStore(storage, scope))

    return asyncio.run(work())


async def several(store: TaskStore) -> list[Task]:
    """Three tasks: one that failed, one that asks, one that waits."""
    made = []
    for tool in ("failing", "asking", "waiting"):
        made.append((await store.create(called(tool), worker=None if tool == "waiting" else "w"))[0])
    await store.finish(made[0].id, 1, "failed", json.dumps({"code": 1, "message": SECRET}).encode(), "no luck", 60)
    await store.park(made[1].id, 1, {"q": ASK}, b'{"chain":"c"}')
    return made


def test_every_action_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["worker"],
        ["tasks"],
        *(["tasks", name] for name in ("list", "show", "watch", "cancel", "retry", "purge")),
    ):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert f"examples:\n  trunkline {' '.join(words)}" in capsys.readouterr().out


def test_a_list_is_readable_and_its_pages_follow_each_other(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = filled(url, several)

    assert main(["tasks", "list", url, "--limit", "2"]) == 0
    said = capsys.readouterr()
    rows = said.out.splitlines()
    assert rows[0].split() == ["task", "status", "tool", "try", "queued", "ran", "age", "server", "owner", "message"]
    assert [row.split()[0] for row in rows[1:]] == [made[2].id, made[1].id]
    assert "input required" in rows[2]
    following = said.err.strip().partition("more: trunkline ")[2].split()
    assert main(following) == 0
    said = capsys.readouterr()
    assert [row.split()[0] for row in said.out.splitlines()[1:]] == [made[0].id]
    assert "no luck" in said.out
    assert said.err == "1 task\n"


def test_a_list_can_be_read_by_scripts(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = filled(url, several)
    filled(url, several, scope="other")

    assert main(["tasks", "list", url, "--json", "--server", "app", "--status", "failed", "--status", "working"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in found] == [made[2].id, made[0].id]
    assert (found[1]["status"], found[1]["server"], found[1]["owner"]) == ("failed", "app", "ann")
    assert (found[1]["attempt"], found[1]["attempts"], found[1]["nextAttempt"]) == (1, 1, None)
    for options in (["--tool", "asking"], ["--owner", "nobody"], ["--older-than", "1h"], ["--since", "1h"]):
        assert main(["tasks", "list", url, "--json", *options]) == 0
    outs = capsys.readouterr().out.split("\n]\n")
    assert "t-" in outs[0]
    assert [line for line in "".join(outs).splitlines() if '"tool"' in line].count('    "tool": "asking",') == 4


def test_what_a_task_was_called_with_is_shown_to_who_asks_for_it_only(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = filled(url, several)
    for words in (["list"], ["list", "--json"], *(["show", one.id] for one in made), ["show", made[1].id, "--json"]):
        assert main(["tasks", words[0], url, *words[1:]]) == 0
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err

    assert main(["tasks", "show", url, made[0].id, "--arguments"]) == 0
    assert f'"password": "{SECRET}"' in capsys.readouterr().out
    assert main(["tasks", "show", url, made[0].id, "--outcome", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == {"code": 1, "message": SECRET}
    assert main(["tasks", "show", url, made[1].id, "--outcome"]) == 0
    assert f"Use {SECRET}?" in capsys.readouterr().out


def test_a_page_tells_of_each_attempt(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def retrying(store: TaskStore) -> list[Task]:
        task, _ = await store.create(called(policy=TaskPolicy(retry=Retry(attempts=3))), worker="w1")
        await store.retry(task.id, 1, "Attempt 1 failed: busy", 3600, None)
        return [task]

    [task] = filled(url, retrying)
    assert main(["tasks", "show", url, task.id]) == 0
    page = {line.strip().split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "2 of 3" in page["attempts"]
    assert "retry in 59m" in page["status"]
    assert "in 59m" in page["next attempt"]
    assert "at w1: Attempt 1 failed: busy" in page["1"]
    assert "not begun" in page["2"]


def test_texts_of_others_do_nothing_to_a_terminal(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def forged(store: TaskStore) -> list[Task]:
        task, _ = await store.create(called("\x1b[2J[red]tool"), worker="w")
        await store.tell(task.id, 1, "\x1b]0;title\x07[bold]x")
        return [task]

    [task] = filled(url, forged)
    for words in (["list", url], ["show", url, task.id], ["show", url, task.id, "--arguments", "--outcome"]):
        assert main(["tasks", *words]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said
        assert "[red]tool" in said


def test_cancel_and_retry_say_what_came_of_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = filled(url, several)

    assert main(["tasks", "cancel", url, made[2].id, made[0].id]) == 0
    said = capsys.readouterr()
    assert said.out == f"{made[2].id}: cancelled\n"
    assert said.err == f"{made[0].id}: had ended already, as failed\n"
    assert main(["tasks", "retry", url, made[0].id]) == 0
    again = capsys.readouterr().out.split()[-1]
    assert main(["tasks", "show", url, again]) == 0
    assert f"Made by an operator from {made[0].id}" in " ".join(capsys.readouterr().out.split())
    assert main(["tasks", "retry", url, made[1].id]) == 1
    assert "it waits for its client's answers" in capsys.readouterr().err


def test_purge_asks_first_and_spares_what_has_not_ended(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled(url, several)

    assert main(["tasks", "purge", url]) == 2
    assert "say --yes" in capsys.readouterr().err
    assert main(["tasks", "purge", url, "--status", "running", "--yes"]) == 2
    assert "cancel those first" in capsys.readouterr().err
    assert main(["tasks", "purge", url, made[1].id, "--yes"]) == 1
    assert "has not ended" in capsys.readouterr().err
    assert main(["tasks", "purge", url, "--older-than", "1h", "--yes"]) == 0
    assert "No task" in capsys.readouterr().out
    assert main(["tasks", "purge", url, "--yes"]) == 0
    assert capsys.readouterr().out == "1 task purged\n"
    assert main(["tasks", "list", url, "--json"]) == 0
    assert [one["status"] for one in json.loads(capsys.readouterr().out)] == ["waiting", "input_required", "expired"]
    assert main(["tasks", "show", url, made[0].id, "--arguments"]) == 0
    assert SECRET not in capsys.readouterr().out
    assert main(["tasks", "purge", url, "--tombstones", "--yes"]) == 0
    assert main(["tasks", "show", url, made[0].id]) == 1


def test_many_are_purged_batch_by_batch(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.cli.tasks._BATCH", 10)

    async def many(store: TaskStore) -> list[Task]:
        for number in range(27):
            task, _ = await store.create(new(), worker="w")
            if number < 25:
                await store.finish(task.id, 1, "completed", b"{}", None, 60)
        return []

    filled(url, many)
    assert main(["tasks", "purge", url, "--yes"]) == 0
    assert main(["tasks", "purge", url, "--tombstones", "--yes"]) == 0
    assert capsys.readouterr().out == "25 tasks purged\n25 tasks purged\n"
    assert main(["tasks", "list", url, "--limit", "2000", "--json"]) == 0
    assert {one["status"] for one in json.loads(capsys.readouterr().out)} == {"running"}


def test_watch_says_a_line_for_each_change_until_the_task_ends(url: str) -> None:
    async def scene(store: TaskStore) -> list[Task]:
        task, _ = await store.create(called())
        words = [TRUNKLINE, "tasks", "watch", url, task.id]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = await asyncio.to_thread(process.stdout.readline)
        run = await run_one(store)
        await store.tell(task.id, run.run, "half of it")
        second = await asyncio.to_thread(process.stdout.readline)
        while "half of it" not in second:
            second = await asyncio.to_thread(process.stdout.readline)
        await store.finish(task.id, run.run, "completed", b"{}", None, 60)
        rest = await asyncio.to_thread(process.stdout.read)
        assert await asyncio.to_thread(process.wait, 20) == 0
        process.stdout.close()
        assert "waiting" in first and task.id in first
        assert "running" in second
        assert "completed" in rest.splitlines()[-1]
        return []

    filled(url, scene)


def test_watch_follows_all_that_fit(url: str) -> None:
    async def scene(store: TaskStore) -> list[Task]:
        words = [TRUNKLINE, "tasks", "watch", url, "--tool", "report", "--status", "failed", "--json"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
        assert process.stdout is not None
        for tool in ("report", "other"):
            task, _ = await store.create(called(tool), worker="w")
            await store.finish(task.id, 1, "failed", b"{}", "no", 60)
        task, _ = await store.create(called(), worker="w")
        await store.finish(task.id, 1, "failed", b"{}", "no", 60)
        lines = [json.loads(await asyncio.to_thread(process.stdout.readline)) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) == 130
        process.stdout.close()
        assert {line["tool"] for line in lines} == {"report"}
        assert lines[1]["id"] == task.id
        return []

    async def made(store: TaskStore) -> list[Task]:
        return [(await store.create(called("first")))[0]]

    filled(url, made)
    filled(url, scene)


def test_a_mistake_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.db").touch()
    Path("memory.yaml").write_text("storage: memory\nservers: {a: {command: x}}\n")
    Path("plain.py").write_text("from trunkline import Server\nserver = Server('x')\n")
    Path("mcp.json").write_text('{"mcpServers": {"a": {"command": "x"}}}')
    for where, code, said in (
        ("sqlite:///missing.db", 2, "There is no file missing.db"),
        ("sqlite:///empty.db", 2, "No server has kept tasks in sqlite:///empty.db yet"),
        ("mysql://x/y", 2, "is of an unknown kind"),
        ("http://127.0.0.1:8808/mcp", 2, "names no database: use its URL"),
        ("memory.yaml", 2, "keeps everything in memory"),
        ("plain.py", 2, "does not say where it stores"),
        ("mcp.json", 2, "it is made when it is used for the first time"),
        ("postgresql://u:s3cret@127.0.0.1:1/db", 1, "does it run, may you connect?"),
    ):
        assert main(["tasks", "list", where]) == code, where
        printed = capsys.readouterr().err
        assert said in printed
        assert "s3cret" not in printed
    assert not Path("missing.db").exists()


def test_a_task_that_is_not_there_is_said_to_be_so(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled(url, several)
    for words in (["show"], ["cancel"], ["retry"], ["watch"], ["purge", "--yes"]):
        assert main(["tasks", words[0], url, "t-no\x1bsuch", *words[1:]]) == 1
        assert "There is no task t-no\\x1bsuch here; `trunkline tasks list` shows" in capsys.readouterr().err


def test_the_database_of_a_configuration_or_a_server_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trunkline.storage.location import state_file

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("WHERE", str(tmp_path / "named.db"))
    Path("own.json").write_text('{"mcpServers": {"a": {"command": "x"}}}')
    Path("named.yaml").write_text("storage: {url: 'sqlite:///${env:WHERE}'}\nservers: {a: {command: x}}\n")
    Path("served.py").write_text("from trunkline import Server\nserver = Server('x', storage='sqlite:///served.db')\n")
    for target, file in (
        ("own.json", state_file(Path("own.json"), os.environ)),
        ("named.yaml", tmp_path / "named.db"),
        ("served.py", tmp_path / "served.db"),
    ):
        made = filled(f"sqlite:///{file}", several)
        assert main(["tasks", "list", target, "--json"]) == 0
        assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [one.id for one in reversed(made)]


def test_a_list_fits_a_terminal_of_80_columns(url: str) -> None:
    """In a real terminal: no row is broken, and every id is whole."""
    made = filled(url, several)
    import pty

    out, inner = pty.openpty()
    process = subprocess.Popen([TRUNKLINE, "tasks", "list", url], stdout=inner, stderr=subprocess.DEVNULL)
    os.close(inner)
    seen = b""
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        try:
            chunk = os.read(out, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    process.wait(10)
    os.close(out)
    lines = seen.decode().replace("\r", "").splitlines()
    plain = [line for line in (_bare(line) for line in lines) if line.strip()]

    assert len(plain) == 4
    assert all(len(line) <= 80 for line in plain)
    assert [line.split()[0] for line in plain[1:]] == [one.id for one in reversed(made)]


def _bare(line: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", line)
