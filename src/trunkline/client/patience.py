"""The clock of one call to a server.

What it is for: silence, time without progress and length of a call are bounded; the time a person takes is not.
What may live here: that clock. What may not: what the limits are, what follows when one is reached.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from trunkline.errors import Limit, RequestTimeout

T = TypeVar("T")

_SAID: dict[Limit, str] = {
    "connect": "no connection within {:g} s",
    "idle": "nothing came for {:g} s",
    "request": "no answer and no progress for {:g} s",
    "total": "no end after {:g} s",
    "deadline": "no end before the call's own deadline",
}

_GRAIN = 0.001
"""Seconds a timer may be early."""


class Pulse:
    """When something, a byte or a message, last came from the other side: monotonic seconds."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = 0.0

    def beat(self) -> None:
        """Something came."""
        self.at = time.monotonic()


class Patience:
    """How long one call may take. Times in seconds.

    Parameters:
        request: from a request to its answer, unless there is progress, which starts them anew; None for any time.
        total: in all, whatever comes; several requests of one call share them.
        idle: while a request is open, without anything coming at all; None for any time.
        deadline: `total` is what is left until the caller's own deadline.

        patience = Patience(60.0, 3600.0)
        await patience.bound(peer.request(method, params, patience=patience))
    """

    __slots__ = ("_asking", "_began", "_deadline", "_end", "_heard", "_idle", "_left", "_progress", "_pulse",
                 "_request", "_scope", "_since", "_step", "_timer", "_total", "over")  # fmt: skip

    def __init__(
        self, request: float | None, total: float, idle: float | None = None, *, deadline: bool = False
    ) -> None:
        self.over: Limit | None = None
        """The limit that was reached."""
        self._request = math.inf if request is None else request
        self._total = self._left = total
        self._idle = math.inf if idle is None else idle
        self._deadline = deadline
        self._step = min(self._request, self._idle)
        self._end = math.inf
        self._pulse: Pulse | None = None
        self._began = 0.0
        self._progress = 0.0
        self._heard = False
        self._since = 0.0
        self._asking = 0
        self._scope: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def bound(self, work: Awaitable[T]) -> T:
        """Await what the call does, under its limits. Raises `RequestTimeout`."""
        self._end = time.monotonic() + self._left
        try:
            async with asyncio.timeout(None) as self._scope:
                self._arm(min(self._step, self._left))
                return await work
        except TimeoutError:
            if self.over is None:
                raise
            raise self._error(self.over) from None
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._scope = self._timer = None
            self._left = self._end - time.monotonic()

    @property
    def still(self) -> bool:
        """Whether the clock stands still."""
        return self._asking > 0

    def attend(self, pulse: Pulse) -> None:
        """A request is sent; `pulse` tells when something comes."""
        self._pulse = pulse
        now = self._progress = time.monotonic()
        self._began = self._began or now

    def leave(self) -> None:
        """The request is answered, or given up."""
        self._heard = self._was_heard()
        self._pulse = None

    def progressed(self) -> None:
        """The server told of progress."""
        self._progress = time.monotonic()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The clock stands still: someone is asked."""
        if self._asking == 0:
            self._since = time.monotonic()
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if self._asking == 0:
                now = self._progress = time.monotonic()
                self._end += now - self._since
                if self._timer is not None:
                    self._timer.cancel()
                self._look()

    def _arm(self, seconds: float) -> None:
        # The timer is never late: what puts a limit off leaves the timer alone, and it looks again.
        if seconds < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._look)

    def _look(self) -> None:
        if self._scope is None or self._asking > 0:
            return
        now = time.monotonic()
        limit, due = min(self._due(), key=lambda one: one[1])
        if due - now > _GRAIN:
            self._arm(due - now if self._pulse is not None else min(due - now, self._step))
        else:
            self.over = limit
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _due(self) -> Iterator[tuple[Limit, float]]:
        """The limits and when they are reached; what stands first is named where two are reached together."""
        yield ("deadline" if self._deadline else "total"), self._end
        if self._pulse is not None:
            yield "request", self._progress + self._request
            yield "idle", max(self._progress, self._pulse.at) + self._idle

    def _was_heard(self) -> bool:
        return self._heard or (self._pulse is not None and self._pulse.at >= self._began)

    def _error(self, limit: Limit) -> RequestTimeout:
        seconds = {"request": self._request, "idle": self._idle}.get(limit, self._total)
        return timed_out(limit, seconds, delivered=self._began > 0.0, silent=not self._was_heard())


def timed_out(
    limit: Limit, seconds: float, who: str = "", *, delivered: bool = True, silent: bool = True
) -> RequestTimeout:
    """The error for a limit that was reached.

    Parameters:
        who: what failed, in front of what is said.
    """
    said = _SAID[limit].format(seconds)
    return RequestTimeout(f"{who}: {said}" if who else said, limit, seconds, delivered=delivered, silent=silent)
