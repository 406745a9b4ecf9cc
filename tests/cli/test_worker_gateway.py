"""`trunkline worker trunkline.yaml` beside a gateway that only serves: real processes, and one of them killed."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_commands import Up
from tests.cli.test_worker import Worker
from tests.deploy.load import write_keys
from tests.extensions.tasks.calling import Answer, Caller
from tests.extensions.tasks.storing import emptied

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[2]
OLDER = ROOT / "tests/assembly/peers/older.py"
SOURCES = {"PYTHONPATH": str(ROOT / "src")}
SERVER = """
import asyncio, os, sys
from trunkline import Server

server = Server("works")


async def take(what, name, seconds):
    for when in ("began", "ended"):
        with open(sys.argv[1], "a") as file:
            file.write(f"{what} {name} {when} {os.getppid()}\\n")
        await asyncio.sleep(seconds if when == "began" else 0)
    return f"{name} done"


@server.tool(annotations={"idempotentHint": True})
async def crawl(name: str, seconds: float = 0.1) -> str:
    return await take("crawl", name, seconds)


@server.tool
async def pay(name: str, seconds: float = 0.1) -> str:
    return await take("pay", name, seconds)


@server.tool
async def look() -> str:
    return str(os.getppid())


server.run()
"""


class Scene:
    """A gateway that serves, workers beside it, and the ledger of which process had what done."""

    def __init__(self, folder: Path, shared: list[str]) -> None:
        self._ledger = folder / "ledger"
        self._shared = shared
        self._target = folder / "trunkline.yaml"
        (folder / "works.py").write_text(SERVER)
        works = {"command": sys.executable, "args": [str(folder / "works.py"), str(self._ledger)], "env": SOURCES}
        tasks = {"backoff": 0.05, "overrides": {"look": False}}
        older = {"command": sys.executable, "args": [str(OLDER), "2025-06-18"], "processes": "per-session"}
        servers = {"works": {**works, "tasks": tasks}, "older": {**older, "tasks": True}}
        self._target.write_text(json.dumps({"servers": servers}))
        self.up = Up("--task-runs", "0", "--no-table", str(self._target), *shared)
        self.workers: list[Worker] = []

    async def worker(self) -> Worker:
        made = await asyncio.to_thread(Worker, str(self._target), "--lease", "2", *self._shared)
        self.workers.append(made)
        return made

    def ran(self) -> list[list[str]]:
        return [line.split() for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    def begun(self, name: str) -> list[str]:
        """Which processes had a call begin."""
        return [row[3] for row in self.ran() if row[1:3] == [name, "began"]]

    async def until_begun(self, *names: str) -> None:
        async with asyncio.timeout(60):
            while not all(map(self.begun, names)):
                await asyncio.sleep(0.05)

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.end(signal.SIGKILL)
        if self.up.process.poll() is None:
            self.up.stop(signal.SIGKILL)


@pytest.fixture(params=["at home", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """`at home`: nothing is said about storage; both processes find the file that belongs to the configuration."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shared: list[str] = []
    if request.param == "postgresql":
        shared = ["--storage", emptied(request.getfixturevalue("postgresql"))]
        shared += ["--keys", write_keys(tmp_path)]
    scene = Scene(tmp_path, shared)
    yield scene
    scene.close()


@pytest.fixture
async def caller(scene: Scene) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(scene.up.url, http)


def text_of(answer: Answer) -> str:
    return str(answer["content"][0]["text"])


async def test_calls_that_become_tasks_run_at_the_worker_and_all_others_at_the_gateway(
    scene: Scene, caller: Caller
) -> None:
    ids = [await caller.start("works__crawl", name=f"c{number}") for number in range(6)]
    plain = asyncio.create_task(caller.other(declared=False).call("works__pay", name="plain"))
    await asyncio.sleep(1)
    assert scene.ran() == [], "it waits for a worker"
    assert text_of(await caller.call("works__look")) == str(scene.up.process.pid)
    worker = await scene.worker()
    results = [(await caller.ended(id, seconds=60))["result"] for id in ids]

    assert [text_of(result) for result in results] == [f"c{number} done" for number in range(6)]
    assert text_of(await plain) == "plain done"
    assert {row[3] for row in scene.ran()} == {str(worker.process.pid)}
    assert "run  request=" in worker.seen and "subject=works__crawl" in worker.seen
    assert await asyncio.to_thread(worker.end) == 0


async def test_a_killed_worker_is_followed_by_another_one(scene: Scene, caller: Caller) -> None:
    first = await scene.worker()
    crawl = await caller.start("works__crawl", name="crawl", seconds=3)
    pay = await caller.start("works__pay", name="pay", seconds=3)
    stays = await caller.start("works__pay", name="stays", seconds=60)
    await scene.until_begun("crawl", "pay", "stays")
    await asyncio.to_thread(first.end, signal.SIGKILL)
    second = await scene.worker()
    done, lost = [await caller.ended(id, seconds=60) for id in (crawl, pay)]

    assert text_of(done["result"]) == "crawl done"
    assert done["_meta"]["dev.trunkline/attempt"] == 2
    assert scene.begun("crawl") == [str(first.process.pid), str(second.process.pid)]
    assert lost["status"] == "failed" and lost["error"]["data"]["dev.trunkline/reason"] == "lost"
    assert (await caller.ended(stays))["status"] == "failed"
    assert scene.begun("pay") == scene.begun("stays") == [str(first.process.pid)]


async def test_what_a_client_says_to_the_gateway_reaches_the_run_at_the_worker(scene: Scene, caller: Caller) -> None:
    await scene.worker()
    long = await caller.start("works__crawl", name="long", seconds=60)
    asks = await caller.start("older__ask")
    await scene.until_begun("long")
    await caller.cancel(long)
    task = await caller.until(asks, "input_required")
    answer = {"action": "accept", "content": {"name": "Ann"}}
    await caller.update(asks, dict.fromkeys(task["inputRequests"], answer))

    assert (await caller.ended(long))["status"] == "cancelled"
    assert text_of((await caller.ended(asks))["result"]) == "Hello, Ann!"
    assert [row for row in scene.ran() if row[1:3] == ["long", "ended"]] == []
