"""Tasks as their clients see them.

What it is for: the wire forms of a task, and the errors about one.
What may live here: those. What may not: reading anything but the outcome, deciding who may see it.
"""

import datetime
import math
from typing import TYPE_CHECKING

from msgspec import Raw

from trunkline.engine.doors import Result
from trunkline.errors import InvalidParams
from trunkline.extensions.tasks.records import Task

if TYPE_CHECKING:
    from trunkline.extensions.tasks.store import TaskStore


async def shown(store: "TaskStore", task: Task) -> Result | None:
    """A task in full: what `tasks/get` answers and what its listeners are told (tasks, section 3, DetailedTask).

    None for one that ended with an outcome which is erased, if only since it was loaded: it is shown whole, or not.
    """
    if task.status not in ("completed", "failed"):
        return detailed(task, None)
    outcome = await store.outcome(task.id)
    return None if outcome is None else detailed(task, outcome)


def created(task: Task) -> Result:
    """The result of a call that became a task (tasks, section 3, CreateTaskResult); it never holds an outcome."""
    return {"resultType": "task", **_facts(task)}


def detailed(task: Task, outcome: bytes | None) -> Result:
    """A DetailedTask, without `resultType`, with what we say of attempts and expiry under keys of our own.

    Parameters:
        outcome: the encoded result or error, where it ended with one.
    """
    shown = _facts(task)
    if task.status == "input_required":
        shown["inputRequests"] = dict(task.questions)
    elif task.status == "completed" and outcome is not None:
        shown["result"] = Raw(outcome)
    elif task.status == "failed" and outcome is not None:
        shown["error"] = Raw(outcome)
    allowed = task.policy.retry.attempts
    meta: dict[str, object] = {"dev.trunkline/attempt": task.attempt, "dev.trunkline/attempts": allowed}
    if task.finished is None:
        meta["dev.trunkline/retryable"] = task.attempt < allowed
        if task.worker is None and task.due is not None and task.attempt > 1:
            meta["dev.trunkline/nextAttemptAt"] = moment(task.due)
    if task.ends is not None:
        meta["dev.trunkline/expiresAt"] = moment(task.ends)
    shown["_meta"] = meta
    return shown


def unknown() -> InvalidParams:
    """What is said of an id that never was, and to strangers of any other: nothing tells one from the other."""
    return InvalidParams("Invalid params: unknown task")


def expired(task: Task) -> InvalidParams:
    """What the owner of an expired task is told; everyone else learns what is told of unknown ids."""
    assert task.ends is not None
    at = moment(task.ends)
    data = {"dev.trunkline/reason": "expired", "dev.trunkline/expiredAt": at}
    return InvalidParams(f"Invalid params: the task expired at {at}", data)


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, in UTC, with milliseconds; never later than they are."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(task: Task) -> Result:
    facts: Result = {
        "taskId": task.id,
        "status": task.status,
        "createdAt": moment(task.created),
        "lastUpdatedAt": moment(task.updated),
        # Never more than there is: nobody may be told a life that is then cut (tasks, section 9.B.1).
        "ttlMs": None if task.ends is None else math.floor((task.ends - task.created) * 1000 + 0.01),
        "pollIntervalMs": max(1, round(task.poll * 1000)),
    }
    if task.message is not None:
        facts["statusMessage"] = task.message
    return facts
