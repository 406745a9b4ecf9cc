"""How a task is run: by whose wish, how often, for how long.

What it is for: the policy a tool's author declares, narrowed by a client; what is transient, and when to try again.
What may live here: policies and questions to them. What may not: running, storing.
"""

import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal, TypeVar

import msgspec

from trunkline.errors import (
    ConfigError,
    HttpFailure,
    InvalidParams,
    Overloaded,
    ProtocolError,
    ReplicaLost,
    UpstreamUnavailable,
)

T = TypeVar("T", int, float)

LOST: Literal["lost"] = "lost"
"""In `Retry.on`: an attempt whose worker was lost, although the tool does not say that it may run twice."""

TRANSIENT = (UpstreamUnavailable, ReplicaLost, Overloaded)
"""Errors that another attempt may not meet, whatever the author says."""

_TRANSIENT_STATUS = frozenset({429, 502, 503, 504})


def name_of(error: type[BaseException]) -> str:
    """What an exception class is called in a stored policy."""
    return f"{error.__module__}.{error.__qualname__}"


def _named(kind: object) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return name_of(kind)
    raise ConfigError(f"Retry(on=...) takes exception classes, not {kind!r}")


class Retry(msgspec.Struct, frozen=True):
    """Which failures of a task are tried again, and how often.

    Parameters:
        attempts: how often the function runs at most.
        backoff: seconds before the second attempt at most; doubled for each further one, random below it.
        longest: seconds between two attempts at most.
        on: exceptions that are transient, as classes, or names as `name_of` gives them; and `"lost"`, see `LOST`.
        deadline: seconds after creation from which on no attempt begins; None for the life of the task.

        Retry(attempts=3, on=(TimeoutError,))
    """

    attempts: int = 1
    backoff: float = 1.0
    longest: float = 60.0
    on: tuple[object, ...] = ()
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff < 0 or self.longest < 0:
            raise ConfigError("Retry needs attempts of at least 1, and no negative backoff or longest")
        # Names are what can be stored; a worker that lacks the class knows its name all the same.
        msgspec.structs.force_setattr(self, "on", tuple(map(_named, self.on)))


class TaskPolicy(msgspec.Struct, frozen=True):
    """How the calls of a tool become tasks, and how those run.

    Parameters:
        mode: `required` refuses clients without the extension; `optional` serves them.
        trigger: `at_once`; `after_input`, once the questions are answered; `after`, when a call has run for `after`.
        after: seconds a call runs before it becomes a task, for the triggers that wait.
        retry: which failures are tried again.
        ttl: seconds a task lives from its creation; None for ever.
        retention: seconds a task stays readable once it has ended, at least.
        concurrency: how many of this tool workers run at a time, over all replicas; None for no bound. A call that runs
            already when it becomes a task (`after`) is not held back by it.
        priority: those with more are run first.
        poll: seconds a client should wait between two looks.
        wait: seconds a call of a client without the extension is kept open.

        TaskPolicy(mode="required", retry=Retry(attempts=3), ttl=7 * 86400)
    """

    mode: Literal["required", "optional"] = "optional"
    trigger: Literal["at_once", "after_input", "after"] = "at_once"
    after: float = 5.0
    retry: Retry = Retry()
    ttl: float | None = 3600.0
    retention: float = 3600.0
    concurrency: int | None = None
    priority: int = 0
    poll: float = 1.0
    wait: float = 50.0

    def __post_init__(self) -> None:
        if (self.ttl is not None and self.ttl <= 0) or self.retention < 0 or self.poll <= 0:
            raise ConfigError("TaskPolicy needs a positive ttl and poll, and no negative retention")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError("TaskPolicy needs a concurrency of at least 1, or None")

    def narrowed(self, wishes: object) -> "TaskPolicy":
        """This policy with what a client wants less of; what it wants more of stays as it is.

        Parameters:
            wishes: the value of `dev.trunkline/task` in the `_meta` of a call: an object with `attempts`, `priority`,
                `deadlineMs`, `ttlMs`, `retentionMs`. What it does not name stays.

        Raises `InvalidParams` for what is no such object.

            TaskPolicy().narrowed({"ttlMs": 60_000}).ttl  # 60.0
        """
        try:
            wanted = msgspec.convert(wishes, _Wishes)
        except msgspec.ValidationError as error:
            raise InvalidParams(f"Invalid params: _meta dev.trunkline/task: {error}") from None
        retry = msgspec.structs.replace(
            self.retry,
            attempts=_less(self.retry.attempts, wanted.attempts),
            deadline=_less(self.retry.deadline, _seconds(wanted.deadline_ms)),
        )
        return msgspec.structs.replace(
            self,
            retry=retry,
            ttl=_less(self.ttl, _seconds(wanted.ttl_ms)),
            retention=_less(self.retention, _seconds(wanted.retention_ms)),
            priority=_less(self.priority, wanted.priority),
        )


_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Priority = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class _Wishes(msgspec.Struct, frozen=True, rename="camel"):
    attempts: _Positive | None = None
    priority: _Priority | None = None
    deadline_ms: _Positive | None = None
    ttl_ms: _Positive | None = None
    retention_ms: _Natural | None = None


def is_transient(error: BaseException, retry: Retry, safe: bool = True) -> bool:
    """Whether another attempt may succeed where this error ended one.

    Parameters:
        safe: the tool may run again although it may have run in part; else an error after which nobody knows how far
            it came ends the task, as a lost worker does.
    """
    if any(name_of(kind) in retry.on for kind in type(error).__mro__):
        return True
    if isinstance(error, HttpFailure):
        return error.status in _TRANSIENT_STATUS
    data = _data(error) if isinstance(error, ProtocolError) else {}
    if data.get("dev.trunkline/mayHaveRun") is True:
        return safe
    advice = data.get("dev.trunkline/retry")
    return advice is True or (isinstance(error, TRANSIENT) and advice is not False)


def delay_after(error: BaseException | None, policy: TaskPolicy, attempt: int, safe: bool = True) -> float | None:
    """Seconds until the attempt after this one; None where none follows.

    Parameters:
        error: what ended the attempt; None where its worker was lost and it may run again.
        attempt: the one that ended, from 1.
        safe: as in `is_transient`.

    The delay is chosen between zero and the backoff ("full jitter"), so that tasks that failed together do not come
    back together; never sooner than the error's `dev.trunkline/retryAfterMs`.
    """
    retry = policy.retry
    if attempt >= retry.attempts or (error is not None and not is_transient(error, retry, safe)):
        return None
    bound = min(retry.longest, retry.backoff * 2.0 ** min(attempt - 1, 60))
    delay = random.uniform(0, bound)  # noqa: S311 - spreads load, hides nothing
    after = _data(error).get("dev.trunkline/retryAfterMs") if isinstance(error, ProtocolError) else None
    return max(delay, after / 1000) if isinstance(after, int | float) else delay


def encoded(policy: TaskPolicy) -> bytes:
    """A policy as it is stored with each task."""
    return msgspec.json.encode(policy)


@lru_cache(1024)
def decoded(stored: bytes) -> TaskPolicy:
    """A stored policy; of newer versions what this one knows."""
    return msgspec.json.decode(stored, type=TaskPolicy)


def _data(error: ProtocolError) -> Mapping[str, object]:
    return error.data if isinstance(error.data, Mapping) else {}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _less(mine: T | None, wanted: T | None) -> T | None:
    if mine is None or wanted is None:
        return wanted if mine is None else mine
    return min(mine, wanted)
