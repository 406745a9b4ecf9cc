"""The store of tasks: what was acknowledged is durable, and each change is one the states allow.

What it is for: the one way to tasks in the database, for clients, workers and operators.
What may live here: the operations. What may not: statements that stand in `claims`, `expiry`, `listing`; running tasks.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, select

from trunkline.engine.doors import InputRequest
from trunkline.errors import InternalError, InvalidParams
from trunkline.extensions.tasks import claims, expiry, listing
from trunkline.extensions.tasks.asking import asking, with_answers
from trunkline.extensions.tasks.creation import created, values_of
from trunkline.extensions.tasks.records import Attempt, Bounds, NewTask, Task, TaskFilter
from trunkline.extensions.tasks.room import Room
from trunkline.extensions.tasks.rows import COLUMNS, changed, claimed, ended, known, locked, marked, recorded, task_of
from trunkline.extensions.tasks.states import ENDS, Status, sources, target
from trunkline.extensions.tasks.tables import attempts, payloads, tasks
from trunkline.extensions.tasks.turns import Turn
from trunkline.storage.storage import Storage
from trunkline.storage.tables import clock

_c = tasks.c

TOPIC = "tasks"
"""What replicas tell each other of: the scope and the id of each task that changed."""


_LOAD = select(*COLUMNS).where(_c.id == bindparam("id"), _c.scope == bindparam("scope"))
_OUTCOME = (
    select(payloads.c.outcome)
    .join(tasks, _c.id == payloads.c.task)
    .where(_c.id == bindparam("id"), _c.scope == bindparam("scope"))
)
_BY_KEY = select(*COLUMNS, _c.digest).where(
    _c.scope == bindparam("scope"),
    _c.owner == bindparam("owner"),
    _c.tool == bindparam("tool"),
    _c.key == bindparam("key"),
    _c.key.is_not(None),
)
_REPLAY = select(payloads.c.replay).where(payloads.c.task == bindparam("id"))
_NOW = select(clock())
_ATTEMPT = attempts.insert()


class TaskStore:
    """The tasks of one scope.

    Parameters:
        storage: a database with the tables of `TASKS`.
        scope: which application they belong to; tasks of others are unknown here.
        bounds: how much it takes in.

    Every method raises `StorageUnavailable` when the database is out of reach; a change may be made all the same.
    Runners name their `run`: who lost its claim changes nothing.

        store = TaskStore(storage, "weather")
        task, _ = await store.create(NewTask("alice", None, "report", TaskPolicy(), b"..."))
    """

    def __init__(self, storage: Storage, scope: str, bounds: Bounds | None = None) -> None:
        self._storage = storage
        self._database = storage.database
        self._scope = scope
        self._bounds = bounds or Bounds()
        self._room = Room(self._database, scope, self._bounds)
        self._turn = Turn(scope)
        self._listeners: list[Callable[[str], None]] = []

    # -- life ------------------------------------------------------------------------------------------------------

    async def create(self, new: NewTask, *, worker: str | None = None, lease: float = 30.0) -> tuple[Task, bool]:
        """A new task, or that which the client's idempotency key finds; durable and visible when it returns.

        Parameters:
            worker: who runs it already; None leaves it to whoever claims it.
            lease: seconds after which others may take it from that worker.

        Returns the task, and whether it is new. Raises `Overloaded` when there is no room, `InvalidParams` when the key
        was used for other arguments.
        """
        if new.key is not None:
            earlier = await self._database.read(lambda connection: self._by_key(connection, new))
            if earlier is not None:
                return self._same(earlier, new), False
        await self._room.take(new.owner)
        id = f"t-{secrets.token_urlsafe(18)}"
        given = values_of(id, self._scope, new, worker, lease)

        def work(connection: Connection) -> tuple[Task | None, tuple[Task, bytes] | None]:
            while True:
                made = created(connection, given)
                if made is not None:
                    return task_of(made, new.request, new.replay), None
                earlier = self._by_key(connection, new)
                if earlier is not None:
                    return None, earlier

        made, earlier = await self._database.write(work, single=True)
        if made is None:
            assert earlier is not None
            return self._same(earlier, new), False
        if worker is None:
            # Of one that has a worker nobody needs to know: its client does not know its id yet.
            self._tell(id)
        return made, True

    async def load(self, id: str) -> Task | None:
        """A task, or what is left of it; None for one that is not known here."""

        def work(connection: Connection) -> Task | None:
            row = connection.execute(_LOAD, {"id": id, "scope": self._scope}).mappings().first()
            return None if row is None else task_of(row)

        return await self._database.read(work)

    async def outcome(self, id: str) -> bytes | None:
        """The encoded result or error of a task that ended; None where it has none, or it was erased."""

        def work(connection: Connection) -> bytes | None:
            return connection.execute(_OUTCOME, {"id": id, "scope": self._scope}).scalar()

        return await self._database.read(work, large=True)

    async def answer(self, id: str, owner: str, responses: Mapping[str, object]) -> Task | None:
        """Apply a client's answers, each once: those to no open question are ignored (tasks, section 5, Update).

        An answer that does not fit its question is asked again, under a new key. Returns the task, None for one that is
        unknown or not this owner's.
        """

        def work(connection: Connection) -> tuple[Task | None, bool]:
            row = locked(connection, known(self._scope, id, owner))
            if row is None:
                return None, False
            before = task_of(row)
            if before.status not in sources("answer") or not before.questions.keys() & responses.keys():
                return before, False
            asked = asking(before.questions, row["asked"])
            taken = asked.answer(responses)
            if taken:
                stored = connection.execute(_REPLAY, {"id": id}).scalar()
                replay = with_answers(stored, id, taken)
                recorded(connection, id, replay)
            if asked.open:
                return changed(connection, id, asked.stored()), True
            return changed(connection, id, {**asked.stored(), "status": target("answer")}, after=0.0), True

        task, news = await self._database.write(work)
        if news:
            self._tell(id)
        return task

    async def cancel(self, id: str, owner: str | None) -> Task | None:
        """Cancel a task that waits, and have the worker of one that runs told; one that ended stays as it is.

        Parameters:
            owner: None for an operator.

        Returns the task, None for one that is unknown or not this owner's.
        """

        def work(connection: Connection) -> tuple[Task | None, bool]:
            row = locked(connection, known(self._scope, id, owner))
            if row is None:
                return None, False
            before = task_of(row)
            if before.status in ENDS or before.cancelling:
                return before, False
            if before.worker is not None:
                return changed(connection, id, {"cancelling": True}), True
            return ended(
                connection, known(self._scope, id), "cancelled", b"", claims.CANCELLED, before.policy.retention
            ), True

        task, news = await self._database.write(work)
        if news:
            self._tell(id)
        return task

    # -- for workers -----------------------------------------------------------------------------------------------

    async def claim(self, worker: str, lease: float, most: int, tools: Sequence[str] | None = None) -> list[Task]:
        """Take tasks that are due, or whose worker let its lease run out (`lost`); the next run of each begins.

        Parameters:
            lease: seconds after which others may take them, unless they are renewed.
            most: how many.
            tools: what this worker runs; None for everything.
        """

        def work(connection: Connection) -> tuple[list[Task], list[Task]]:
            return claims.claim(connection, self._turn, worker, lease, most, tools)

        taken, cancelled = await self._database.write(work)
        for task in cancelled:
            self._tell(task.id)
        return taken

    async def renew(self, worker: str, runs: Mapping[str, int], lease: float) -> dict[str, bool]:
        """Keep tasks; by id whether the client wants it cancelled. A task that is not there is lost."""

        def work(connection: Connection) -> dict[str, bool]:
            return claims.renew(connection, self._scope, worker, runs, lease)

        return await self._database.write(work, single=True, durable=False)

    async def next_due(self) -> float | None:
        """Seconds until somebody has to look after a task, not positive when it is time; None where none waits."""
        return await self._database.read(lambda connection: claims.next_due(connection, self._scope))

    async def record(self, id: str, run: int, replay: bytes, message: str | None = None) -> bool:
        """Keep steps and answers so far; False where the claim is lost."""

        def work(connection: Connection) -> bool:
            if not marked(connection, claimed(self._scope, id, run), message):
                return False
            recorded(connection, id, replay)
            return True

        kept = await self._database.write(work)
        if kept and message is not None:
            self._tell(id)
        return kept

    async def tell(self, id: str, run: int, message: str) -> bool:
        """The status message; False where the claim is lost. A power failure may undo it."""

        def work(connection: Connection) -> bool:
            return marked(connection, claimed(self._scope, id, run), message)

        told = await self._database.write(work, single=True, durable=False)
        if told:
            self._tell(id)
        return told

    async def park(self, id: str, run: int, requests: Mapping[str, InputRequest], replay: bytes) -> Task | None:
        """Wait for the client's answers, without a worker; None where the claim is lost."""

        def work(connection: Connection) -> Task | None:
            row = locked(connection, claimed(self._scope, id, run))
            if row is None:
                return None
            if row["cancelling"]:
                return self._cancelled(connection, task_of(row))
            asked = asking({}, row["asked"])
            for key, request in requests.items():
                asked.ask(key, request.wire())
            recorded(connection, id, replay)
            left = {"status": target("park"), "due": None, "worker": None, "message": None}
            return changed(connection, id, {**asked.stored(), **left})

        return self._told(await self._database.write(work))

    async def retry(self, id: str, run: int, why: str, delay: float, error: Mapping[str, object] | None) -> Task | None:
        """End an attempt, and begin another one in `delay` seconds; None where the claim is lost.

        Where the policy allows no further attempt, or its deadline is before that, the task fails with the error.
        """

        def work(connection: Connection) -> Task | None:
            row = locked(connection, claimed(self._scope, id, run))
            if row is None:
                return None
            before = task_of(row)
            if before.cancelling:
                return self._cancelled(connection, before)
            limit = before.policy.retry
            now: float = connection.execute(_NOW).scalar_one()
            late = limit.deadline is not None and now + delay > before.created + limit.deadline
            if late or before.attempt >= limit.attempts:
                payload = msgspec.json.encode(InternalError().wire() if error is None else error)
                return ended(connection, known(self._scope, id), "failed", payload, why, before.policy.retention)
            attempt = {
                "task": id,
                "number": before.attempt,
                "began": row["began"],
                "ended": now,
                "worker": before.worker,
                "why": why,
                "error": None if error is None else msgspec.json.encode(error),
            }
            connection.execute(_ATTEMPT, attempt)
            again = {"attempt": before.attempt + 1, "worker": None, "began": None}
            return changed(connection, id, {**again, "message": why}, after=delay)

        return self._told(await self._database.write(work))

    async def release(self, id: str, run: int) -> bool:
        """Give a task back: another worker goes on with the same attempt. False where the claim is lost."""

        def work(connection: Connection) -> Task | None:
            row = locked(connection, claimed(self._scope, id, run))
            if row is None:
                return None
            if row["cancelling"]:
                return self._cancelled(connection, task_of(row))
            return changed(connection, id, {"worker": None}, after=0.0)

        return self._told(await self._database.write(work)) is not None

    async def finish(
        self, id: str, run: int, status: Status, payload: bytes, message: str | None, retention: float
    ) -> Task | None:
        """End a task; None where the claim is lost.

        Parameters:
            payload: the encoded result, or error object; nothing for one that was cancelled.
            retention: seconds it stays readable at least.

        A result that is larger than the bound fails the task, with an error that says so.
        """
        if len(payload) > self._bounds.outcome:
            status, message = (
                "failed",
                f"The result has {len(payload)} bytes, and at most {self._bounds.outcome} are kept",
            )
            data = {"dev.trunkline/reason": "too_large", "dev.trunkline/retry": False}
            payload = msgspec.json.encode(InternalError(message, data).wire())
        outcome, why = payload, message

        def work(connection: Connection) -> Task | None:
            return ended(connection, claimed(self._scope, id, run), status, outcome, why, retention)

        return self._told(await self._database.write(work))

    # -- upkeep ----------------------------------------------------------------------------------------------------

    async def expire(self, most: int = 100) -> list[Task]:
        """Bring to their end the tasks whose life is over, and erase those that ended and are kept no longer.

        Parameters:
            most: rows in one transaction, and tasks that are brought to their end.

        Returns those that ended now, for a last notification.
        """

        def work(connection: Connection) -> tuple[list[Task], bool]:
            return expiry.sweep(connection, self._scope, most, self._bounds.tombstone)

        expired: list[Task] = []
        more = True
        while more and len(expired) < most:
            batch, more = await self._database.write(work, durable=False)
            expired += batch
            for task in batch:
                self._tell(task.id)
        return expired

    async def list(self, filter: TaskFilter, after: str | None, most: int) -> list[Task]:
        """Tasks for an operator, the newest first; `after` is the id of the last one seen."""
        mine = msgspec.structs.replace(filter, scope=self._scope)
        return await self._database.read(lambda connection: listing.listed(connection, mine, after, most))

    async def attempts(self, id: str) -> "Sequence[Attempt]":
        """The attempts of a task, the first one first; none of a task that is not known."""
        return await self._database.read(lambda connection: listing.attempts_of(connection, self._scope, id))

    def changed(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Be told the id of each task that changed, here or at another replica; returns what ends it.

        Now and then something may be missed; then "" is told where that is known: any may have changed.
        """

        def heard(_: str, message: bytes) -> None:
            scope, _, id = message.decode().rpartition("\n")
            if scope == self._scope:
                listener(id)

        leave = self._storage.replicas.receive(TOPIC, heard)
        trust = self._storage.replicas.on_gap(lambda: listener(""))
        self._listeners.append(listener)

        def end() -> None:
            self._listeners.remove(listener)
            trust()
            leave()

        return end

    # -- parts -----------------------------------------------------------------------------------------------------

    def _tell(self, id: str) -> None:
        for listener in list(self._listeners):
            listener(id)
        self._storage.replicas.broadcast(TOPIC, f"{self._scope}\n{id}".encode())

    def _told(self, task: Task | None) -> Task | None:
        if task is not None:
            self._tell(task.id)
        return task

    def _cancelled(self, connection: Connection, task: Task) -> Task | None:
        return ended(connection, known(self._scope, task.id), "cancelled", b"", claims.CANCELLED, task.policy.retention)

    def _by_key(self, connection: Connection, new: NewTask) -> tuple[Task, bytes] | None:
        of = {"scope": self._scope, "owner": new.owner, "tool": new.tool, "key": new.key}
        row = connection.execute(_BY_KEY, of).mappings().first()
        return None if row is None else (task_of(row), row["digest"])

    def _same(self, earlier: tuple[Task, bytes], new: NewTask) -> Task:
        task, digest = earlier
        if digest != new.digest:
            raise InvalidParams(
                f"Invalid params: this idempotency key was used for other arguments of {new.tool[:128]!r}",
                {"dev.trunkline/reason": "key_reused"},
            )
        return task
