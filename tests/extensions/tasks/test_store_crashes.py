"""Processes killed with SIGKILL between any two operations on tasks: what was acknowledged is there, once."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.extensions.tasks.storing import emptied, new, opened
from trunkline.extensions.tasks.policy import TaskPolicy

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(200)


class Stage:
    """A process, and what it said it had done."""

    def __init__(self, url: str, name: str) -> None:
        command = [sys.executable, "-m", "tests.extensions.tasks.stage_store", url, name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.lines: list[list[str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def kill(self) -> list[list[str]]:
        self.process.kill()
        self.process.wait(20)
        self._reader.join(20)
        return self.lines

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.split() for line in lines if line.endswith("\n"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'trunkline.db'}"
    else:
        yield emptied(request.getfixturevalue("postgresql"))


async def test_what_was_acknowledged_is_there_once(url: str) -> None:
    said: list[list[str]] = []
    for round in range(3):
        stages = [Stage(url, f"{who}{round}") for who in ("a", "b")]
        try:
            async with asyncio.timeout(60):
                while any(len(stage.lines) < 60 for stage in stages):
                    await asyncio.sleep(0.02)
        finally:
            for stage in stages:
                said += stage.kill()

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
