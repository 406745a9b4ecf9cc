"""`trunkline tasks watch`: tasks as they change.

What it is for: a live table on a terminal, elsewhere a line for each change.
What may live here: noticing changes and showing them. What may not: SQL, how a task looks.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from trunkline.cli import task_view
from trunkline.extensions.tasks.operating import AllTasks
from trunkline.extensions.tasks.records import Shown, Task, TaskFilter, shown_as

_AGAIN = 2.0
"""Seconds after which is looked although nobody told of a change: time alone makes a lease run out."""

_CALM = 0.1
"""Seconds in which changes are gathered."""

_MOST = 200
"""Tasks that are looked at to find changes nobody told of."""


async def watch(everything: AllTasks, filter: TaskFilter, id: str | None, *, as_json: bool) -> int:
    """Show tasks until interrupted, or until the one with `id` has ended: 0 when it completed, 1 otherwise."""
    console = Console(highlight=False)
    if console.is_terminal and not as_json:
        return await _table(everything, filter, id, console)
    return await _lines(everything, filter, id, as_json)


class _News:
    """Which tasks changed since the last look."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._come = asyncio.Event()

    def __call__(self, id: str) -> None:
        self.ids.add(id)
        self._come.set()

    async def wait(self) -> None:
        """Until something changed, or for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN):
                await self._come.wait()
                await asyncio.sleep(_CALM)
        self._come.clear()


async def _looks(everything: AllTasks) -> AsyncGenerator[set[str], None]:
    """At once and whenever something may have changed: the ids of tasks that are known to have."""
    news = _News()
    leave = everything.changed(news)
    try:
        while True:
            ids, news.ids = news.ids, set()
            yield ids - {""}
            await news.wait()
    finally:
        leave()


async def _table(everything: AllTasks, filter: TaskFilter, id: str | None, console: Console) -> int:
    looks = _looks(everything)
    async with contextlib.aclosing(looks):
        with Live(console=console, auto_refresh=False) as live:
            async for _ in looks:
                tasks = await _watched(everything, filter, id, max(1, console.height - 4))
                now = await everything.now()
                live.update(_picture(tasks, now, console), refresh=True)
                if id is not None and (not tasks or tasks[0].finished is not None):
                    return _code(tasks)
    return 0


def _picture(tasks: list[Task], now: float, console: Console) -> RenderableType:
    if not tasks:
        return Text("no task is like that; Ctrl-C ends this", style="dim")
    table = task_view.table(tasks, now, wide=console.width >= task_view.WIDE)
    return Group(table, Text(), Text("the newest first; Ctrl-C ends this", style="dim"))


async def _lines(everything: AllTasks, filter: TaskFilter, id: str | None, as_json: bool) -> int:
    seen: dict[str, tuple[Shown, int, str | None, bool]] = {}
    looks = _looks(everything)
    async with contextlib.aclosing(looks):
        async for ids in looks:
            tasks = {task.id: task for task in await _watched(everything, filter, id, _MOST)}
            if id is None and ids - tasks.keys():
                # Older than those; which of them fit is for the database to say.
                tasks |= await _fitting(everything, filter, ids - tasks.keys())
            now = await everything.now()
            for task in sorted(tasks.values(), key=lambda one: one.updated):
                state = (shown_as(task, now), task.attempt, task.message, task.cancelling)
                if seen.get(task.id) != state:
                    seen[task.id] = state
                    _say(task, now, as_json)
            if id is not None and (id not in tasks or tasks[id].finished is not None):
                return _code(list(tasks.values()))
            _forget(seen)
    return 0


async def _watched(everything: AllTasks, filter: TaskFilter, id: str | None, most: int) -> list[Task]:
    if id is None:
        return await everything.list(filter, None, most)
    return list((await everything.find([id])).values())


async def _fitting(everything: AllTasks, filter: TaskFilter, ids: set[str]) -> dict[str, Task]:
    now = await everything.now()
    found = await everything.find(sorted(ids))
    return {id: task for id, task in found.items() if filter.fits(task, now)}


def _say(task: Task, now: float, as_json: bool) -> None:
    text = json.dumps(task_view.facts(task, now), ensure_ascii=False) if as_json else task_view.line(task, now)
    print(text, flush=True)


def _code(tasks: list[Task]) -> int:
    return 0 if tasks and tasks[0].status == "completed" else 1


def _forget(seen: dict[str, tuple[Shown, int, str | None, bool]]) -> None:
    """Of many, the oldest: what changes again is shown again."""
    for id in list(seen)[: max(0, len(seen) - 50 * _MOST)]:
        del seen[id]
