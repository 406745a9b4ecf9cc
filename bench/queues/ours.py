"""The queue of this project: its store and its worker, as a server has them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from bench.queues.driving import LONGEST, main
from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.engine.principal import ANONYMOUS
from trunkline.extensions.tasks.listening import Listeners, settled
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import NewTask, Task
from trunkline.extensions.tasks.running import Origin
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.versions import TASKS
from trunkline.extensions.tasks.worker import Pace, Rule, Worker
from trunkline.protocol import json
from trunkline.storage.schema import BRANCHES, upgrade
from trunkline.storage.storage import open_storage

POLICY = TaskPolicy(retry=Retry(attempts=3, backoff=0.1))
TOOL = "job"

Job = Callable[[Context, int, float], Awaitable[int]]
"""What a task does: with its number, and the seconds that takes."""


def new(number: int, policy: TaskPolicy = POLICY, owner: str = ANONYMOUS.owner) -> NewTask:
    """A call of the tool with a number."""
    params = msgspec.json.encode({"name": TOOL, "arguments": {"number": number}})
    origin = Origin("tools/call", params, "2026-07-28", ANONYMOUS, {}, None, "")
    return NewTask(owner, None, TOOL, policy, msgspec.msgpack.encode(origin))


class _Ours:
    def __init__(self, store: TaskStore, worker: Worker | None, listeners: Listeners) -> None:
        self._store = store
        self._worker = worker
        self._listeners = listeners

    async def create(self, number: int) -> str:
        task, _ = await (self._worker or self._store).create(new(number))
        return task.id

    async def result(self, name: str) -> int:
        async def report(_: Task) -> None:
            pass

        task = await settled(self._store, self._listeners, name, LONGEST, report)
        assert task is not None and task.status == "completed", f"{name} is {task}"
        outcome = await self._store.outcome(name)
        assert outcome is not None
        return int(msgspec.json.decode(outcome)["number"])

    async def both(self, number: int) -> int:
        return await self.result(await self.create(number))


async def _add(context: Context, number: int, takes: float) -> int:
    if takes:
        await asyncio.sleep(takes)
    return number + 1


@asynccontextmanager
async def opened(url: str, works: bool, takes: float, job: Job = _add) -> AsyncIterator[_Ours]:
    """A store, with a worker where one is wanted."""
    upgrade(url, [*BRANCHES, TASKS])

    async def call(context: Context) -> Result:
        arguments = json.plain(context.params.arguments)  # type: ignore[arg-type]
        assert isinstance(arguments, dict)
        return {"number": await job(context, arguments["number"], takes)}

    async with open_storage(url, branches=[TASKS]) as storage:
        store, listeners = TaskStore(storage, "bench"), Listeners()
        if not works:
            yield _Ours(store, None, listeners)
            return
        rule = Rule(POLICY, idempotent=True)
        worker = Worker(store, storage.name, call, lambda _: rule, lambda: [TOOL], Pace(lease=5))

        def changed(id: str) -> None:
            worker.changed(id)
            listeners.changed(id)

        leave = store.changed(changed)
        worker.start()
        try:
            yield _Ours(store, worker, listeners)
        finally:
            await worker.stop()
            leave()


if __name__ == "__main__":
    main(opened)
