"""The part of a legacy HTTP session that lives in this process.

What it is for: its streams, and the GET stream that outlives its connections for a while; which replica has that one.
What may live here: the state of one session. What may not: HTTP requests, how a stream is written.
"""

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET

from trunkline.engine.context import Context
from trunkline.engine.doors import SessionState
from trunkline.engine.principal import Principal
from trunkline.protocol.messages import Id, Message
from trunkline.runtime.application import Application
from trunkline.transports.sessions import Facts, Session, SessionLimits
from trunkline.transports.streams import Stream

if TYPE_CHECKING:
    from trunkline.transports.news import News

LINGER = 60.0
"""Seconds a session's changes are still collected after its GET connection broke."""

_BRIEF = 30.0
"""Seconds the log of a stream is kept whose client seems to have all of it."""

_LONG = 300.0
"""Seconds the log of a stream is kept whose client was gone at its end, and may come back for the response."""


class HTTPSession(Session):
    """A session whose messages leave by streams; in memory only while it has some, or calls.

    Parameters:
        application, facts, limits: as for every session.
        news: tells the other replicas.
        spawn: runs what has to be finished after a stream has closed.
        settle: told when something of the session ended here.
    """

    __slots__ = ("_alone_since", "_ended", "_news", "_settle", "_spawn", "ear", "holders", "streams")

    def __init__(
        self,
        application: Application,
        facts: Facts,
        limits: SessionLimits,
        news: "News",
        spawn: Callable[[Coroutine[object, object, None]], None],
        settle: "Callable[[HTTPSession], None]",
    ) -> None:
        super().__init__(application, application.shared.sessions, facts, limits, self._unsolicited)
        self._news = news
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

    def reply(self, requests: Sequence[Id], expected: int = 1, *, batch: bool = False) -> Stream:
        """The stream of one POST, which answers `requests`."""
        return self._stream(expected, requests, batch=batch)

    def take(self, message: Message) -> bool:
        """Take in a notification or a response; False where it is about something that is not in this process."""
        return self.questions.answered(message) if message.method is UNSET else self.notified(message)

    async def listen(self, principal: Principal, state: SessionState) -> None:
        """Collect changes from now on, whether or not the client has opened its GET stream yet."""
        await self.hear(principal, state)

    async def hear(self, principal: Principal, state: SessionState) -> Stream:
        """The stream of the session's GET.

        Where another replica had it, something may have changed that was told to nobody: the client looks at all of it.
        """
        if self.ear is None:
            self.ear = self._stream(None)
            self.leave_alone()
            ear = self.ear
            try:
                await ear.begin()
                moved = await self._claim()
                await super().listen(principal, state)
            except BaseException:
                ear.close()
                raise
            if moved and self.changes is not None:
                self.changes.missed()
            return ear
        return self.ear

    async def follow(self, context: Context, uri: str, state: SessionState) -> None:
        """Pass on changes of a resource, wherever the session's changes are collected."""
        replicas = self.application.shared.replicas
        if self.changes is not None or state.ear is None or state.ear == replicas.name:
            await super().follow(context, uri, state)
            return
        provider = self.application.engine.provider
        await provider.follow(context, [uri])
        try:
            await self.change(lambda state: state.subscriptions.add(uri))
            if not await self._news.altered(state.ear, self.facts.key):
                await self.hear(context.principal, await self.change(lambda state: None))
        finally:
            await provider.unfollow(context, [uri])

    async def unfollow(self, context: Context, uri: str) -> None:
        """Pass on its changes no longer."""
        state = await self.change(lambda state: state.subscriptions.discard(uri))
        if self.changes is not None:
            await self.changes.unfollow(context, uri)
        elif state.ear is not None and state.ear != self.application.shared.replicas.name:
            await self._news.altered(state.ear, self.facts.key)

    async def refollow(self) -> bool:
        """Follow what the session subscribed to at another replica; False where its changes are not collected here."""
        state = await self.store.load(self.facts.key)
        if state is None or self.changes is None:
            return False
        await self.changes.align(state.subscriptions)
        return True

    def give_up(self) -> None:
        """The client opened its GET stream at another replica."""
        if self.ear is not None:
            self.ear.close()

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
            keep = _BRIEF if complete else _LONG
            self._spawn(self.application.shared.events.finish(self.facts.key, stream.name, keep))
        if stream is self.ear:
            self.ear = None
            if self.changes is not None:
                changes, self.changes = self.changes, None
                self._spawn(changes.close())
        self._settle(self)

    def _stream(self, expected: int | None, requests: Sequence[Id] = (), *, batch: bool = False) -> Stream:
        events, priming = self.application.shared.events, self.revision.resumable_priming
        stream = Stream(
            events, self.facts.key, self.closed, priming=priming, expected=expected, requests=requests, batch=batch
        )
        self.streams[stream.name] = stream
        return stream

    async def _claim(self) -> bool:
        """The session's changes are collected here from now on; True where they were collected elsewhere before."""
        own, before = self.application.shared.replicas.name, [""]

        def claim(state: SessionState) -> None:
            before[0] = state.ear or ""
            state.ear = own

        await self.change(claim)
        if before[0] in ("", own):
            return False
        await self._news.taken(before[0], self.facts.key)
        return True

    async def _unsolicited(self, message: bytes) -> None:
        ear = self.ear
        if ear is not None:
            await ear.ready()
            await ear.tell(message)
