"""One timer for all that has a time limit.

What it is for: a timer for each call would cost more than the rest of its way through the gateway.
What may live here: waking who is due. What may not: limits, what follows when one is reached.
"""

import asyncio
import time
from math import inf
from typing import Protocol

_EARLY = 0.001
"""Seconds by which an event loop that counts in milliseconds may be early."""


class Due(Protocol):
    """Something that has to look at the clock; `due` is when, in monotonic seconds."""

    due: float

    def look(self, now: float) -> None:
        """It is due: end what is over, or say when to look again by setting `due`."""


class Deadlines:
    """What waits for its time.

    What comes is nearly always due later than what is there, so that the timer, which is set for the earliest, stays as
    it is while calls come and go.

        deadlines.begin(patience)
        try: ...
        finally:
            deadlines.end(patience)
    """

    __slots__ = ("_closed", "_due", "_timer", "_waiting")

    def __init__(self) -> None:
        self._waiting: set[Due] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf
        self._closed = False

    def begin(self, one: Due) -> None:
        """Wake it when it is due, from now on; say it again when it is due earlier than before."""
        self._waiting.add(one)
        if one.due < self._due:
            self._set(one.due)

    def end(self, one: Due) -> None:
        """It is over, in whatever way."""
        self._waiting.discard(one)
        if self._closed and not self._waiting:
            self._stop()

    def close(self) -> None:
        """Leave no timer behind the last one."""
        self._closed = True
        if not self._waiting:
            self._stop()

    def _set(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - time.monotonic()), self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, inf

    def _look(self) -> None:
        self._timer, self._due = None, inf
        now = time.monotonic() + _EARLY
        for one in [one for one in self._waiting if one.due <= now]:
            one.look(now)
        due = min((one.due for one in self._waiting), default=inf)
        if due < inf:
            self._set(due)
