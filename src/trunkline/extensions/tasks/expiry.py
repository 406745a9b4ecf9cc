"""The end of a task's life: expired, erased, forgotten.

What it is for: no task is there for ever, and none is gone before its time.
What may live here: what goes when, in batches of a bounded size. What may not: who asks for it.
"""

import msgspec
from sqlalchemy import Connection, delete, null, select, update

from trunkline.errors import InternalError
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.rows import COLUMNS, now, task_of
from trunkline.extensions.tasks.states import target
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.tables import clock

_c = tasks.c

_MESSAGE = "The task expired before it ended"

EXPIRED = msgspec.json.encode(
    {"code": InternalError.code, "message": _MESSAGE, "data": {"dev.trunkline/reason": "expired"}}
)
"""The outcome of a task whose life ended before it did (tasks, section 9.B.5)."""


def sweep(connection: Connection, scope: str, most: int, tombstone: float) -> tuple[list[Task], bool]:
    """One batch; returns the tasks that ended by it, and whether there may be more to do."""
    overdue = (
        # Clients are told their times in milliseconds.
        select(_c.id, _c.finished, _c.erased)
        .where(_c.scope == scope, _c.sweep < now() - 0.001)
        .order_by(_c.sweep)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(overdue).all()
    unfinished = [row.id for row in found if row.finished is None]
    finished = [row.id for row in found if row.finished is not None and not row.erased]
    erased = [row.id for row in found if row.erased]
    expired = _expire(connection, unfinished, tombstone) if unfinished else []
    if finished:
        _erase(connection, finished, tombstone)
    if erased:
        connection.execute(delete(tasks).where(_c.id.in_(erased)))
    return expired, len(found) == most


def _expire(connection: Connection, ids: list[str], tombstone: float) -> list[Task]:
    """Those that have not ended: what is left of each is the error that its listeners are told."""
    statement = (
        update(tasks)
        .where(_c.id.in_(ids))
        .values(
            status=target("expire"),
            message=_MESSAGE,
            finished=clock(),
            updated=clock(),
            **_bare(tombstone),
        )
    )
    expired = [task_of(row) for row in connection.execute(statement.returning(*COLUMNS)).mappings()]
    bare = {"request": b"", "replay": None, "outcome": EXPIRED}
    connection.execute(update(payloads).where(payloads.c.task.in_(ids)).values(**bare))
    return expired


def _erase(connection: Connection, ids: list[str], tombstone: float) -> None:
    connection.execute(update(tasks).where(_c.id.in_(ids)).values(message=null(), **_bare(tombstone)))
    connection.execute(delete(payloads).where(payloads.c.task.in_(ids)))


def _bare(tombstone: float) -> dict[str, object]:
    """What is taken from a row, which stays as a tombstone. Its idempotency key is free again."""
    return {
        "erased": True,
        "sweep": clock() + tombstone,
        "due": null(),
        "worker": null(),
        "questions": null(),
        "asked": null(),
        "key": null(),
    }
