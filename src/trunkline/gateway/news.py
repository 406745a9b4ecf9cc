"""What upstreams tell of tasks, passed on to one listener.

What it is for: `taskIds` of `subscriptions/listen` for tasks that upstreams keep, across connections that break.
What may live here: listening at an upstream, and polling it where it tells nothing. What may not: ids, forms of a task.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from math import inf
from typing import Protocol

from trunkline.client.peer import Notification
from trunkline.engine.doors import Result
from trunkline.errors import InvalidAnswer, ProtocolError, RemoteError, StorageUnavailable, TransportError
from trunkline.extensions.tasks import polling
from trunkline.extensions.tasks.polling import Watch
from trunkline.gateway.failures import RETRY_KEY
from trunkline.gateway.tasks import View, seen
from trunkline.gateway.upstream import Upstream
from trunkline.protocol import json

_log = logging.getLogger("trunkline.gateway")

_FIRST = 5.0
"""Seconds in which the upstreams show the tasks, before the listener is told which it hears of."""

_AT_ONCE = 16
"""Tasks that are asked for at a time."""

_PAUSE = (0.5, 30.0)
"""Seconds before a stream that broke is opened again, at first and at most."""


_LEFT_ALONE = 1.0
"""Seconds, at least, until an upstream that could not be asked is asked again."""


class Kept(Protocol):
    """A task of the listener."""

    id: str
    own: str
    name: str

    async def look(self) -> Result:
        """How it is now."""

    def upstream(self) -> Upstream:
        """Who keeps it."""

    def view(self, upstream: Upstream) -> View:
        """How it reads."""


class News:
    """The tasks one stream listens to; an `Ear`.

    Parameters:
        tasks: the listener's own.

        news = News(tasks)
        await news.begin()
    """

    def __init__(self, tasks: Sequence[Kept]) -> None:
        self.honoured: Mapping[str, object] = {"taskIds": []}
        self._tasks = {task.id: task for task in tasks}
        self._watches = {task.id: Watch(task.own, None, time.monotonic()) for task in tasks}
        self._told: dict[str, int] = {}
        self._fresh: dict[str, Result] = {}
        """What the listener has not been told yet: the latest of each task."""
        self._since: dict[str, float] = {}
        """Since when its upstream tells of a task by itself."""
        self._offer: Callable[[str], None] | None = None
        self._works: list[asyncio.Task[None]] = []
        self._moved: dict[str, asyncio.Event] = {}

    async def begin(self) -> None:
        """See which of them there are: an id its upstream does not know any more is left out."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def first(id: str) -> None:
            async with gate:
                await self._look(id)

        looks = [asyncio.ensure_future(first(id)) for id in self._tasks]
        if looks:
            await asyncio.wait(looks, timeout=_FIRST)
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
        self.honoured = {"taskIds": list(self._tasks)}

    def open(self, offer: Callable[[str], None]) -> None:
        """Tell how each is now, and follow it to its end."""
        self._offer = offer
        for id in self._fresh:
            offer(id)
            state = self._watches[id].state
            if state is not None and state.ended:
                self._tasks.pop(id)
        for name in {task.name for task in self._tasks.values()}:
            self._moved[name] = asyncio.Event()
            for work in (self._poll, self._hear):
                self._works.append(asyncio.get_running_loop().create_task(self._guard(work, name)))

    async def tell(self, name: str) -> tuple[str, dict[str, object]] | None:
        """The task as it was last shown; None when that has been told."""
        task = self._fresh.pop(name, None)
        return None if task is None else ("notifications/tasks", task)

    def close(self) -> None:
        """The stream has ended."""
        self._offer = None
        for work in self._works:
            work.cancel()

    async def _guard(self, work: Callable[[str], Awaitable[None]], name: str) -> None:
        try:
            await work(name)
        except Exception:
            _log.exception("upstream %s: a listener to its tasks is told no more", name)

    def _open(self, name: str) -> list[str]:
        """The tasks of an upstream that have not ended."""
        return [id for id, task in self._tasks.items() if task.name == name]

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _poll(self, name: str) -> None:
        """Look at each task when it is due; those its upstream tells of by itself seldom are."""
        moved = self._moved[name]
        while ids := self._open(name):
            moved.clear()
            now = time.monotonic()
            waits = {id: self._watches[id].wait(now, self._since.get(id, inf)) for id in ids}
            id = min(waits, key=waits.__getitem__)
            if waits[id] <= 0:
                await self._look(id)
                continue
            try:
                async with asyncio.timeout(waits[id]):
                    await moved.wait()
            except TimeoutError:
                pass

    async def _look(self, id: str) -> None:
        try:
            self._show(id, await self._tasks[id].look())
        except ProtocolError as error:
            if _passes(error):
                self._watches[id].missed(time.monotonic(), _LEFT_ALONE)
            else:
                # Gone, or out of reach for good: there is nothing to tell of it any more.
                self._tasks.pop(id, None)

    def _show(self, id: str, task: Result) -> None:
        """The task was shown: tell the listener, unless it is as it was."""
        state = polling.detailed(task, id)
        self._watches[id].saw(state, time.monotonic())
        shown = {key: value for key, value in task.items() if key != "resultType"}
        digest = hash(json.encode(shown))
        if self._told.get(id) != digest:
            self._told[id] = digest
            self._fresh[id] = shown
            if self._offer is not None:
                self._offer(id)
        if state.ended and self._offer is not None:
            self._tasks.pop(id, None)

    # -- listening -------------------------------------------------------------------------------------------------

    async def _hear(self, name: str) -> None:
        """Listen at the upstream, and again when the connection breaks; what was missed meanwhile is asked for."""
        pause, longest = _PAUSE
        while ids := self._open(name):
            began = time.monotonic()
            try:
                upstream = self._tasks[ids[0]].upstream()
                # A process may run for this caller, or at another replica: there it is asked.
                if upstream.entry.transport == "stdio" or not await self._hear_once(upstream, ids):
                    return
            except RemoteError as error:
                _log.info("upstream %s tells nothing of tasks: %s", name, error.message)
                return
            except (TransportError, ProtocolError) as error:
                _log.info("upstream %s: listening to tasks ended: %s", name, error.message)
            for id in ids:
                self._since.pop(id, None)
            self._moved[name].set()
            pause = _PAUSE[0] if time.monotonic() - began > longest else min(2 * pause, longest)
            await asyncio.sleep(pause)

    async def _hear_once(self, upstream: Upstream, ids: list[str]) -> bool:
        """One stream, to its end; False where the upstream tells of none of them."""
        shown: dict[str, list[str]] = {}
        for id in ids:
            shown.setdefault(self._tasks[id].own, []).append(id)
        peer = await upstream.peer()
        async with aclosing(peer.listen({"taskIds": list(shown)})) as stream:
            async for told in stream:
                if told.method == "notifications/subscriptions/acknowledged":
                    agreed = _agreed(told)
                    if not agreed & shown.keys():
                        return False
                    self._since.update({id: time.monotonic() for own in agreed for id in shown.get(own, ())})
                elif told.method == "notifications/tasks":
                    own = told.params.get("taskId")
                    for id in shown.get(own, ()) if isinstance(own, str) else ():
                        self._take(upstream, id, told)
                    if not any(id in self._tasks for id in ids):
                        return False
        return True

    def _take(self, upstream: Upstream, id: str, told: Notification) -> None:
        task = self._tasks.get(id)
        if task is None:
            return
        try:
            self._show(id, task.view(upstream).task(seen("tasks/get", task.own, told.params)))
        except InvalidAnswer:
            # Without outcome or questions it still says that it is time to look.
            self._watches[id].missed(time.monotonic(), 0.0)
            self._moved[task.name].set()


def _agreed(told: Notification) -> set[str]:
    agreed = told.params.get("notifications")
    ids = agreed.get("taskIds") if isinstance(agreed, dict) else None
    return {id for id in ids if isinstance(id, str)} if isinstance(ids, list) else set()


def _passes(error: ProtocolError) -> bool:
    """Whether an upstream that failed may answer another time."""
    if isinstance(error, StorageUnavailable):
        return True
    return isinstance(error.data, dict) and error.data.get(RETRY_KEY) is True
