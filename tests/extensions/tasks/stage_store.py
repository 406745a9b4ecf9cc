"""A process that works on the tasks of a database until it is killed, and prints each thing once it was acknowledged.

python -m tests.extensions.tasks.stage_store URL NAME
"""

import asyncio
import itertools
import json
import sys

from tests.extensions.tasks.storing import new, opened
from trunkline.engine.doors import InputRequest
from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.store import TaskStore

QUESTION = InputRequest("elicitation/create", {"message": "?", "requestedSchema": {"type": "object", "properties": {}}})


async def create(store: TaskStore, name: str) -> None:
    for number in itertools.count():
        task, _ = await store.create(new(name, policy=TaskPolicy(ttl=None), key=f"{name}-{number}"))
        print("created", task.id, number, flush=True)


async def work(store: TaskStore, name: str) -> None:
    while True:
        for task in await store.claim(name, 2, 5):
            await run(store, task, json.loads(task.replay or b"{}"))
        await asyncio.sleep(0.01)


async def run(store: TaskStore, task: Task, replay: dict[str, dict[str, object]]) -> None:
    if "step" not in replay.get("steps", {}):
        replay["steps"] = {"step": task.run}
        if not await store.record(task.id, task.run, json.dumps(replay).encode()):
            return
        print("recorded", task.id, task.run, flush=True)
    if "answers" not in replay:
        if await store.park(task.id, task.run, {"q": QUESTION}, json.dumps(replay).encode()):
            print("parked", task.id, flush=True)
            if await store.answer(task.id, task.owner, {"q": {"action": "accept", "content": {"run": task.run}}}):
                print("answered", task.id, task.run, flush=True)
        return
    outcome = {"step": replay["steps"]["step"], "answer": replay["answers"]["q"]}
    if await store.finish(task.id, task.run, "completed", json.dumps(outcome).encode(), None, 3600):
        print("finished", task.id, flush=True)


async def main(url: str, name: str) -> None:
    async with opened(url) as store:
        print("ready", flush=True)
        await asyncio.gather(create(store, name), work(store, name))


asyncio.run(main(*sys.argv[1:3]))
