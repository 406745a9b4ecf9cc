"""Processes killed with SIGKILL at each point of a task: nothing is lost, nothing is done twice that may not be."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.extensions.tasks.calling import Answer, Caller

ROOT = Path(__file__).parents[3]
YES = {"action": "accept", "content": {"name": "Ann"}}

pytestmark = pytest.mark.timeout(120)


class Stage:
    """A server in a process."""

    def __init__(self, database: str, ledger: Path, *point: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "tests.extensions.tasks.stage", database, str(ledger), *point]
        environment = {**os.environ, "STAGE_PORT": str(port)}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    async def died(self, seconds: float = 30) -> int:
        """Wait until it is gone."""
        async with asyncio.timeout(seconds):
            while self.process.poll() is None:
                await asyncio.sleep(0.02)
        return self.process.returncode

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Scene:
    """Stages over one database, and the ledger of what their functions did."""

    def __init__(self, database: str, folder: Path) -> None:
        self._database = database
        self._ledger = folder / "ledger"
        self.stages: list[Stage] = []

    async def start(self, *point: str) -> Stage:
        stage = await asyncio.to_thread(Stage, self._database, self._ledger, *point)
        self.stages.append(stage)
        return stage

    def done(self) -> list[list[str]]:
        """What functions did, in order."""
        return [line.split() for line in self._ledger.read_text().splitlines()] if self._ledger.exists() else []

    def counted(self) -> Counter[str]:
        return Counter(words[0] for words in self.done())


@pytest.fixture
def scene(url: str, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(url, tmp_path)
    yield scene
    for stage in scene.stages:
        stage.end()


@pytest.fixture
async def at() -> AsyncIterator[Callable[[Stage], Caller]]:
    """Speaks to a stage."""
    async with aiohttp.ClientSession() as http:
        yield lambda stage: Caller(stage.url, http)


async def answered(caller: Caller, id: str) -> Answer:
    """Answer what a task asks, and wait for its end."""
    parked = await caller.until(id, "input_required", seconds=60)
    await caller.update(id, dict.fromkeys(parked["inputRequests"], YES))
    return await caller.ended(id, seconds=60)


def assert_each_step_once(scene: Scene) -> None:
    """What was recorded was not computed again, and a step that was interrupted got the same key."""
    keys = {words[0]: {other[1] for other in scene.done() if other[0] == words[0]} for words in scene.done()}
    for step in ("one", "two", "three"):
        assert len(keys[step]) == 1, scene.done()


async def test_a_task_that_was_acknowledged_outlives_its_process(scene: Scene, at: Callable[[Stage], Caller]) -> None:
    first = await scene.start()
    id = await at(first).start("safe")
    os.kill(first.process.pid, signal.SIGKILL)
    task = await answered(at(await scene.start()), id)

    assert task["result"]["content"][0]["text"] == "Ann after three steps"
    assert_each_step_once(scene)


async def test_killed_after_it_was_stored_and_before_the_answer(scene: Scene, at: Callable[[Stage], Caller]) -> None:
    """The client never learns the id; with its idempotency key it finds the task all the same."""
    key = {"dev.trunkline/idempotencyKey": "order-7"}
    first = await scene.start("after:create:1")
    with pytest.raises(aiohttp.ClientError):
        await at(first).start("safe", key)
    assert await first.died() == -signal.SIGKILL
    second = at(await scene.start())
    id = await second.start("safe", key)
    assert await second.start("safe", key) == id
    task = await answered(second, id)

    assert task["status"] == "completed"
    assert_each_step_once(scene)


@pytest.mark.parametrize("point", ["before:record:1", "after:record:1", "before:record:2", "after:record:2"])
async def test_killed_between_steps(scene: Scene, at: Callable[[Stage], Caller], point: str) -> None:
    first = await scene.start(point)
    id = await at(first).start("safe")
    assert await first.died() == -signal.SIGKILL
    task = await answered(at(await scene.start()), id)
    when, _, number = point.split(":")

    assert task["result"]["content"][0]["text"] == "Ann after three steps"
    assert_each_step_once(scene)
    assert scene.counted()["one"] == (2 if (when, number) == ("before", "1") else 1)
    assert scene.counted()["two"] == (2 if (when, number) == ("before", "2") else 1)


@pytest.mark.parametrize("point", ["before:park:1", "after:park:1"])
async def test_killed_while_it_parks(scene: Scene, at: Callable[[Stage], Caller], point: str) -> None:
    first = await scene.start(point)
    id = await at(first).start("safe")
    assert await first.died() == -signal.SIGKILL
    task = await answered(at(await scene.start()), id)

    assert task["status"] == "completed"
    assert scene.counted() == {"run": 3 if point.startswith("before") else 2, "one": 1, "two": 1, "three": 1}


async def test_killed_while_it_is_parked_it_waits_without_a_process(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first = await scene.start()
    id = await at(first).start("unsafe")
    await at(first).until(id, "input_required")
    os.kill(first.process.pid, signal.SIGKILL)
    task = await answered(at(await scene.start()), id)

    assert task["result"]["content"][0]["text"] == "Ann after three steps"
    assert scene.counted() == {"run": 2, "one": 1, "two": 1, "three": 1}


@pytest.mark.parametrize("point", ["before:finish:1", "after:finish:1"])
async def test_killed_while_it_completes(scene: Scene, at: Callable[[Stage], Caller], point: str) -> None:
    first = await scene.start(point)
    id = await at(first).start("safe")
    parked = await at(first).until(id, "input_required")
    await at(first).update(id, dict.fromkeys(parked["inputRequests"], YES))
    assert await first.died() == -signal.SIGKILL
    task = await at(await scene.start()).ended(id, seconds=60)

    assert task["result"]["content"][0]["text"] == "Ann after three steps"
    assert scene.counted()["three"] == 1


async def test_killed_after_the_answer_was_taken_and_before_it_was_told(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first = await scene.start("after:answer:1")
    id = await at(first).start("safe")
    parked = await at(first).until(id, "input_required")
    with pytest.raises(aiohttp.ClientError):
        await at(first).update(id, dict.fromkeys(parked["inputRequests"], YES))
    second = at(await scene.start())
    await second.update(id, {key: {"action": "decline"} for key in parked["inputRequests"]})
    task = await second.ended(id, seconds=60)

    assert task["result"]["content"][0]["text"] == "Ann after three steps"


async def test_a_tool_that_may_not_run_twice_fails_when_its_process_is_lost(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first = await scene.start("after:record:1")
    id = await at(first).start("unsafe")
    assert await first.died() == -signal.SIGKILL
    task = await at(await scene.start()).ended(id, seconds=60)

    assert task["status"] == "failed"
    assert task["error"]["data"] == {"dev.trunkline/reason": "lost", "dev.trunkline/retry": False}
    assert scene.counted() == {"run": 1, "one": 1}


async def test_a_task_that_kills_whoever_runs_it_is_given_up(scene: Scene, at: Callable[[Stage], Caller]) -> None:
    first = await scene.start()
    id = await at(first).start("deadly")
    assert await first.died() == -signal.SIGKILL
    second = await scene.start()
    assert await second.died() == -signal.SIGKILL
    task = await at(await scene.start()).ended(id, seconds=60)

    assert task["status"] == "failed"
    assert scene.done() == [["run", "1"], ["run", "2"]]


async def test_another_replica_takes_over_and_the_client_notices_nothing(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first, second = await scene.start(), await scene.start()
    ids = [await at(first).start("safe") for _ in range(5)]
    os.kill(first.process.pid, signal.SIGKILL)
    tasks = await asyncio.gather(*(answered(at(second), id) for id in ids))

    assert {task["status"] for task in tasks} == {"completed"}
    assert scene.counted()["three"] == 5


async def test_a_process_that_is_told_to_stop_gives_back_what_records_its_steps(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first = await scene.start()
    id = await at(first).start("long", seconds=30)
    async with asyncio.timeout(30):
        while scene.counted()["one"] < 1:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    first.process.terminate()
    await first.died(40)
    second = at(await scene.start())
    async with asyncio.timeout(30):
        while scene.counted()["run"] < 2:
            await asyncio.sleep(0.02)

    assert (await second.get(id))["status"] == "working"
    assert scene.done()[-1] == ["run", "1"], "it counted as an attempt"
    assert scene.counted()["one"] == 1
    await second.cancel(id)
    assert (await second.ended(id))["status"] == "cancelled"


async def test_a_process_that_is_told_to_stop_lets_short_tasks_finish(
    scene: Scene, at: Callable[[Stage], Caller]
) -> None:
    first = await scene.start()
    id = await at(first).start("plain", seconds=1.5)
    async with asyncio.timeout(30):
        while scene.counted()["run"] < 1:
            await asyncio.sleep(0.02)
    first.process.terminate()
    await first.died(40)

    assert (await at(await scene.start()).ended(id))["status"] == "completed"
    assert scene.counted()["run"] == 1


async def test_cancelling_at_one_replica_stops_it_at_the_other(scene: Scene, at: Callable[[Stage], Caller]) -> None:
    first, second = await scene.start(), await scene.start()
    id = await at(first).start("plain", seconds=60)
    await at(second).cancel(id)

    assert (await at(second).ended(id, seconds=30))["status"] == "cancelled"
