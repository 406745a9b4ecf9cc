"""Processes killed with SIGKILL between any two operations on tasks: what was acknowledged is there, once."""

import asyncio
import json

import pytest

from tests.extensions.tasks.storing import new, opened
from tests.storage.stages import Stage
from trunkline.extensions.tasks.policy import TaskPolicy

pytestmark = pytest.mark.timeout(200)


async def test_what_was_acknowledged_is_there_once(url: str) -> None:
    said: list[list[str]] = []
    for round in range(3):
        stages = [Stage("tests.extensions.tasks.stage_store", url, f"{who}{round}") for who in ("a", "b")]
        try:
            async with asyncio.timeout(60):
                while any(len(stage.lines) < 60 for stage in stages):
                    await asyncio.sleep(0.02)
        finally:
            for stage in stages:
                said += [line.split() for line in stage.kill()]

    async with opened(url) as store:
        for _, id, number in (line for line in said if line[0] == "created"):
            task = await store.load(id)
            assert task is not None
            found, fresh = await store.create(
                new(task.owner, policy=TaskPolicy(ttl=None), key=f"{task.owner}-{number}")
            )
            assert (found.id, fresh) == (id, False)
        answered: dict[str, str] = {}
        for _, id, run in (line for line in said if line[0] == "answered"):
            assert id not in answered
            answered[id] = run
        recorded = {id: int(run) for _, id, run in (line for line in said if line[0] == "recorded")}
        ended = {id for what, id, *_ in (line for line in said if len(line) > 1) if what == "finished"}
        assert ended
        for id in ended:
            task = await store.load(id)
            assert task is not None and task.status == "completed"
            outcome = json.loads(await store.outcome(id) or b"")
            assert outcome["step"] == recorded.get(id, outcome["step"])
            assert outcome["answer"]["content"]["run"] == int(answered.get(id, outcome["answer"]["content"]["run"]))
        # Nothing is stuck: whatever a killed process had can be taken once its lease has run out.
        await asyncio.sleep(2.2)
        waiting: dict[str, int] = {}
        while taken := await store.claim("late", 60, 200):
            for task in taken:
                assert task.id not in waiting
                waiting[task.id] = task.run
                replay = json.loads(task.replay or b"{}")
                if task.id in recorded:
                    assert replay["steps"]["step"] == recorded[task.id]
                if task.id in answered:
                    assert replay["answers"]["q"]["content"]["run"] == int(answered[task.id])
        created = {line[1] for line in said if line[0] == "created"}
        for id in created - ended - waiting.keys():
            task = await store.load(id)
            assert task is not None and task.status in ("input_required", "completed")
