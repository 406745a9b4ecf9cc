"""One engine with its asyncio life: what every transport of a server shares.

What it is for: start and stop once, in-flight registry, listen hub, the authenticator, the stores of legacy sessions.
What may live here: wiring of engine and runtime. What may not: bytes.
"""

import asyncio
from collections.abc import Callable

from trunkline.engine.doors import Authenticator, Bus, EventLog, SessionStore
from trunkline.engine.engine import Engine
from trunkline.engine.memory import LocalBus, MemoryEvents, MemorySessions
from trunkline.runtime.inflight import InFlight
from trunkline.runtime.listen import ListenHub


class Application:
    """What transports serve: an engine, and what lives around it.

    `started` tells whether `start` has finished and `stop` has not begun.

    Parameters:
        engine: answers requests.
        authenticator: says who calls; None makes every caller `ANONYMOUS`.
        bus, sessions, events: the doors to shared state; in memory by default.
        call_timeout: seconds a call may run; None for no limit.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        authenticator: Authenticator | None = None,
        bus: Bus | None = None,
        sessions: SessionStore | None = None,
        events: EventLog | None = None,
        call_timeout: float | None = None,
    ) -> None:
        self.engine = engine
        self.authenticator = authenticator
        self.bus: Bus = bus or LocalBus()
        self.sessions: SessionStore = sessions or MemorySessions()
        self.events: EventLog = events or MemoryEvents()
        self.call_timeout = call_timeout
        self.inflight = InFlight()
        self.hub = ListenHub(self.bus)
        self.started = False
        self._unwatch: Callable[[], None] | None = None
        self._starting: asyncio.Lock | None = None

    async def start(self) -> None:
        """Start the provider and the extensions; safe to call again."""
        if self.started:
            return
        self._starting = self._starting or asyncio.Lock()
        async with self._starting:
            if self.started:
                return
            self.hub.start()
            self.inflight.draining = False
            await self.engine.provider.start()
            for extension in self.engine.extensions:
                if extension.start is not None:
                    await extension.start()
            self._unwatch = self.engine.provider.watch(self.bus.publish)
            self.started = True

    async def stop(self, drain: float = 5.0) -> None:
        """End open streams, wait up to `drain` seconds for calls, stop extensions and provider."""
        if self._unwatch is None:
            return
        self.started = False
        for extension in self.engine.extensions:
            if extension.drain is not None:
                await extension.drain()
        await self.inflight.drain(drain)
        self._unwatch()
        self._unwatch = None
        self.hub.stop()
        for extension in reversed(self.engine.extensions):
            if extension.stop is not None:
                await extension.stop()
        await self.engine.provider.stop()
        await self.inflight.stop()
