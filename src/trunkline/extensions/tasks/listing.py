"""Tasks as operators look at them.

What it is for: lists by filter, page by page, of one application or all, and the attempts of one task.
What may live here: those queries. What may not: changes.
"""

import heapq
from collections.abc import Mapping

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_

from trunkline.extensions.tasks.records import Attempt, Shown, Task, TaskFilter
from trunkline.extensions.tasks.rows import COLUMNS, now, task_of
from trunkline.extensions.tasks.tables import attempts, tasks

_c = tasks.c

_WORKING = and_(_c.status == "working", ~_c.erased)
_SHOWN: Mapping[Shown, ColumnElement[bool]] = {
    "working": _WORKING,
    "waiting": and_(_WORKING, _c.worker.is_(None), _c.due <= now()),
    "retrying": and_(_WORKING, _c.worker.is_(None), _c.due > now()),
    "running": and_(_WORKING, _c.worker.is_not(None), _c.due > now()),
    "lost": and_(_WORKING, _c.worker.is_not(None), _c.due <= now()),
    "input_required": _c.status == "input_required",
    "completed": and_(_c.status == "completed", ~_c.erased),
    "failed": and_(_c.status == "failed", ~_c.erased),
    "cancelled": and_(_c.status == "cancelled", ~_c.erased),
    "expired": _c.erased,
}
"""Which rows `records.shown_as` gives each name."""


def listed(connection: Connection, filter: TaskFilter, after: str | None, most: int) -> list[Task]:
    """The newest first; `after` is the id of the last one seen."""
    wanted = scopes(connection) if filter.scope is None else [filter.scope]
    # Each scope is in order in its index; all of them together are in order nowhere.
    pages = [_page(connection, scope, filter, after, most) for scope in wanted]
    return heapq.nlargest(most, (task for page in pages for task in page), key=lambda task: (task.created, task.id))


def counted(connection: Connection, filter: TaskFilter) -> int:
    """How many there are."""
    wanted = scopes(connection) if filter.scope is None else [filter.scope]
    number = select(func.count()).where(_c.scope.in_(wanted), *_conditions(filter))
    return connection.execute(number).scalar_one()


def scopes(connection: Connection) -> list[str]:
    """The applications that have tasks; each is found behind the one before, however many tasks that has."""
    found: list[str] = []
    query = select(func.min(_c.scope))
    while True:
        scope = connection.execute(query.where(_c.scope > found[-1]) if found else query).scalar_one()
        if scope is None:
            return found
        found.append(scope)


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


def _page(connection: Connection, scope: str, filter: TaskFilter, after: str | None, most: int) -> list[Task]:
    query = select(*COLUMNS).where(_c.scope == scope, *_conditions(filter))
    if after is not None:
        last = select(_c.created, _c.id).where(_c.id == after).scalar_subquery()
        query = query.where(tuple_(_c.created, _c.id) < last)
    query = query.order_by(_c.created.desc(), _c.id.desc()).limit(most)
    return [task_of(row) for row in connection.execute(query).mappings()]


def _conditions(filter: TaskFilter) -> list[ColumnElement[bool]]:
    exact = ((_c.status, filter.status), (_c.owner, filter.owner), (_c.tool, filter.tool))
    found = [column == wanted for column, wanted in exact if wanted is not None]
    if filter.shown:
        found.append(or_(*(_SHOWN[one] for one in filter.shown)))
    if filter.ended:
        found.append(_c.finished.is_not(None))
    if filter.since is not None:
        found.append(_c.created >= filter.since)
    if filter.until is not None:
        found.append(_c.created < filter.until)
    return found
