"""A task as its client sees it.

What it is for: what a server's answers about a task mean, when to look again, which of its questions are new.
What may live here: these decisions, with the time given. What may not: sockets, clocks, waiting.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Literal, get_args

from msgspec import Struct, field

from trunkline.errors import InvalidAnswer, RemoteError, TaskCancelled, TaskExpired
from trunkline.extensions.tasks.names import LIFECYCLE

JsonObject = dict[str, object]
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]

DECLARED_WITH = ("tools/call", "tasks/get", "tasks/update", "tasks/cancel", "subscriptions/listen")
"""Methods with which a client declares the extension: those that may be answered with a task, and those about one
(tasks, Capability rules)."""

_STATUSES: dict[object, Status] = {status: status for status in get_args(Status)}
_CARRIED = {"input_required": "inputRequests", "completed": "result", "failed": "error"}
_ENDED = ("completed", "failed", "cancelled")
_REASON = "dev.trunkline/reason"
_INVALID_PARAMS = -32602
_OFTEN, _SELDOM = 0.1, 3600.0
"""Seconds between two polls, least and most, whatever a server wishes."""

_UNTOLD = (0.5, 5.0)
"""Seconds between two polls of a server that wishes nothing: at first and, growing, at last."""

_LISTENING = (30.0, 10.0)
"""While a server tells of changes by itself, it is polled this seldom: seconds, and times its interval."""

_BACKOFF = (0.25, 30.0)
_GRACE = 30.0
"""Seconds after the end of its published life in which a task that is still shown is still waited for."""


class TaskState(Struct, frozen=True):
    """A task as its server showed it.

    `id`: empty where the server answered at once, without a task. `status`: `working`, `input_required`, `completed`,
    `failed` or `cancelled`. `message`: what the server says of it, for people. `created`, `updated`: the server's
    times. `ttl`: seconds it lives from its creation, None without end. `poll`: seconds between two looks, as the server
    wishes. `requests`: the questions it waits for, by key. `result`, `error`: how it ended. `raw`: the wire form.
    `outlined`: without questions and outcome, as the answer to the call shows it.
    """

    id: str
    status: Status
    message: str | None = None
    created: datetime | None = None
    updated: datetime | None = None
    ttl: float | None = None
    poll: float | None = None
    requests: JsonObject = field(default_factory=dict)
    result: JsonObject | None = None
    error: JsonObject | None = None
    raw: JsonObject = field(default_factory=dict)
    outlined: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is over: nothing of it changes any more."""
        return self.status in _ENDED

    @property
    def known(self) -> bool:
        """Whether all is known that a client acts on: how it ended, what it asks."""
        return not self.outlined or self.status in ("working", "cancelled")


def created(result: Mapping[str, object]) -> TaskState:
    """What a `CreateTaskResult` says; it carries neither questions nor an outcome. Raises `InvalidAnswer`."""
    id = result.get("taskId")
    if not isinstance(id, str) or not id:
        raise InvalidAnswer("The server made a task of the call and did not say which: taskId is missing")
    return _state(result, id, outlined=True)


def detailed(result: Mapping[str, object], id: str) -> TaskState:
    """What a `DetailedTask` says, of `tasks/get` or `notifications/tasks`. Raises `InvalidAnswer`."""
    state = _state(result, id)
    if result.get("taskId") != id:
        raise InvalidAnswer(f"The server was asked for the task {id[:60]} and answered with another one")
    wanted = _CARRIED.get(state.status)
    if wanted is not None and not isinstance(result.get(wanted), dict):
        raise InvalidAnswer(f"The server says that the task {id[:60]} is {state.status}, without {wanted}")
    return state


def told(params: Mapping[str, object], id: str) -> TaskState:
    """What a `notifications/tasks` says; one without questions or outcome still tells that it is time to look."""
    try:
        return detailed(params, id)
    except InvalidAnswer:
        return created(params)


def direct(result: JsonObject) -> TaskState:
    """What a server answered at once, in the form of a task that has ended."""
    return TaskState("", "completed", result=result)


def outcome(state: TaskState) -> JsonObject:
    """The result of a task that completed.

    Raises `RemoteError` with the error of one that failed, `TaskExpired` where that is why, and `TaskCancelled`.
    """
    if state.status == "completed" and state.result is not None:
        return state.result
    if state.status == "cancelled":
        because = f": {state.message}" if state.message else ""
        raise TaskCancelled(f"The task {state.id} was cancelled{because}", state.id)
    error = state.error or {}
    code, text = error.get("code"), error.get("message")
    if not isinstance(code, int) or isinstance(code, bool) or not isinstance(text, str):
        raise InvalidAnswer(f"The task {state.id} failed without an error that can be read")
    failure = RemoteError(code, text, error.get("data"))
    raise explained(failure, state.id)


