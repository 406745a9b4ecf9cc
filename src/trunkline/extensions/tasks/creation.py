"""How a task comes into the database.

What it is for: the row of a new task and its payload, both or neither, in as few round trips as the database allows.
What may live here: those statements. What may not: idempotency keys, whether there is room.
"""

from collections.abc import Mapping
from functools import cache

from sqlalchemy import ColumnElement, Connection, Executable, Insert, RowMapping, bindparam, select

from trunkline.extensions.tasks.policy import encoded
from trunkline.extensions.tasks.records import NewTask
from trunkline.extensions.tasks.rows import COLUMNS
from trunkline.extensions.tasks.states import target
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.tables import clock, insert

_PLAIN = (
    "id",
    "scope",
    "owner",
    "client",
    "tool",
    "status",
    "erased",
    "worker",
    "ran_by",
    "run",
    "attempt",
    "cancelling",
    "rank",
    "concurrency",
    "policy",
    "key",
    "digest",
)
"""Columns that are as they are given; the others are times."""


def values_of(id: str, scope: str, new: NewTask, worker: str | None, lease: float) -> dict[str, object]:
    """What the statements of `created` are given.

    Parameters:
        worker: who runs it already, and may for `lease` seconds.
    """
    columns: dict[str, object] = {
        "id": id,
        "scope": scope,
        "owner": new.owner,
        "client": new.client,
        "tool": new.tool,
        "status": target("create"),
        "erased": False,
        "worker": worker,
        "ran_by": worker,
        "run": 0 if worker is None else 1,
        "attempt": 1,
        "cancelling": False,
        "rank": -new.policy.priority,
        "concurrency": new.policy.concurrency,
        "policy": encoded(new.policy),
        "key": new.key,
        "digest": new.digest,
    }
    given: dict[str, object] = {f"new_{name}": value for name, value in columns.items()}
    if worker is not None:
        given["lease"] = lease
    if new.policy.ttl is not None:
        given["life"] = new.policy.ttl
    return given | {"request": new.request, "replay": new.replay}


def created(connection: Connection, given: Mapping[str, object]) -> RowMapping | None:
    """The row of a new task, with its payload; None where another one has its key.

    One statement on PostgreSQL, which needs no transaction then: that would be three round trips more.
    """
    running, mortal = "lease" in given, "life" in given
    if connection.dialect.name == "postgresql":
        return connection.execute(_both(running, mortal), given).mappings().first()
    made = connection.execute(_task(connection.dialect.name, running, mortal), given).mappings().first()
    if made is not None:
        connection.execute(_PAYLOAD, given)
    return made


# Each is made once: a statement that is built anew costs several times its execution.


def _inserting(dialect: str, running: bool, mortal: bool) -> Insert:
    plain = {name: bindparam(f"new_{name}", type_=tasks.c[name].type) for name in _PLAIN}
    times: dict[str, ColumnElement[float]] = {"created": clock(), "updated": clock(), "due": clock()}
    if running:
        times |= {"began": clock(), "due": clock() + bindparam("lease")}
    if mortal:
        times |= {"ends": clock() + bindparam("life"), "sweep": clock() + bindparam("life")}
    return insert(dialect, tasks).values(**plain, **times).on_conflict_do_nothing()


@cache
def _task(dialect: str, running: bool, mortal: bool) -> Executable:
    return _inserting(dialect, running, mortal).returning(*COLUMNS)


@cache
def _both(running: bool, mortal: bool) -> Executable:
    made = _inserting("postgresql", running, mortal).returning(*COLUMNS).cte("made")
    large = [bindparam(name, type_=payloads.c[name].type) for name in ("request", "replay")]
    kept = insert("postgresql", payloads).from_select(["task", "request", "replay"], select(made.c.id, *large))
    return select(made).add_cte(kept.cte("kept"))


_PAYLOAD = payloads.insert().values(
    task=bindparam("new_id"),
    request=bindparam("request", type_=payloads.c.request.type),
    replay=bindparam("replay", type_=payloads.c.replay.type),
)
