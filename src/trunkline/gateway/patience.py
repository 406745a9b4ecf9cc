"""The clock of one request to an upstream.

What it is for: silence and length of a request are bounded, and the time a person takes to answer is neither.
What may live here: that clock. What may not: what the limits are, who is asked.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from trunkline.engine.doors import Result
from trunkline.errors import RequestTimeout


class Patience:
    """How long one request may be silent, and how long it may take in all.

    Parameters:
        idle: seconds without a sign of life.
        total: seconds in all, whatever the progress.
    """

    __slots__ = ("_asking", "_idle", "_latest", "_limit", "_since", "_total")

    def __init__(self, idle: float, total: float) -> None:
        self._idle = idle
        self._total = total
        self._latest = 0.0
        self._since = 0.0
        self._asking = 0
        self._limit: asyncio.Timeout | None = None

    async def bound(self, request: Awaitable[Result]) -> Result:
        """Await a request under the limits. Raises `RequestTimeout`."""
        self._latest = asyncio.get_running_loop().time() + self._total
        try:
            async with asyncio.timeout(min(self._idle, self._total)) as self._limit:
                return await request
        except TimeoutError:
            raise RequestTimeout(f"no sign of life for {self._idle:g} s, or no end after {self._total:g} s") from None
        finally:
            self._limit = None

    @property
    def still(self) -> bool:
        """Whether the clock stands still."""
        return self._asking > 0

    def alive(self) -> None:
        """There was a sign of life."""
        if self._asking == 0:
            self._reschedule(min(asyncio.get_running_loop().time() + self._idle, self._latest))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The clock stands still: someone is asked."""
        now = asyncio.get_running_loop().time
        if self._asking == 0:
            self._since = now()
            self._reschedule(None)
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
            if self._asking == 0:
                self._latest += now() - self._since
                self.alive()

    def _reschedule(self, when: float | None) -> None:
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(when)
