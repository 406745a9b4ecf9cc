"""`trunkline worker` beside a `trunkline up` that only serves: real processes, killed and told to stop."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_commands import TRUNKLINE, WEATHER, Up, run
from tests.extensions.tasks.calling import Caller
from tests.extensions.tasks.storing import emptied

pytestmark = pytest.mark.timeout(150)

SERVER = """
import asyncio, os, sys
from trunkline import Context, Retry, Server, TaskPolicy

server = Server("worked", storage=os.environ["DATABASE"])


def note(*words):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(" ".join(map(str, (*words, os.getpid()))) + "\\n")


@server.tool(task=True)
async def quick(number: int) -> int:
    note("quick", number)
    await asyncio.sleep(0.3)
    return number


@server.tool(annotations={"idempotentHint": True}, task=TaskPolicy(retry=Retry(attempts=3, backoff=0.05)))
async def long(seconds: float, context: Context) -> str:
    async def one(key: str) -> None:
        note("step", key)

    note("long", context.attempt)
    await context.step("one", one)
    note("recorded")
    await asyncio.sleep(seconds)
    return "done"
"""


class Worker:
    """A running `trunkline worker`, and what it said."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [TRUNKLINE, "worker", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self.seen = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.wait_for("worker is up")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} did not appear in:\n{self.seen}"
            assert self.process.poll() is None, self.seen
            time.sleep(0.05)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.seen += line


class Scene:
    """A server that only serves, workers beside it, and the ledger of what ran where."""

    def __init__(self, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ledger = folder / "ledger"
        self.target = str(folder / "worked.py")
        self.database = database
        Path(self.target).write_text(SERVER)
        monkeypatch.setenv("DATABASE", database)
        monkeypatch.setenv("LEDGER", str(self._ledger))
        self.up = Up("--task-runs", "0", "--no-table", self.target)
        self.workers: list[Worker] = []

    async def worker(self, *options: str) -> Worker:
        made = await asyncio.to_thread(Worker, self.target, "--lease", "2", *options)
        self.workers.append(made)
        return made

    def ran(self) -> list[list[str]]:
        return [line.split() for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    async def until(self, *words: str, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while [row[0] for row in self.ran()].count(words[0]) < times:
                await asyncio.sleep(0.05)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.end(signal.SIGKILL)
        if self.up.process.poll() is None:
            self.up.stop(signal.SIGKILL)


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    if request.param == "sqlite":
        database = f"sqlite:///{tmp_path / 'trunkline.db'}"
    else:
        database = emptied(request.getfixturevalue("postgresql"))
    scene = Scene(tmp_path, database, monkeypatch)
    yield scene
    scene.close()


@pytest.fixture
async def caller(scene: Scene) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(scene.up.url, http)


async def test_two_workers_share_what_a_server_takes_in_and_it_runs_nothing(scene: Scene, caller: Caller) -> None:
    ids = [await caller.start("quick", number=number) for number in range(12)]
    await asyncio.sleep(1)
    assert scene.ran() == [], "it waits for workers"
    first, second = await asyncio.gather(scene.worker("--runs", "2"), scene.worker("--runs", "2"))
    more = [await caller.start("quick", number=number) for number in range(12, 24)]
    tasks = [await caller.ended(id, seconds=60) for id in [*ids, *more]]

    assert [task["result"]["structuredContent"]["result"] for task in tasks] == list(range(24))
    where = Counter(row[2] for row in scene.ran())
    assert sum(where.values()) == 24
    assert set(where) == {str(first.process.pid), str(second.process.pid)}
    assert first.end() == second.end() == 0
    assert "run  request=" in first.seen and "subject=quick" in first.seen
    assert "number" not in first.seen, "what tasks are called with is in no log"


async def test_a_worker_that_is_killed_loses_nothing(scene: Scene, caller: Caller) -> None:
    first = await scene.worker()
    id = await caller.start("long", seconds=3)
    await scene.until("recorded")
    first.end(signal.SIGKILL)
    await scene.worker()
    task = await caller.ended(id, seconds=60)

    assert task["status"] == "completed"
    assert [row[:2] for row in scene.ran() if row[0] == "long"] == [["long", "1"], ["long", "2"]]
    assert [row[0] for row in scene.ran()].count("step") == 1


async def test_a_worker_that_is_told_to_stop_finishes_or_gives_back(scene: Scene, caller: Caller) -> None:
    first = await scene.worker("--drain-timeout", "3")
    short, long = await caller.start("quick", number=1), await caller.start("long", seconds=20)
    await scene.until("recorded")
    assert await asyncio.to_thread(first.end) == 0
    assert "stopping" in first.seen and "stopped" in first.seen
    assert (await caller.get(short))["status"] == "completed"
    await scene.worker()
    await scene.until("long", times=2)

    assert [row[1] for row in scene.ran() if row[0] == "long"] == ["1", "1"], "it counted as an attempt"
    assert [row[0] for row in scene.ran()].count("step") == 1
    cancelled = await asyncio.to_thread(run, "tasks", "cancel", scene.database, long)
    assert "told to stop" in cancelled.stdout
    assert (await caller.ended(long))["status"] == "cancelled"


async def test_a_second_signal_gives_back_at_once(scene: Scene, caller: Caller) -> None:
    first = await scene.worker("--drain-timeout", "100")
    id = await caller.start("long", seconds=60)
    await scene.until("recorded")
    first.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(first.wait_for, "stopping")
    assert await asyncio.to_thread(first.end) == 0
    assert "stopped" in first.seen
    task = await caller.get(id)

    assert (task["status"], task["_meta"]["dev.trunkline/attempt"]) == ("working", 1)
    await scene.worker()
    await scene.until("long", times=2)


async def test_a_worker_runs_the_tools_it_is_for(scene: Scene, caller: Caller) -> None:
    await scene.worker("--tools", "lo*")
    waits, runs = await caller.start("quick", number=1), await caller.start("long", seconds=0)
    assert (await caller.ended(runs))["status"] == "completed"
    await asyncio.sleep(1)
    assert [row[0] for row in scene.ran() if row[0] not in ("step", "recorded")] == ["long"]
    await scene.worker("--tools", "quick")

    assert (await caller.ended(waits))["status"] == "completed"


def test_what_cannot_work_is_refused_with_what_to_do(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.py"
    lonely.write_text(
        "from trunkline import Server\nserver = Server('x')\n@server.tool(task=True)\ndef f() -> int: return 1\n"
    )
    for arguments, said in (
        (["worker", WEATHER], "Nothing in"),
        (["worker", str(lonely)], "--storage URL"),
        (["worker", "http://127.0.0.1:1/mcp"], "takes what `trunkline up` serves"),
        (["up", "--port", "0", "--task-runs", "0", str(lonely)], "name a storage"),
        (["worker", str(lonely), "--runs", "0"], "no whole number above 0"),
        (["worker", str(lonely), "--storage", "mysql://x"], "of an unknown kind"),
    ):
        done = run(*arguments)
        assert done.returncode != 0, arguments
        assert said in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
