"""Calls in flight, and the one sweeper that looks after them.

What it is for: deadlines, disconnects and keep-alives without a timer or a task per call.
What may live here: the registry and its periodic walk.
What may not: what a transport does to a call; the call itself does that in `sweep`.
"""

import asyncio
import logging
from typing import Protocol

logger = logging.getLogger("trunkline.runtime")

PERIOD = 0.25
"""Seconds between two walks; a call younger than that costs the registry nothing but its entry."""

_IDLE_WALKS = 40

GRACE = 1.0
"""Seconds that what is stopped has to say so to its client."""


class Swept(Protocol):
    """A call in flight, as the sweeper sees it."""

    def sweep(self, now: float) -> None:
        """Enforce what is due at `now` (monotonic seconds); returns at once."""

    def drain(self) -> None:
        """The server stops: end gracefully what would otherwise stay open for long."""

    def stop(self) -> None:
        """The time to finish is over: answer with an error that says so."""


class InFlight:
    """The registry of calls in flight.

    inflight.enter(call)
    ...
    inflight.calls.discard(call)
    """

    def __init__(self) -> None:
        self.calls: set[Swept] = set()
        self.draining = False
        self._sweeper: asyncio.Task[None] | None = None

    def enter(self, call: Swept) -> None:
        """Look after a call from now on; the sweeper runs while there is any, and a little longer."""
        self.calls.add(call)
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._walk(), name="trunkline-sweeper")

    async def drain(self, seconds: float) -> None:
        """Refuse no call in flight, end open streams, and wait up to `seconds` for the rest to finish."""
        self.draining = True
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            # Each time anew: what ends leaves logs behind, and a connection may only now have become a call.
            for call in list(self.calls):
                call.drain()
            if not self.calls or asyncio.get_running_loop().time() >= deadline:
                return
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Stop what did not finish in time, wait until the clients of that are told, and end the sweeper."""
        for call in list(self.calls):
            call.stop()
        deadline = asyncio.get_running_loop().time() + GRACE
        while self.calls and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None

    async def _walk(self) -> None:
        loop = asyncio.get_running_loop()
        idle = 0
        while idle < _IDLE_WALKS:
            await asyncio.sleep(PERIOD)
            idle = 0 if self.calls else idle + 1
            now = loop.time()
            for call in list(self.calls):
                try:
                    call.sweep(now)
                except Exception:
                    # One broken call must not end deadlines and keep-alives of all others.
                    logger.exception("the sweeper could not look after a call")
