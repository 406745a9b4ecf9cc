"""How many unfinished tasks a store takes.

What it is for: a client that starts more than can be done learns so at once, instead of filling the database.
What may live here: counting. What may not: what a task is.
"""

import time

from sqlalchemy import Connection, func, select

from trunkline.errors import Overloaded
from trunkline.extensions.tasks.records import Bounds
from trunkline.extensions.tasks.tables import tasks
from trunkline.storage.database import Database

_c = tasks.c

_FULL = 0.5
"""Seconds for which is remembered that there is no room."""

_MOST_OWNERS = 10_000


class Room:
    """Counts the tasks of a scope that have not ended, in all and by owner.

    Not at each creation, which would cost more the more there are: after a count, a quarter of the room that was found
    may be used before the next one. Several replicas that create at once may go beyond a bound by that much.

    await Room(database, "weather", Bounds()).take("alice")
    """

    def __init__(self, database: Database, scope: str, bounds: Bounds) -> None:
        self._database = database
        self._scope = scope
        self._bounds = bounds
        self._left: dict[str | None, int] = {}
        self._full: dict[str | None, float] = {}

    async def take(self, owner: str) -> None:
        """Use room for one task. Raises `Overloaded` when there is none."""
        await self._take(None, self._bounds.unfinished, "all clients together have")
        await self._take(owner, self._bounds.per_owner, "this client has")

    async def _take(self, owner: str | None, bound: int, who: str) -> None:
        left = self._left.get(owner, 0)
        if left == 0:
            left = 0 if time.monotonic() < self._full.get(owner, 0.0) else await self._count(owner, bound)
        if left == 0:
            raise Overloaded(
                f"No task was created: {who} {bound} that have not ended; wait for some, or cancel them", 5
            )
        self._left[owner] = left - 1

    async def _count(self, owner: str | None, bound: int) -> int:
        unfinished = select(_c.id).where(_c.scope == self._scope, _c.finished.is_(None))
        if owner is not None:
            unfinished = unfinished.where(_c.owner == owner)
        count = select(func.count()).select_from(unfinished.limit(bound).subquery())

        def work(connection: Connection) -> int:
            return connection.execute(count).scalar_one()

        room = bound - await self._database.read(work)
        if len(self._left) > _MOST_OWNERS:
            self._left.clear()
            self._full.clear()
        if room <= 0:
            self._full[owner] = time.monotonic() + _FULL
            return 0
        self._full.pop(owner, None)
        return max(1, room // 4)
