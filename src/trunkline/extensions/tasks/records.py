"""A task, as the store gives and takes it.

What it is for: what there is to know of a task, on its way between the store and everyone else.
What may live here: records. What may not: how they are stored, how they look on the wire.
"""

from collections.abc import Mapping

import msgspec

from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.states import Status


class Bounds(msgspec.Struct, frozen=True):
    """How much a store takes in.

    Parameters:
        unfinished: tasks of a scope that have not ended.
        per_owner: tasks of one owner that have not ended.
        outcome: bytes of one result.
        tombstone: seconds for which is known of an erased task that it expired, and when.
    """

    unfinished: int = 100_000
    per_owner: int = 10_000
    outcome: int = 16 * 1024 * 1024
    tombstone: float = 7 * 86400.0


class NewTask(msgspec.Struct, frozen=True):
    """A call that becomes a task.

    Parameters:
        owner: whose task it will be: `Principal.owner`.
        client: by which client the call was made.
        tool: what is called.
        policy: how it runs.
        request: the call, for whoever runs it.
        replay: answers and steps it already has, a JSON object with `answers`.
        key: the client's idempotency key.
        digest: of the arguments; another call with the same key has to have the same.
    """

    owner: str
    client: str | None
    tool: str
    policy: TaskPolicy
    request: bytes
    replay: bytes | None = None
    key: str | None = None
    digest: bytes = b""


class Task(msgspec.Struct, frozen=True):
    """A task as it was when it was read. Times are seconds since 1970 by the database's clock.

    Parameters:
        status, message: as its client sees them.
        created, updated, finished: when; `finished` is None while it has not ended.
        ends: when it may be erased at the earliest; None for never.
        request, replay: the call, and what its function was told and computed; there only where the task was created or
            claimed, since nobody else needs them.
        questions: what it waits for, by key as its client sees it.
        attempt: which one it is in, from 1.
        run: which execution of its function; changes with each claim, so that an old one can write no more.
        cancelling: its client wants it cancelled.
        due: when it may run; None while it waits for answers or has ended.
        worker, until: who runs it, and when others may take it.
        lost: claimed from a worker that did not renew its lease.
        erased: nothing is left of it but these facts.
        key: the client's idempotency key.
    """

    id: str
    owner: str
    tool: str
    policy: TaskPolicy
    created: float
    updated: float
    ends: float | None
    status: Status = "working"
    scope: str = ""
    client: str | None = None
    message: str | None = None
    request: bytes = b""
    replay: bytes | None = None
    questions: Mapping[str, Mapping[str, object]] = {}
    attempt: int = 1
    run: int = 0
    cancelling: bool = False
    finished: float | None = None
    due: float | None = None
    worker: str | None = None
    until: float = 0.0
    lost: bool = False
    erased: bool = False
    key: str | None = None

    @property
    def poll(self) -> float:
        """Seconds a client should wait between two looks."""
        return self.policy.poll


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a task.

    Parameters:
        number: from 1.
        began, ended: when; None where it has not.
        worker: who ran it last.
        why: what ended it, for people.
        error: the JSON-RPC error that ended it.
    """

    number: int
    began: float | None
    ended: float | None
    worker: str | None
    why: str | None
    error: Mapping[str, object] | None


class TaskFilter(msgspec.Struct, frozen=True):
    """Which tasks an operator wants to see; None is any.

    Parameters:
        since, until: created then or later, and before.
    """

    status: Status | None = None
    owner: str | None = None
    tool: str | None = None
    since: float | None = None
    until: float | None = None
