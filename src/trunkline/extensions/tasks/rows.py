"""Rows of tasks: read as records, found for a change, brought to their end.

What it is for: what the statements of the store have in common.
What may live here: conditions, columns, decoding. What may not: decisions about a task, the database itself.
"""

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, ScalarSelect, and_, case, null, select, update

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
    _c.cancelling,
    _c.policy,
    _c.questions,
    _c.key,
)
"""What makes a `Task`."""

_decode_questions = msgspec.json.Decoder(dict[str, dict[str, object]]).decode


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


def claimed(scope: str, id: str, run: int) -> ColumnElement[bool]:
    """A task whose runner still has it: nobody claimed it after this run, and it has not ended."""
    return and_(
        _c.id == id, _c.scope == scope, _c.run == run, _c.worker.is_not(None), _c.status.in_(sources("complete"))
    )


def locked(connection: Connection, condition: ColumnElement[bool]) -> RowMapping | None:
    """The row to decide about; nobody changes it before this transaction ends."""
    query = select(*COLUMNS, _c.asked, _c.began).where(condition).with_for_update()
    return connection.execute(query).mappings().first()


def changed(connection: Connection, id: str, **values: object) -> Task:
    """Change a row that is locked."""
    statement = update(tasks).where(_c.id == id).values(updated=clock(), **values).returning(*COLUMNS)
    return task_of(connection.execute(statement).mappings().one())


def ended(
    connection: Connection,
    condition: ColumnElement[bool],
    status: Status,
    payload: bytes,
    message: str | None,
    retention: float,
) -> Task | None:
    """Bring the task that fulfils a condition to its end; None where none does, or it has ended.

    It stays readable for its retention (tasks, section 9.B.4); a life that was longer is not cut.
    """
    kept = clock() + retention
    ends = case((_c.ends < kept, kept), else_=_c.ends)
    statement = (
        update(tasks)
        .where(condition, _c.status.in_(sources(ENDING[status])))
        .values(
            status=status,
            message=message,
            updated=clock(),
            finished=clock(),
            ends=ends,
            sweep=ends,
            due=null(),
            worker=null(),
            questions=null(),
            asked=null(),
        )
    )
    row = connection.execute(statement.returning(*COLUMNS)).mappings().first()
    if row is None:
        return None
    outcome = update(payloads).where(payloads.c.task == row["id"]).values(outcome=payload or None, replay=null())
    connection.execute(outcome)
    return task_of(row)
