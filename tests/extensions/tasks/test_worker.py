"""What a worker notices by itself: with its regular looks an hour apart, only what it is woken for happens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.extensions.tasks.storing import opened
from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.engine.principal import ANONYMOUS
from trunkline.extensions.tasks import worker as workers
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import NewTask
from trunkline.extensions.tasks.running import Origin
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.worker import Pace, Rule, Worker

POLICY = TaskPolicy(retry=Retry(attempts=2, backoff=0.01, on=(TimeoutError,)))


def call_of(tool: str, policy: TaskPolicy = POLICY) -> NewTask:
    params = msgspec.json.encode({"name": tool, "arguments": {}})
    request = msgspec.msgpack.encode(Origin("tools/call", params, "2026-07-28", ANONYMOUS, {}, None, ""))
    return NewTask(ANONYMOUS.owner, None, tool, policy, request)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TaskStore]:
    async with opened(f"sqlite:///{tmp_path / 'trunkline.db'}") as store:
        yield store


@pytest.fixture
async def worker(store: TaskStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Worker]:
    """Runs two at a time, of two tools, one of which fails at first."""
    monkeypatch.setattr(workers, "_IDLE", 3600.0)
    monkeypatch.setattr(workers, "_BUSY", 3600.0)

    async def call(context: Context) -> Result:
        if context.params.name == "fails_once" and context.attempt == 1:
            raise TimeoutError
        await asyncio.sleep(0.01)
        return {"content": []}

    rule = Rule(POLICY)
    worker = Worker(store, "w", call, lambda _: rule, lambda: ["works", "fails_once"], Pace(runs=2))
    leave = store.changed(worker.changed)
    worker.start()
    yield worker
    await worker.stop()
    leave()


async def until_completed(store: TaskStore, ids: list[str]) -> None:
    async with asyncio.timeout(30):
        for id in ids:
            while (task := await store.load(id)) is None or task.status != "completed":
                await asyncio.sleep(0.01)


async def test_what_waits_for_room_runs_as_soon_as_there_is_some(store: TaskStore, worker: Worker) -> None:
    made = [await worker.create(call_of("works")) for _ in range(9)]
    await until_completed(store, [task.id for task, _ in made])


async def test_what_another_process_made_is_taken(store: TaskStore, worker: Worker) -> None:
    made = [await store.create(call_of("works")) for _ in range(9)]
    await until_completed(store, [task.id for task, _ in made])


async def test_another_attempt_begins_when_its_time_has_come(store: TaskStore, worker: Worker) -> None:
    made = [await worker.create(call_of("fails_once")) for _ in range(5)]
    await until_completed(store, [task.id for task, _ in made])


async def test_one_round_expires_all_that_is_overdue(store: TaskStore, worker: Worker) -> None:
    brief = TaskPolicy(ttl=0.001)
    made = await asyncio.gather(*(store.create(call_of("nobody_runs", brief)) for _ in range(250)))
    await asyncio.sleep(0.05)

    await worker._expire()

    assert {(await store.load(task.id)).status for task, _ in made} == {"failed"}
