"""The part of a legacy HTTP session that lives in this process.

What it is for: its streams, and the GET stream that outlives its connections for a while.
What may live here: the state of one session. What may not: HTTP requests, how a stream is written.
"""

import time
from collections.abc import Callable, Coroutine

from trunkline.engine.doors import SessionState
from trunkline.engine.principal import Principal
from trunkline.runtime.application import Application
from trunkline.transports.retention import Retention
from trunkline.transports.sessions import Facts, Session, SessionLimits
from trunkline.transports.streams import Stream

LINGER = 60.0
"""Seconds a session's changes are still collected after its GET connection broke."""


class HTTPSession(Session):
    """A session whose messages leave by streams; in memory only while it has some, or calls.

    Parameters:
        application, facts, limits: as for every session.
        retention: keeps the logs of complete streams.
        spawn: runs what has to be finished after a stream has closed.
        settle: told when something of the session ended here.
    """

    __slots__ = ("_alone_since", "_ended", "_retention", "_settle", "_spawn", "ear", "holders", "streams")

    def __init__(
        self,
        application: Application,
        facts: Facts,
        limits: SessionLimits,
        retention: Retention,
        spawn: Callable[[Coroutine[object, object, None]], None],
        settle: "Callable[[HTTPSession], None]",
    ) -> None:
        super().__init__(application, application.sessions, facts, limits, self._unsolicited)
        self._retention = retention
        self._spawn = spawn
        self._settle = settle
        self._ended = False
        self.holders = 0
        self._alone_since = 0.0
        self.streams: dict[str, Stream] = {}
        self.ear: Stream | None = None

    @property
    def idle(self) -> bool:
        """Nothing of the session lives here."""
        return not (self.calls or self.streams or self.holders)

    def reply(self, expected: int = 1, *, batch: bool = False) -> Stream:
        """The stream of one POST."""
        return self._stream(expected, batch=batch)

    async def listen(self, principal: Principal, state: SessionState) -> None:
        """Collect changes from now on, whether or not the client has opened its GET stream yet."""
        await self.hear(principal, state)

    async def hear(self, principal: Principal, state: SessionState) -> Stream:
        """The stream of the session's GET."""
        if self.ear is None:
            self.ear = self._stream(None)
            self.leave_alone()
            await self.ear.begin()
            await super().listen(principal, state)
        return self.ear

    def leave_alone(self) -> None:
        """Nobody carries the GET stream at the moment."""
        self._alone_since = time.monotonic()
        if not self.application.inflight.draining:
            self.application.inflight.enter(self)

    def sweep(self, now: float) -> None:
        """Give up on a client that does not come back for its GET stream."""
        if self.ear is None or self.ear.connection is not None:
            self.application.inflight.calls.discard(self)
        elif now - self._alone_since > LINGER:
            self.ear.close()

    def drain(self) -> None:
        """A GET stream that nobody carries does not keep a server from stopping."""
        self.application.inflight.calls.discard(self)
        if self.ear is not None and self.ear.connection is None:
            self.ear.close()

    def stop(self) -> None:
        """Nothing to stop: calls and connections are told themselves."""

    async def end(self) -> None:
        """End calls and streams; nothing is kept for a client that said goodbye."""
        self._ended = True
        for stream in list(self.streams.values()):
            stream.close()
        await super().end()

    def closed(self, stream: Stream, complete: bool) -> None:
        """A stream is complete: keep its log for its time."""
        self.streams.pop(stream.name, None)
        if stream.opened and not self._ended:
            self._retention.keep(self.facts.key, stream.name, complete=complete)
        if stream is self.ear:
            self.ear = None
            if self.changes is not None:
                changes, self.changes = self.changes, None
                self._spawn(changes.close())
        self._settle(self)

    def _stream(self, expected: int | None, *, batch: bool = False) -> Stream:
        priming = self.revision.resumable_priming
        stream = Stream(
            self.application.events, self.facts.key, self.closed, priming=priming, expected=expected, batch=batch
        )
        self.streams[stream.name] = stream
        return stream

    async def _unsolicited(self, message: bytes) -> None:
        ear = self.ear
        if ear is not None:
            await ear.ready()
            await ear.tell(message)
