"""One engine with its asyncio life: what every transport of a server shares.

What it is for: start and stop once, in-flight registry, listen hub, the authenticator, the stores of legacy sessions.
What may live here: wiring of engine and runtime. What may not: bytes.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal

from trunkline.engine.doors import Authenticator, Bus, ProtectedResource
from trunkline.engine.engine import Engine
from trunkline.errors import Overloaded
from trunkline.runtime.bus import SharedBus
from trunkline.runtime.inflight import InFlight
from trunkline.runtime.listen import ListenHub
from trunkline.runtime.shared import Alone, Shared

Part = Callable[[], Callable[[], None]]
"""Begins something, and returns what ends it."""

Phase = Literal["starting", "ready", "draining"]


class Application:
    """What transports serve: an engine, and what lives around it.

    `started` tells whether `start` has finished and `stop` has not begun. `authenticator` says who calls.
    `reports` are facts for operators by name,
    asked for each time; they decide nothing.

    Parameters:
        engine: answers requests.
        authenticator: says who calls; None makes every caller `ANONYMOUS`.
        name: tells it from other applications that share the same; their sessions and changes stay apart.
        shared: what replicas share, started and stopped with this; by default this process is alone.
        call_timeout: seconds a call may run; None for no limit.
        settled: whether what was started is as good as it will be soon; asked until it says so once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        authenticator: Authenticator | None = None,
        name: str = "",
        shared: Shared | None = None,
        call_timeout: float | None = None,
        settled: Callable[[], bool] | None = None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.shared: Shared = shared or Alone()
        self.authenticate_with(authenticator)
        self.bus: Bus = SharedBus(self.shared.replicas, name)
        self.call_timeout = call_timeout
        self.inflight = InFlight()
        self.hub = ListenHub(self.bus)
        self.started = False
        self._parts: list[Part] = []
        self.reports: dict[str, Callable[[], str | None]] = {"storage": self.shared.report}
        self._settled = settled
        self._leaving = False
        self._stopping = False
        self._life: AsyncExitStack | None = None
        self._turn: asyncio.Lock | None = None

    def join(self, part: "Part") -> None:
        """Let something live with the application: `part` is called at its start, and what it returns at its end."""
        self._parts.append(part)
        if self._life is not None:
            self._life.callback(part())

    def authenticate_with(self, authenticator: Authenticator | None) -> None:
        """Have this one say who calls from now on; None makes every caller `ANONYMOUS`."""
        self.authenticator = authenticator
        if isinstance(authenticator, ProtectedResource):
            authenticator.attach(lambda: self.engine.keys, self.shared.notes)

    @property
    def phase(self) -> Phase:
        """Where in its life it is: requests should come only while it is `ready`, and are answered in any."""
        if self._leaving or self._stopping:
            return "draining"
        if self.started and self._settled is not None and self._settled():
            self._settled = None
        return "ready" if self.started and self._settled is None else "starting"

    def leave(self) -> None:
        """From now on the phase is `draining`; requests are still answered, until balancers have noticed."""
        self._leaving = True

    async def start(self) -> None:
        """Start the provider and the extensions; safe to call again. What began is undone when another part fails.

        Raises `Overloaded` while the application stops: a late request must not bring it back to life.
        """
        if self.started:
            return
        if self._stopping:
            raise Overloaded("The server is stopping; send the request again when it is back")
        async with self._one_at_a_time():
            if self.started:
                return
            self.inflight.draining = self._leaving = False
            async with AsyncExitStack() as life:
                await self.shared.start()
                life.push_async_callback(self.shared.stop)
                life.push_async_callback(self._close_authenticator)
                await self.engine.provider.start()
                life.push_async_callback(self.engine.provider.stop)
                for extension in self.engine.extensions:
                    if extension.start is not None:
                        await extension.start()
                    if extension.stop is not None:
                        life.push_async_callback(extension.stop)
                self.hub.start()
                life.callback(self.hub.stop)
                life.callback(self.engine.provider.watch(self.bus.publish))
                for part in self._parts:
                    life.callback(part())
                self._life = life.pop_all()
            self.started = True

    async def stop(self, drain: float = 5.0) -> None:
        """End open streams, wait up to `drain` seconds for calls, stop those left, extensions and provider."""
        async with self._one_at_a_time():
            life, self._life = self._life, None
            if life is None:
                return
            self.started, self._stopping = False, True
            try:
                async with life:  # ends what `start` began, the last first
                    try:
                        drains = [one.drain for one in self.engine.extensions if one.drain is not None]
                        await asyncio.gather(self.inflight.drain(drain), *(each(drain) for each in drains))
                    finally:
                        await self.inflight.stop()
            finally:
                self._stopping = False

    async def _close_authenticator(self) -> None:
        if isinstance(self.authenticator, ProtectedResource):
            await self.authenticator.close()

    def _one_at_a_time(self) -> asyncio.Lock:
        self._turn = self._turn or asyncio.Lock()
        return self._turn
