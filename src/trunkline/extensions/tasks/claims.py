"""Who runs which task: claims, their renewal, and when something is due.

What it is for: the choice of the next tasks, over all replicas, each for one worker at a time.
What may live here: those statements. What may not: what a worker does, what becomes of a run.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, null, select, update

from trunkline.extensions.tasks.rows import COLUMNS, ended, task_of
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.tables import clock

_c = tasks.c


def claim(
    connection: Connection, scope: str, worker: str, lease: float, most: int, tools: Sequence[str] | None
) -> tuple[list[Task], list[Task]]:
    """Claim what is due; returns that, and what was to be cancelled when its worker was lost."""
    due = select(_c.id, _c.worker, _c.cancelling).where(_c.scope == scope, _c.due <= clock(), _c.due.is_not(None))
    if tools is not None:
        due = due.where(_c.tool.in_(tools))
    due = due.order_by(_c.rank, _c.due).limit(most).with_for_update(skip_locked=True)
    found = connection.execute(due).all()
    return take(connection, worker, lease, [(row.id, row.worker, row.cancelling) for row in found])


def take(
    connection: Connection, worker: str, lease: float, chosen: Sequence[tuple[str, str | None, bool]]
) -> tuple[list[Task], list[Task]]:
    """Claim tasks whose rows are locked: each with who had it, and whether its client wants it cancelled."""
    cancelled = [
        ended(connection, _c.id == id, "cancelled", b"", "Cancelled by the client", 3600)
        for id, _, cancelling in chosen
        if cancelling
    ]
    wanted = {id: holder is not None for id, holder, cancelling in chosen if not cancelling}
    if wanted:
        statement = (
            update(tasks)
            .where(_c.id.in_(wanted))
            .values(
                worker=worker,
                ran_by=worker,
                due=clock() + lease,
                run=_c.run + 1,
                began=func.coalesce(_c.began, clock()),
            )
        )
        rows = {row.id: row for row in connection.execute(statement.returning(*COLUMNS))}
        kept = select(payloads.c.task, payloads.c.request, payloads.c.replay).where(payloads.c.task.in_(wanted))
        stored = {id: (request, replay) for id, request, replay in connection.execute(kept)}
        claimed = [task_of(rows[id], *stored[id], lost=lost) for id, lost in wanted.items()]
    else:
        claimed = []
    return claimed, [task for task in cancelled if task is not None]


def renew(connection: Connection, scope: str, worker: str, runs: Mapping[str, int], lease: float) -> dict[str, bool]:
    """Keep what a worker has; by id whether its client wants it cancelled. What is not there is lost."""
    statement = (
        update(tasks)
        .where(_c.id.in_(sorted(runs)), _c.scope == scope, _c.worker == worker)
        .values(due=clock() + lease)
        .returning(_c.id, _c.run, _c.cancelling)
    )
    return {row.id: row.cancelling for row in connection.execute(statement) if row.run == runs[row.id]}


def next_due(connection: Connection, scope: str) -> float | None:
    """Seconds until somebody has to look after a task; negative when it is late, None where none waits."""
    soonest = select(func.min(_c.due) - clock()).where(_c.scope == scope, _c.due.is_not(None))
    found: float | None = connection.execute(soonest).scalar_one()
    return found
