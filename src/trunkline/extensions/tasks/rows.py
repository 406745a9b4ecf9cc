"""Rows of tasks: read as records, found for a change, brought to their end.

What it is for: what the statements of the store have in common.
What may live here: conditions, columns, decoding. What may not: decisions about a task, the database itself.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    RowMapping,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    literal,
    literal_column,
    null,
    select,
    update,
)

from trunkline.extensions.tasks.policy import decoded
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.states import ENDING, Status, sources
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.tables import clock

_c = tasks.c

COLUMNS = (
    _c.id,
    _c.scope,
    _c.owner,
    _c.client,
    _c.tool,
    _c.status,
    _c.message,
    _c.created,
    _c.updated,
    _c.finished,
    _c.ends,
    _c.erased,
    _c.due,
    _c.worker,
    _c.run,
    _c.attempt,
    _c.began,
    _c.cancelling,
    _c.policy,
    _c.questions,
    _c.key,
)
"""What makes a `Task`."""

_decode_questions = msgspec.json.Decoder(dict[str, dict[str, object]]).decode


def _in(statuses: Sequence[Status]) -> ColumnElement[bool]:
    """Written out: a list that is a parameter is expanded at each execution."""
    return _c.status.in_([literal_column(f"'{status}'") for status in statuses])


def now() -> ScalarSelect[float]:
    """The time, asked once in a statement: PostgreSQL uses no index for a clock that it has to read for each row."""
    return select(clock()).scalar_subquery()


def task_of(row: RowMapping, request: bytes = b"", replay: bytes | None = None, *, lost: bool = False) -> Task:
    """A task, from a row with `COLUMNS`."""
    claimed = row["worker"] is not None
    return Task(
        id=row["id"],
        scope=row["scope"],
        owner=row["owner"],
        client=row["client"],
        tool=row["tool"],
        status=row["status"],
        message=row["message"],
        created=row["created"],
        updated=row["updated"],
        finished=row["finished"],
        began=row["began"],
        ends=row["ends"],
        erased=row["erased"],
        due=None if claimed else row["due"],
        worker=row["worker"],
        until=row["due"] if claimed else 0.0,
        run=row["run"],
        attempt=row["attempt"],
        cancelling=row["cancelling"],
        policy=decoded(row["policy"]),
        questions={} if row["questions"] is None else _decode_questions(row["questions"]),
        key=row["key"],
        request=request,
        replay=replay,
        lost=lost,
    )


class Which(NamedTuple):
    """The row a statement is about: by what it is found, and the values for that."""

    kind: Literal["claimed", "known", "owned"]
    values: Mapping[str, object]


_KNOWN = and_(_c.id == bindparam("of_task"), _c.scope == bindparam("of_scope"))
_CLAUSES: Mapping[str, ColumnElement[bool]] = {
    "known": _KNOWN,
    "owned": and_(_KNOWN, _c.owner == bindparam("of_owner")),
    "claimed": and_(_KNOWN, _c.run == bindparam("of_run"), _c.worker.is_not(None), _in(sources("complete"))),
}


def known(scope: str, id: str, owner: str | None = None) -> Which:
    """A task of a scope, and of an owner where one is named."""
    if owner is None:
        return Which("known", {"of_task": id, "of_scope": scope})
    return Which("owned", {"of_task": id, "of_scope": scope, "of_owner": owner})


def claimed(scope: str, id: str, run: int) -> Which:
    """A task whose runner still has it: nobody claimed it after this run, and it has not ended."""
    return Which("claimed", {"of_task": id, "of_scope": scope, "of_run": run})


def locked(connection: Connection, which: Which) -> RowMapping | None:
    """The row to decide about; nobody changes it before this transaction ends."""
    return connection.execute(_locking(which.kind), which.values).mappings().first()


def marked(connection: Connection, which: Which, message: str | None) -> bool:
    """Whether the row is there; it is then as of now, with a message where there is one."""
    values = which.values if message is None else {**which.values, "new_message": message}
    return connection.execute(_marking(which.kind, message is not None), values).first() is not None


def changed(connection: Connection, id: str, values: Mapping[str, object], *, after: float | None = None) -> Task:
    """Change a row that is locked.

    Parameters:
        after: seconds from now at which it becomes due; None where that does not change.
    """
    bound = {f"new_{name}": value for name, value in values.items()} | {"of_task": id}
    if after is not None:
        bound["after"] = after
    statement = _changing(tuple(sorted(values)), after is not None)
    return task_of(connection.execute(statement, bound).mappings().one())


def recorded(connection: Connection, id: str, replay: bytes) -> None:
    """Keep what a function was told and computed so far."""
    connection.execute(_RECORD, {"of_task": id, "new_replay": replay})


def ended(
    connection: Connection, which: Which, status: Status, payload: bytes, message: str | None, retention: float
) -> Task | None:
    """Bring a task to its end; None where it is not there, or has ended.

    It stays readable for its retention (tasks, section 9.B.4); a life that was longer is not cut.
    """
    values = {**which.values, "new_message": message, "retention": retention}
    row = connection.execute(_ending(which.kind, status), values).mappings().first()
    if row is None:
        return None
    outcome = _COMPLETED if status == "completed" else _OUTCOME
    connection.execute(outcome, {"of_task": row["id"], "new_outcome": payload or None})
    return task_of(row)


# Each is made once: a statement that is built anew costs several times its execution.


@cache
def _locking(kind: str) -> "Select[*tuple[object, ...]]":
    return select(*COLUMNS, _c.asked, _c.began).where(_CLAUSES[kind]).with_for_update()


@cache
def _marking(kind: str, told: bool) -> Executable:
    said: dict[str, ColumnElement[object]] = {"message": bindparam("new_message")} if told else {}
    return update(tasks).where(_CLAUSES[kind]).values(updated=clock(), **said).returning(_c.id)


@cache
def _changing(names: tuple[str, ...], delayed: bool) -> Executable:
    values: dict[str, ColumnElement[object]] = {name: bindparam(f"new_{name}", type_=_c[name].type) for name in names}
    due = {"due": clock() + bindparam("after")} if delayed else {}
    return (
        update(tasks).where(_c.id == bindparam("of_task")).values(**values, **due, updated=clock()).returning(*COLUMNS)
    )


@cache
def _ending(kind: str, status: Status) -> Executable:
    kept = clock() + bindparam("retention")
    ends = case((_c.ends < kept, kept), else_=_c.ends)
    return (
        update(tasks)
        .where(_CLAUSES[kind], _in(sources(ENDING[status])))
        .values(
            status=literal(status),
            message=bindparam("new_message"),
            updated=clock(),
            finished=clock(),
            ends=ends,
            sweep=ends,
            due=null(),
            worker=null(),
            questions=null(),
            asked=null(),
        )
        .returning(*COLUMNS)
    )


_OUTCOME = update(payloads).where(payloads.c.task == bindparam("of_task")).values(outcome=bindparam("new_outcome"))
# Of what did not complete a new task may be made, which goes on behind the steps that are recorded (`repeating`).
_COMPLETED = _OUTCOME.values(replay=null())
_RECORD = update(payloads).where(payloads.c.task == bindparam("of_task")).values(replay=bindparam("new_replay"))
