"""The clock of one call to a server.

What it is for: silence, time without progress and length of a call are bounded; the time a person takes is not.
What may live here: that clock. What may not: what the limits are, what follows when one is reached.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from math import inf
from typing import TypeVar

from trunkline.client.deadlines import Deadlines
from trunkline.errors import Limit, RequestTimeout

T = TypeVar("T")

_SAID: dict[Limit, str] = {
    "connect": "no connection within {:g} s",
    "idle": "nothing came for {:g} s",
    "request": "no answer and no progress for {:g} s",
    "total": "no end after {:g} s",
    "deadline": "no end before the call's own deadline",
}


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
        deadlines: wakes it; shared by all calls to a server, or that of one alone.

        patience = Patience(60.0, 3600.0, deadlines=deadlines)
        await patience.bound(peer.request(method, params, patience=patience))
    """

    __slots__ = ("_asking", "_began", "_cancelling", "_deadline", "_deadlines", "_end", "_heard", "_idle", "_left",
                 "_progress", "_pulse", "_request", "_since", "_step", "_task", "_total", "due", "over")  # fmt: skip

    def __init__(
        self,
        request: float | None,
        total: float,
        idle: float | None = None,
        *,
        deadline: bool = False,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.over: Limit | None = None
        """The limit that was reached."""
        self.due = inf
        """When it has to look at the clock."""
        self._request = inf if request is None else request
        self._total = self._left = total
        self._idle = inf if idle is None else idle
        self._deadline = deadline
        self._deadlines = deadlines or Deadlines()
        self._step = self._request if self._request < self._idle else self._idle
        self._end = inf
        self._pulse: Pulse | None = None
        self._began = 0.0
        self._progress = 0.0
        self._heard = False
        self._since = 0.0
        self._asking = 0
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    async def bound(self, work: Awaitable[T]) -> T:
        """Await what the call does, under its limits. Raises `RequestTimeout`."""
        now = time.monotonic()
        self._end = now + self._left
        self._task = task = asyncio.current_task()
        self._cancelling = 0 if task is None else task.cancelling()
        self.due = now + (self._step if self._step < self._left else self._left)
        self._deadlines.begin(self)
        try:
            return await work
        except asyncio.CancelledError:
            # Somebody else may want the task to end as well.
            if self.over is None or (task is not None and task.cancelling() > self._cancelling + 1):
                raise
            raise self._error(self.over) from None
        finally:
            self._deadlines.end(self)
            if self.over is not None and task is not None:
                task.uncancel()
            self._task = None
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
        self._heard = self._heard or (self._pulse is not None and self._pulse.at >= self._began)
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
                self.due = now
                self.look(now)

    def look(self, now: float) -> None:
        """End the call when a limit is reached; say when to look again otherwise."""
        if self._task is None or self._asking > 0:
            self.due = inf
            return
        limit, due = min(self._due(), key=lambda one: one[1])
        if due > now:
            # What puts a limit off does not tell: it is looked at again at the latest when it would have been reached.
            self.due = due if self._pulse is not None else min(due, now + self._step)
            self._deadlines.begin(self)
        else:
            self.due = inf
            self.over = limit
            self._task.cancel()

    def _due(self) -> Iterator[tuple[Limit, float]]:
        """The limits and when they are reached; what stands first is named where two are reached together."""
        yield ("deadline" if self._deadline else "total"), self._end
        if self._pulse is not None:
            yield "request", self._progress + self._request
            yield "idle", max(self._progress, self._pulse.at) + self._idle

    def _error(self, limit: Limit) -> RequestTimeout:
        seconds = {"request": self._request, "idle": self._idle}.get(limit, self._total)
        return timed_out(
            limit,
            seconds,
            delivered=self._began > 0.0,
            silent=not (self._heard or (self._pulse is not None and self._pulse.at >= self._began)),
        )


def timed_out(
    limit: Limit, seconds: float, who: str = "", *, delivered: bool = True, silent: bool = True
) -> RequestTimeout:
    """The error for a limit that was reached.

    Parameters:
        who: what failed, in front of what is said.
    """
    said = _SAID[limit].format(seconds)
    return RequestTimeout(f"{who}: {said}" if who else said, limit, seconds, delivered=delivered, silent=silent)
