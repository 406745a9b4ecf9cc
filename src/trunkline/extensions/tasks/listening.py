"""Who waits for news of a task.

What it is for: `taskIds` of `subscriptions/listen`, and calls that wait for their task.
What may live here: the register of who waits for what. What may not: how a notification travels.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from trunkline.engine.context import Context
from trunkline.engine.doors import Ear
from trunkline.errors import InvalidParams, StorageUnavailable
from trunkline.extensions.tasks.carrier import Carrier
from trunkline.extensions.tasks.declaring import declares, missing
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.showing import shown

if TYPE_CHECKING:
    # It needs a database, which whoever only carries tasks does not load.
    from trunkline.extensions.tasks.store import TaskStore

logger = logging.getLogger("trunkline.tasks")

MOST = 1000
"""Tasks one stream may listen to; more are not honoured."""

_AGAIN = 1.0
"""Seconds after which what could not be told is tried again."""

Told = Callable[[str], None]


class Listeners:
    """Passes on which task changed, to those who wait for that one.

    leave = listeners.join("t-...", lambda id: ...)
    """

    def __init__(self) -> None:
        self._told: dict[str, dict[int, Told]] = {}
        self._number = 0

    def join(self, id: str, told: Told) -> Callable[[], None]:
        """Be told each time a task may have changed; returns what ends it."""
        self._number += 1
        number = self._number
        self._told.setdefault(id, {})[number] = told

        def leave() -> None:
            of_task = self._told.get(id, {})
            of_task.pop(number, None)
            if not of_task:
                self._told.pop(id, None)

        return leave

    def changed(self, id: str) -> None:
        """A task changed, here or at another replica; "" stands for any, where changes were missed."""
        for one in [id] if id else list(self._told):
            for told in list(self._told.get(one, {}).values()):
                told(one)

    def __len__(self) -> int:
        return len(self._told)


class Listening:
    """Answers the part of `subscriptions/listen` that is about tasks.

    Parameters:
        store, listeners: where tasks are, and who is told of them; None where none are kept here.
        carrier: knows the ids it gave out.
    """

    def __init__(
        self, store: "Callable[[], TaskStore] | None", listeners: Listeners, carrier: Carrier | None = None
    ) -> None:
        self._store = store
        self._listeners = listeners
        self._carrier = carrier

    async def listen(self, context: Context, wanted: Mapping[str, object]) -> Ear:
        """Honour the ids that are this caller's; of others nothing is said (tasks, section 2).

        Raises `MissingCapability` without the extension, `InvalidParams` for what is no list of ids.
        """
        if not declares(context):
            raise missing("notifications.taskIds is about tasks")
        ids = wanted["taskIds"]
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise InvalidParams("Invalid params: notifications.taskIds is a list of task ids")
        ids = list(dict.fromkeys(ids))[:MOST]
        carrier = self._carrier
        carried = [] if carrier is None else [id for id in ids if carrier.find(context, id) is not None]
        ears: list[Ear] = []
        if self._store is not None:
            stored = await self._honoured(self._store(), context, [id for id in ids if id not in carried])
            ears.append(_TaskEar(self._store(), self._listeners, stored))
        if carrier is not None:
            ears.append(await carrier.listen(context, carried))
        return ears[0] if len(ears) == 1 else _Ears(ears)

    async def _honoured(self, store: "TaskStore", context: Context, ids: list[str]) -> list[str]:
        honoured = []
        for id in ids:
            task = await store.load(id)
            if task is not None and task.owner == context.principal.owner and not task.erased:
                honoured.append(id)
        return honoured


class _Ears:
    """The tasks of one stream that are kept here, and those that are not."""

    def __init__(self, ears: list[Ear]) -> None:
        self._ears = ears
        self._of: dict[str, Ear] = {}
        for ear in ears:
            ids = ear.honoured["taskIds"]
            self._of.update(dict.fromkeys(ids if isinstance(ids, list) else [], ear))
        self.honoured: Mapping[str, object] = {"taskIds": list(self._of)}

    def open(self, offer: Told) -> None:
        """Tell of all of them."""
        for ear in self._ears:
            ear.open(offer)

    async def tell(self, name: str) -> tuple[str, dict[str, object]] | None:
        """As whoever keeps it shows it."""
        return await self._of[name].tell(name)

    def close(self) -> None:
        """The stream has ended."""
        for ear in self._ears:
            ear.close()


class _TaskEar:
    """The tasks one stream listens to."""

    def __init__(self, store: "TaskStore", listeners: Listeners, ids: list[str]) -> None:
        self.honoured: Mapping[str, object] = {"taskIds": ids}
        self._store = store
        self._listeners = listeners
        self._ids = ids
        self._leave: list[Callable[[], None]] = []
        self._offer: Told | None = None

    def open(self, offer: Told) -> None:
        """Tell how each is now, since it may have changed before anyone listened, and then each change."""
        self._offer = offer
        self._leave = [self._listeners.join(id, offer) for id in self._ids]
        for id in self._ids:
            offer(id)

    async def tell(self, name: str) -> tuple[str, dict[str, object]] | None:
        """The task as `tasks/get` would show it at this instant (tasks, section 5)."""
        try:
            task = await self._store.load(name)
            told = None if task is None else await shown(self._store, task)
            # Of a task whose life ended before it did, the error is left; of others that have expired there is nothing.
            if task is None or told is None or (task.erased and "error" not in told):
                return None
            return "notifications/tasks", told
        except StorageUnavailable as error:
            logger.warning("a listener is told of task %s later: %s", name, error)
            asyncio.get_running_loop().call_later(_AGAIN, self._again, name)
            return None

    def close(self) -> None:
        """The stream has ended."""
        self._offer = None
        for leave in self._leave:
            leave()

    def _again(self, id: str) -> None:
        if self._offer is not None:
            self._offer(id)


async def settled(
    store: "TaskStore",
    listeners: Listeners,
    id: str,
    seconds: float,
    report: Callable[[Task], Awaitable[None]],
    poll: float = 2.0,
) -> Task | None:
    """Wait until a task needs its client: it ended, or asks something; None where it did neither in that time.

    `report` is given the task each time it was looked at. Replicas may miss that another one changed it, so that is
    every `poll` seconds at least.
    """
    news = asyncio.Event()
    leave = listeners.join(id, lambda _: news.set())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        while True:
            news.clear()
            task = await store.load(id)
            if task is None or task.erased or task.status != "working":
                return task
            await report(task)
            left = deadline - loop.time()
            if left <= 0:
                return None
            try:
                async with asyncio.timeout(min(left, poll)):
                    await news.wait()
            except TimeoutError:
                pass
    finally:
        leave()
