"""Calls to an upstream that does not answer fail at once, until one that is let through is answered.

What it is for: a connection that stands and brings no answers; one that is lost is `supervision.py`'s.
What may live here: the state machine as a table, what counts as an answer, when the next attempt may be.
What may not: connections, requests, lists.
"""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from trunkline.engine.rounds import InputRequired
from trunkline.errors import (
    HttpFailure,
    InvalidAnswer,
    RemoteError,
    RequestTimeout,
    TransportError,
    UpstreamUnavailable,
)
from trunkline.gateway.failures import unavailable

_log = logging.getLogger("trunkline.gateway")

State = Literal["closed", "open", "half_open"]
Event = Literal["answered", "tripped", "due"]

TRANSITIONS: dict[tuple[State, Event], State] = {
    ("closed", "answered"): "closed",
    ("closed", "tripped"): "open",
    # A call from before it opened may still be answered, and that is as good as a probe.
    ("open", "answered"): "closed",
    ("open", "tripped"): "open",
    ("open", "due"): "half_open",
    ("half_open", "answered"): "closed",
    ("half_open", "tripped"): "open",
    ("half_open", "due"): "half_open",
}

_LONGEST = 8
"""The wait grows with every probe that fails, up to this many times its beginning."""


class Circuit:
    """Around every call to one upstream.

    Parameters:
        upstream: its name, for errors and the log.
        failures: calls in a row without an answer that open it.
        wait: seconds until one call is let through as a probe; longer with each probe that fails.
        clock: monotonic seconds.

        with circuit:
            result = await peer.request(...)
    """

    __slots__ = ("_clock", "_due", "_failures", "_last", "_limit", "_upstream", "_wait", "_waits", "state")

    def __init__(self, upstream: str, failures: int, wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.state: State = "closed"
        self._upstream = upstream
        self._limit = failures
        self._wait = wait
        self._clock = clock
        self._failures = 0
        self._waits = 0
        self._due = 0.0
        self._last = ""

    def __enter__(self) -> "Circuit":
        """Begin a call. Raises `UpstreamUnavailable` while it is open."""
        if self.state != "closed":
            now = self._clock()
            if now < self._due:
                raise self._refusal(self._due - now)
            # A probe that takes its time must not keep the others out for ever.
            self._due = now + self._wait
            self._move("due")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, RemoteError | InputRequired):
            self.answered()
        elif isinstance(error, TransportError):
            if _is_silence(error):
                self._failed(error)
            else:
                self.answered()
        elif self.state == "half_open":
            # Nothing was learnt; the next call may try.
            self._due = self._clock()

    def answered(self) -> None:
        """It is there; also when it was connected to anew."""
        if self._failures or self.state != "closed":
            self._failures = self._waits = 0
            self._move("answered")

    def _failed(self, error: TransportError) -> None:
        self._failures += 1
        self._last = error.message
        if self._failures < self._limit and self.state == "closed":
            return
        if self.state != "open":
            self._due = self._clock() + self._wait * min(2**self._waits, _LONGEST)
            self._waits = min(self._waits + 1, 10)
        self._move("tripped")

    def _move(self, event: Event) -> None:
        before, self.state = self.state, TRANSITIONS[self.state, event]
        if before != self.state:
            level = logging.WARNING if self.state == "open" else logging.INFO
            _log.log(level, "upstream %s: circuit %s%s", self._upstream, self.state.replace("_", " "), self._why())

    def _why(self) -> str:
        return f" after {self._failures} calls without an answer: {self._last}" if self.state == "open" else ""

    def _refusal(self, wait: float) -> UpstreamUnavailable:
        error = unavailable(
            self._upstream,
            f"does not answer: {self._failures} calls in a row failed; next attempt in {wait:.1f} s",
            retry=True,
        )
        if isinstance(error.data, dict):
            error.data["dev.trunkline/retryAfterMs"] = max(1, int(wait * 1000))
        return error


def _is_silence(error: TransportError) -> bool:
    """Whether nothing came that an upstream at work would send: a bad answer is one, and so is a refusal."""
    if isinstance(error, HttpFailure):
        return error.status >= 500
    if isinstance(error, RequestTimeout) and error.limit in ("total", "deadline"):
        return error.silent
    return not isinstance(error, InvalidAnswer)
