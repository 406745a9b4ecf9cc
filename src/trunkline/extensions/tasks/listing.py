"""Tasks as operators look at them.

What it is for: lists by filter, page by page, and the attempts of one.
What may live here: those queries. What may not: changes.
"""

import msgspec
from sqlalchemy import ColumnElement, Connection, select, tuple_

from trunkline.extensions.tasks.records import Attempt, Task, TaskFilter
from trunkline.extensions.tasks.rows import COLUMNS, task_of
from trunkline.extensions.tasks.tables import attempts, tasks

_c = tasks.c


def listed(connection: Connection, scope: str, filter: TaskFilter, after: str | None, most: int) -> list[Task]:
    """The newest first; `after` is the id of the last one seen."""
    query = select(*COLUMNS).where(_c.scope == scope, *_conditions(filter))
    if after is not None:
        last = select(_c.created, _c.id).where(_c.id == after, _c.scope == scope).scalar_subquery()
        query = query.where(tuple_(_c.created, _c.id) < last)
    query = query.order_by(_c.created.desc(), _c.id.desc()).limit(most)
    return [task_of(row) for row in connection.execute(query).mappings()]


def attempts_of(connection: Connection, scope: str, id: str) -> list[Attempt]:
    """All attempts of a task, the first one first; none of a task that is not there."""
    current = select(_c.attempt, _c.began, _c.finished, _c.ran_by, _c.message).where(_c.id == id, _c.scope == scope)
    row = connection.execute(current).first()
    if row is None:
        return []
    earlier = select(attempts).where(attempts.c.task == id).order_by(attempts.c.number)
    found = [
        Attempt(
            one.number,
            one.began,
            one.ended,
            one.worker,
            one.why,
            None if one.error is None else msgspec.json.decode(one.error, type=dict[str, object]),
        )
        for one in connection.execute(earlier)
    ]
    why = None if row.finished is None else row.message
    return [*found, Attempt(row.attempt, row.began, row.finished, row.ran_by, why, None)]


def _conditions(filter: TaskFilter) -> list[ColumnElement[bool]]:
    exact = ((_c.status, filter.status), (_c.owner, filter.owner), (_c.tool, filter.tool))
    found = [column == wanted for column, wanted in exact if wanted is not None]
    if filter.since is not None:
        found.append(_c.created >= filter.since)
    if filter.until is not None:
        found.append(_c.created < filter.until)
    return found