def explained(error: RemoteError, id: str, *, seen: bool = False) -> RemoteError | TaskExpired:
    """An error about a task, as the one to raise: servers answer -32602 for expired tasks as for unknown ones.

    Parameters:
        seen: the server has shown the task before, so that it can only be gone.
    """
    data = error.data if isinstance(error.data, dict) else {}
    gone = seen and error.remote_code == _INVALID_PARAMS
    if data.get(_REASON) != "expired" and not gone:
        return error
    when = data.get("dev.trunkline/expiredAt")
    expired = TaskExpired(f"The task {id} is gone: {error.message}", id, when if isinstance(when, str) else None)
    expired.__cause__ = error
    return expired


def honours_keys(capabilities: Mapping[str, object]) -> bool:
    """Whether a server finds the task of a call that is sent again with the same idempotency key."""
    extensions = capabilities.get("extensions")
    return isinstance(extensions, dict) and LIFECYCLE in extensions


class Watch:
    """What a client knows of one task, and what follows: when to look, what to answer, when to give up.

    Times are seconds of any clock that only goes forward; the server's own times are compared with each other alone, so
    that clocks may differ (tasks, Expiry).

    Parameters:
        state: the task as it was last shown; None for one that is only known by its id.
        now: the time.

        watch = Watch(id, created(result), now)
        while not watch.state.ended: ...
    """

    def __init__(self, id: str, state: TaskState | None, now: float) -> None:
        self.id = id
        self.state = state
        self.unsent: JsonObject = {}
        """Answers the server has not confirmed yet."""
        self.rounds = 0
        """How often the task asked something new."""
        self._asked: set[str] = set()
        self._ahead = -inf
        self._due = now
        self._looks = 0
        self._failures = 0
        self._heard = now
        if state is not None:
            self.saw(state, now)

    def saw(self, state: TaskState, now: float) -> None:
        """The server showed the task."""
        self.state = state
        self._failures = 0
        self._heard = now
        for told in (state.created, state.updated):
            if told is not None:
                # The server's clock shows at least this: an estimate that never ends a task's life early.
                self._ahead = max(self._ahead, told.timestamp() - now)
        # What is not all known yet is asked for at once, anything else when the server wishes.
        self._due = now + self._interval() if state.known else now
        self._looks += 1

    def missed(self, now: float, wait: float) -> float:
        """A request failed in a way that may pass; `wait` is how many seconds the server wants to be left alone.

        Returns how many it is left alone.
        """
        first, most = _BACKOFF
        self._failures += 1
        left = max(wait, min(first * 2.0 ** min(self._failures - 1, 10), most))
        self._due = now + left
        return left

    def wait(self, now: float, listening: float = inf) -> float:
        """Seconds until the next look.

        Parameters:
            listening: since when the server tells of changes by itself. What changed before, a last look finds; from
                then on looks are rare.
        """
        least, times = _LISTENING
        state = self.state
        if self._heard <= listening or self._failures or state is None or not state.known:
            return max(0.0, self._due - now)
        return max(0.0, self._heard + min(max(least, times * self._interval()), _SELDOM) - now)

    def silent(self, now: float) -> float:
        """Seconds since the server last showed it."""
        return now - self._heard

    def over(self, now: float) -> bool:
        """Whether its published life ended, createdAt + ttlMs, and some time more: nothing is to be expected."""
        state = self.state
        if state is None or state.ended or state.ttl is None or state.created is None:
            return False
        return now + self._ahead > state.created.timestamp() + state.ttl + _GRACE

    def ask(self) -> JsonObject:
        """The questions that are new, which count as asked from now on: no key is answered twice."""
        state = self.state
        if state is None or state.status != "input_required":
            return {}
        new = {key: request for key, request in state.requests.items() if key not in self._asked}
        self._asked.update(new)
        self.rounds += bool(new)
        return new

    def unask(self, keys: Iterable[str]) -> None:
        """Nobody answered these after all."""
        self._asked.difference_update(key for key in keys if key not in self.unsent)

    def _interval(self) -> float:
        told = None if self.state is None else self.state.poll
        if told is not None:
            return min(max(told, _OFTEN), _SELDOM)
        first, most = _UNTOLD
        return min(first * 1.5 ** min(self._looks, 20), most)


def _state(result: Mapping[str, object], id: str, *, outlined: bool = False) -> TaskState:
    message, requests, told = result.get("statusMessage"), result.get("inputRequests"), str(result.get("status"))
    status = _STATUSES.get(told)
    if status is None:
        raise InvalidAnswer(f"The server showed the task {id[:60]} with the status {told[:40]!r}, unknown here")
    ended, failed = result.get("result"), result.get("error")
    return TaskState(
        id,
        status,
        message if isinstance(message, str) else None,
        _time(result.get("createdAt")),
        _time(result.get("lastUpdatedAt")),
        _seconds(result.get("ttlMs")),
        _seconds(result.get("pollIntervalMs")),
        requests if status == "input_required" and isinstance(requests, dict) else {},
        ended if status == "completed" and isinstance(ended, dict) else None,
        failed if status == "failed" and isinstance(failed, dict) else None,
        dict(result),
        outlined,
    )


def _seconds(value: object) -> float | None:
    """Milliseconds as seconds; what is no such number counts as untold."""
    return value / 1000 if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _time(value: object) -> datetime | None:
    """An ISO 8601 time; one without a zone cannot be compared and counts as untold."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
