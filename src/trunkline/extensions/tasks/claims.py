"""Who runs which task: claims, their renewal, and when something is due.

What it is for: tasks go to one worker at a time, over all replicas.
What may live here: those statements. What may not: whose turn it is (`turns`), what a worker does.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from trunkline.extensions.tasks.policy import decoded
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.rows import COLUMNS, ended, known, task_of
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.extensions.tasks.turns import Turn, chosen
from trunkline.storage.tables import clock

_c = tasks.c

CANCELLED = "Cancelled on request"

_RENEW = (
    update(tasks)
    .where(
        _c.id.in_(bindparam("ids", expanding=True)),
        _c.scope == bindparam("of_scope"),
        _c.worker == bindparam("of_worker"),
    )
    .values(due=clock() + bindparam("lease"))
    .returning(_c.id, _c.run, _c.cancelling)
)
_SOONEST = select(func.min(_c.due) - clock()).where(_c.scope == bindparam("scope"), _c.due.is_not(None))
_CLAIM = (
    update(tasks)
    .where(_c.id.in_(bindparam("ids", expanding=True)))
    .values(
        worker=bindparam("new_worker"),
        ran_by=bindparam("new_worker"),
        due=clock() + bindparam("lease"),
        run=_c.run + 1,
        began=func.coalesce(_c.began, clock()),
    )
    .returning(*COLUMNS)
)
_PAYLOADS = select(payloads.c.task, payloads.c.request, payloads.c.replay).where(
    payloads.c.task.in_(bindparam("ids", expanding=True))
)


def claim(
    connection: Connection, turn: Turn, worker: str, lease: float, most: int, tools: Sequence[str] | None
) -> tuple[list[Task], list[Task]]:
    """Claim what is due; returns that, and what its client wanted cancelled when its worker was lost."""
    found = chosen(connection, turn, most, tools)
    cancelled = [_cancelled(connection, turn.scope, row) for row in found if row["cancelling"]]
    lost = {row["id"]: row["worker"] is not None for row in found if not row["cancelling"]}
    claimed = _claimed(connection, lost, worker, lease) if lost else []
    return claimed, [task for task in cancelled if task is not None]


def renew(connection: Connection, scope: str, worker: str, runs: Mapping[str, int], lease: float) -> dict[str, bool]:
    """Keep what a worker has; by id whether its client wants it cancelled. What is not there is lost."""
    values = {"ids": sorted(runs), "of_scope": scope, "of_worker": worker, "lease": lease}
    return {row.id: row.cancelling for row in connection.execute(_RENEW, values) if row.run == runs[row.id]}


def next_due(connection: Connection, scope: str) -> float | None:
    """Seconds until somebody has to look after a task; negative when it is late, None where none waits."""
    found: float | None = connection.execute(_SOONEST, {"scope": scope}).scalar_one()
    return found


def _claimed(connection: Connection, lost: Mapping[str, bool], worker: str, lease: float) -> list[Task]:
    values = {"ids": list(lost), "new_worker": worker, "lease": lease}
    rows = {row["id"]: row for row in connection.execute(_CLAIM, values).mappings()}
    stored = {id: (request, replay) for id, request, replay in connection.execute(_PAYLOADS, {"ids": list(lost)})}
    return [task_of(rows[id], *stored[id], lost=was_lost) for id, was_lost in lost.items()]


def _cancelled(connection: Connection, scope: str, row: RowMapping) -> Task | None:
    retention = decoded(row["policy"]).retention
    return ended(connection, known(scope, row["id"]), "cancelled", b"", CANCELLED, retention)
