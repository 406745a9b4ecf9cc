"""The time limits of requests in flight.

What it is for: one timer for all requests to a peer, where one for each would cost more than the rest of the request.
What may live here: when a request is late, and ending it. What may not: how long is allowed, what is said then.
"""

import asyncio
from math import inf

from trunkline.client.channel import Call

_EARLY = 0.001
"""Seconds by which an event loop that counts in milliseconds may be early."""


class Deadlines:
    """The requests of one peer that have a limit.

    The limit of a new request is nearly always later than those of the ones before, so that the timer, which is set for
    the earliest, stays as it is while requests come and go.

        deadlines.begin(call, idle=60, maximum=600)
        try:
            return await channel.exchange(call)
        except asyncio.CancelledError:
            if deadlines.missed(call): ...
            raise
        finally:
            deadlines.end(call)
    """

    __slots__ = ("_calls", "_closed", "_due", "_timer")

    def __init__(self) -> None:
        self._calls: set[Call] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf
        self._closed = False

    def begin(self, call: Call, idle: float, maximum: float) -> None:
        """Cancel the current task, which sends this request, once it is late.

        Parameters:
            idle: seconds without a sign of life; infinite for no limit.
            maximum: seconds in all.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        call.task = task = asyncio.current_task(loop)
        call.cancelling = 0 if task is None else task.cancelling()
        call.idle = idle
        call.latest = now + maximum
        call.due = now + (idle if idle < maximum else maximum)
        self._calls.add(call)
        if call.due < self._due:
            self._set(loop, call.due)

    def alive(self, call: Call) -> None:
        """There was a sign of life."""
        if call in self._calls:
            call.due = min(asyncio.get_running_loop().time() + call.idle, call.latest)

    def missed(self, call: Call) -> bool:
        """Whether the cancellation that is under way is ours alone."""
        return call.late and call.task is not None and call.task.cancelling() <= call.cancelling + 1

    def end(self, call: Call) -> None:
        """The request is over, in whatever way."""
        self._calls.discard(call)
        if call.late and call.task is not None:
            call.task.uncancel()
        if self._closed and not self._calls:
            self._stop()

    def close(self) -> None:
        """Leave no timer behind the last request."""
        self._closed = True
        if not self._calls:
            self._stop()

    def _set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = loop.call_at(due, self._look, loop)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, inf

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._due = None, inf
        now = loop.time() + _EARLY
        for call in [call for call in self._calls if call.due <= now]:
            self._calls.discard(call)
            call.late = True
            if call.task is not None:
                call.task.cancel()
        due = min((call.due for call in self._calls), default=inf)
        if due < inf:
            self._set(loop, due)
