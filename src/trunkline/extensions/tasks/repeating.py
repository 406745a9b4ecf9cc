"""A task that ended badly, again.

What it is for: what an operator's `retry` does: a new task from the stored call, since no end is ever left, or the next
attempt of one that waits for it, now.
What may live here: those two changes. What may not: attempts by policy; the worker makes those.
"""

from typing import Literal

import msgspec
from sqlalchemy import Connection, RowMapping, null, select, update

from trunkline.extensions.tasks.policy import decoded
from trunkline.extensions.tasks.records import Task, shown_as
from trunkline.extensions.tasks.rows import COLUMNS, changed, task_of
from trunkline.extensions.tasks.states import target
from trunkline.extensions.tasks.tables import payloads, tasks
from trunkline.storage.tables import clock

_c = tasks.c


class Repeated(msgspec.Struct, frozen=True):
    """What came of it.

    Parameters:
        how: `new`, or the next attempt `hastened`; `refused` for a task that nothing can be done for.
        task: the new one, or the one there was.
        why: it was refused.
    """

    how: Literal["new", "hastened", "refused"]
    task: Task
    why: str = ""


class _Result(msgspec.Struct):
    isError: bool = False


_decode_result = msgspec.json.Decoder(_Result).decode


def repeat(connection: Connection, id: str, made: str, *, anew: bool) -> Repeated | None:
    """Run a task again; None for one that is not known.

    Parameters:
        made: the id of the new task, if there is to be one.
        anew: it does all steps again and asks all questions again; else what was recorded stands.
    """
    query = select(*COLUMNS, _c.rank, _c.concurrency, _c.digest).where(_c.id == id).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    task = task_of(row)
    now: float = connection.execute(select(clock())).scalar_one()
    state = shown_as(task, now)
    if state == "retrying":
        return Repeated("hastened", changed(connection, id, {}, after=0.0))
    kept = select(payloads.c.request, payloads.c.replay, payloads.c.outcome).where(payloads.c.task == id)
    found = connection.execute(kept).first()
    if state == "completed" and found is not None and _decode_result(found.outcome).isError:
        # The tool failed, which for the protocol is a result like any other; of its steps nothing is kept.
        state = "failed"
    if state in ("failed", "cancelled") and found is not None and found.request:
        return Repeated("new", _made(connection, row, made, found.request, None if anew else found.replay))
    return Repeated("refused", task, _REFUSALS.get(state, "what it was called with is erased; call the tool again"))


_REFUSALS = {
    "waiting": "it has not begun; it runs as soon as a worker has room",
    "running": "it runs; cancel it first",
    "lost": "its worker is gone; another one decides as soon as it has room",
    "input_required": "it waits for its client's answers, not for another attempt",
    "completed": "it has its result; call the tool again",
}


def _made(connection: Connection, row: RowMapping, id: str, request: bytes, replay: bytes | None) -> Task:
    """A new task of the same owner. It takes over the idempotency key: whoever repeats the call finds it."""
    connection.execute(update(tasks).where(_c.id == row["id"]).values(key=null()))
    life = decoded(row["policy"]).ttl
    copied = ("scope", "owner", "client", "tool", "rank", "concurrency", "policy", "key", "digest")
    values = {name: row[name] for name in copied} | {
        "id": id,
        "status": target("create"),
        "message": f"Made by an operator from {row['id']}",
        "created": clock(),
        "updated": clock(),
        "due": clock(),
        "ends": null() if life is None else clock() + life,
        "sweep": null() if life is None else clock() + life,
        "erased": False,
        "run": 0,
        "attempt": 1,
        "cancelling": False,
    }
    made = connection.execute(tasks.insert().values(values).returning(*COLUMNS)).mappings().one()
    connection.execute(payloads.insert().values(task=id, request=request, replay=replay))
    return task_of(made)
