"""How long the log of a complete stream is kept.

What it is for: a client whose connection broke at the end can still come back for the response; nothing stays for good.
What may live here: the two queues of what will be forgotten. What may not: streams that are not complete.
"""

import asyncio
import logging
import time
from collections import deque

from trunkline.engine.doors import EventLog
from trunkline.runtime.inflight import InFlight

logger = logging.getLogger("trunkline.transports")

_Kept = deque[tuple[float, str, str]]


class Retention:
    """Forgets logs when they are due.

    Parameters:
        brief: seconds a stream stays whose client seems to have all of it.
        long: seconds one stays whose client was gone at its end.
    """

    def __init__(self, inflight: InFlight, events: EventLog, brief: float = 30, long: float = 300) -> None:
        self._inflight = inflight
        self._events = events
        self._brief = brief
        self._long = long
        self._queues: tuple[_Kept, _Kept] = (deque(), deque())
        self._forgetting: asyncio.Task[None] | None = None

    def keep(self, session: str, stream: str, *, complete: bool) -> None:
        """Keep the log of a complete stream for its time."""
        due = time.monotonic() + (self._brief if complete else self._long)
        self._queues[0 if complete else 1].append((due, session, stream))
        if not self._inflight.draining:
            self._inflight.enter(self)

    def sweep(self, now: float) -> None:
        """Forget what is due."""
        if self._forgetting is not None and not self._forgetting.done():
            return
        due = [queue.popleft() for queue in self._queues for _ in range(len(queue)) if queue and queue[0][0] <= now]
        if due:
            self._forgetting = asyncio.create_task(self._forget(due))
        elif not any(self._queues):
            self._inflight.calls.discard(self)

    def drain(self) -> None:
        """Logs do not keep a server from stopping."""
        self._inflight.calls.discard(self)

    def stop(self) -> None:
        """Nothing to stop."""

    async def _forget(self, due: list[tuple[float, str, str]]) -> None:
        for _, session, stream in due:
            try:
                await self._events.forget(session, stream)
            except Exception:
                logger.exception("a stream's log could not be forgotten")
