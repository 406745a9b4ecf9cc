"""The tasks of a whole database, for operators.

What it is for: whoever runs the servers sees and ends the tasks of all of them, and of all owners.
What may live here: what only operators do, over all scopes. What may not: statements, what is printed.
"""

import secrets
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select

from trunkline.errors import Overloaded
from trunkline.extensions.tasks import expiry, listing, repeating
from trunkline.extensions.tasks.records import Attempt, Bounds, Task, TaskFilter
from trunkline.extensions.tasks.repeating import Repeated
from trunkline.extensions.tasks.room import Room
from trunkline.extensions.tasks.rows import COLUMNS, task_of
from trunkline.extensions.tasks.states import ENDS
from trunkline.extensions.tasks.store import TOPIC, TaskStore
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.storage import Storage
from trunkline.storage.tables import clock

_c = tasks.c


class AllTasks:
    """The tasks of every scope.

    Parameters:
        storage: a database with the tables of `TASKS`.
        bounds: how much the servers take in.

    Every method raises `StorageUnavailable` when the database is out of reach.

        everything = AllTasks(storage)
        await everything.list(TaskFilter(shown=("lost",)), None, 50)
    """

    def __init__(self, storage: Storage, bounds: Bounds | None = None) -> None:
        self._storage = storage
        self._database = storage.database
        self._bounds = bounds or Bounds()
        self._rooms: dict[str, Room] = {}

    async def now(self) -> float:
        """Seconds since 1970 by the database's clock, which all times of tasks are of."""
        return await self._database.read(lambda connection: connection.execute(select(clock())).scalar_one())

    async def list(self, filter: TaskFilter, after: str | None, most: int) -> list[Task]:
        """The newest first; `after` is the id of the last one seen."""
        return await self._database.read(lambda connection: listing.listed(connection, filter, after, most))

    async def count(self, filter: TaskFilter) -> int:
        """How many there are."""
        return await self._database.read(lambda connection: listing.counted(connection, filter))

    async def find(self, ids: Sequence[str]) -> dict[str, Task]:
        """Tasks by their ids; those that are not known are left out."""
        query = select(*COLUMNS).where(_c.id.in_(ids))

        def work(connection: Connection) -> dict[str, Task]:
            return {row["id"]: task_of(row) for row in connection.execute(query).mappings()}

        return await self._database.read(work)

    async def attempts(self, task: Task) -> Sequence[Attempt]:
        """The attempts of a task, the first one first."""
        return await TaskStore(self._storage, task.scope).attempts(task.id)

    async def request(self, task: Task) -> bytes | None:
        """The stored call; None once it is erased."""
        query = select(payloads.c.request).where(payloads.c.task == task.id)
        return await self._database.read(lambda connection: connection.execute(query).scalar()) or None

    async def outcome(self, task: Task) -> bytes | None:
        """The encoded result or error; None where there is none, or it was erased."""
        return await TaskStore(self._storage, task.scope).outcome(task.id)

    async def cancel(self, task: Task) -> Task:
        """End a task that waits, and have the worker of one that runs told; one that ended stays as it is."""
        return await TaskStore(self._storage, task.scope).cancel(task.id, None) or task

    async def retry(self, task: Task, *, anew: bool = False) -> Repeated:
        """Run a task again that failed or was cancelled, as a new one, or make one that waits for an attempt due.

        A new task is one more of its owner's, for whom there has to be room: what an operator begins may not keep out
        the calls of clients.

        Parameters:
            anew: a new task does all steps again; else what was recorded stands.
        """
        if task.status in ENDS:
            room = self._rooms.setdefault(task.scope, Room(self._database, task.scope, self._bounds))
            try:
                await room.take(task.owner)
            except Overloaded as full:
                return Repeated("refused", task, full.message)
        made = f"t-{secrets.token_urlsafe(18)}"

        def work(connection: Connection) -> Repeated | None:
            return repeating.repeat(connection, task.id, made, anew=anew)

        done = await self._database.write(work)
        if done is None:
            return Repeated("refused", task, "it is not there any more")
        if done.how != "refused":
            self._storage.replicas.broadcast(TOPIC, f"{done.task.scope}\n{done.task.id}".encode())
        return done

    async def purge(self, ids: Sequence[str], *, whole: bool = False) -> int:
        """Erase tasks that have ended; returns how many there were.

        Parameters:
            ids: a batch; all of it in one transaction.
            whole: keep no facts either, also of those that were erased; their owners learn nothing any more.
        """
        tombstone = self._bounds.tombstone
        return await self._database.write(lambda connection: expiry.purge(connection, ids, tombstone, whole=whole))

    def changed(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Be told the id of each task that changed at a replica, "" where that may have been missed; returns what ends
        it."""

        def heard(_: str, message: bytes) -> None:
            listener(message.decode().rpartition("\n")[2])

        leave = self._storage.replicas.receive(TOPIC, heard)
        trust = self._storage.replicas.on_gap(lambda: listener(""))

        def end() -> None:
            trust()
            leave()

        return end
