"""The sessions of one upstream, one for each caller, or for each call at a time.

What it is for: what an upstream keeps between requests belongs to one (principal, capability set).
What may live here: opening lazily, sharing among one caller's requests, closing when idle, re-making when lost.
What may not: what travels over a session.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager

from trunkline.engine.context import Context
from trunkline.errors import MethodNotFound
from trunkline.gateway.dialling import Connection
from trunkline.gateway.failures import unavailable
from trunkline.gateway.relaying import Relay, offered
from trunkline.protocol import json
from trunkline.protocol.revisions import LOG_LEVELS

Open = Callable[["Session"], Awaitable[Connection]]
"""Makes the connection of a session."""

Key = tuple[str, bytes, int]
"""Whose it is: the principal and the capability set, and which of theirs."""

AnswerElsewhere = Callable[[str, dict[str, object]], Awaitable[dict[str, object] | None]]
"""Has another replica answer a request of the upstream; None where no call runs there either."""


class Session:
    """One caller's connection, and the calls that run over it."""

    __slots__ = ("capabilities", "connection", "elsewhere", "key", "level", "lock", "relays", "timer")

    def __init__(self, key: Key, capabilities: Mapping[str, object]) -> None:
        self.key = key
        self.capabilities = capabilities
        self.elsewhere: AnswerElsewhere | None = None
        """Answers what was asked outside of any call, where no call runs here."""
        self.connection: Connection | None = None
        self.level: str | None = None
        """What `logging/setLevel` last asked of the upstream."""
        self.lock = asyncio.Lock()
        self.relays: list[Relay] = []
        self.timer: asyncio.TimerHandle | None = None

    @property
    def wanted(self) -> str | None:
        """The log level that suits all its calls: each leaves out what is finer than its own."""
        levels = [relay.context.log_level for relay in self.relays if relay.context.log_level is not None]
        return min(levels, key=LOG_LEVELS.index, default=None)

    async def answer(self, method: str, params: dict[str, object]) -> dict[str, object]:
        """Answer a request that came outside of any call, as all do on stdio and HTTP+SSE.

        It is this caller's in any case, since the session is. Which call asked no revision says on these transports
        (SEP-2260: "not enforced in the current MCP Data Layer"; `related-task` is of tasks alone): of several, the
        latest that waits for no answer yet is the likeliest.
        """
        relay = next((one for one in reversed(self.relays) if not one.asking), self.relays[-1] if self.relays else None)
        if relay is not None:
            return await relay.on_request(method, params)
        answer = None if self.elsewhere is None else await self.elsewhere(method, params)
        if answer is None:
            raise MethodNotFound(f"No request is running that {method} could belong to")
        return answer

    async def hear(self, method: str, params: dict[str, object]) -> bool:
        """Take what came outside of any call; False for a log message while no call is running."""
        if method != "notifications/message":
            return True
        if self.relays:
            await self.relays[-1].on_notification(method, params)
        return bool(self.relays)


class Sessions:
    """Sessions by principal and capability set.

    Parameters:
        upstream: its name, for errors.
        open_: makes a connection.
        limit: sessions kept at once; above it the one unused for longest is closed.
        idle: seconds after which an unused session is closed.
        left: told of each session that is not kept any more.
        alone: a call has a session to itself; its caller's next one at the time gets a further session.
    """

    def __init__(
        self,
        upstream: str,
        open_: Open,
        *,
        limit: int = 256,
        idle: float = 600.0,
        left: Callable[[Key], Coroutine[object, object, None]] | None = None,
        alone: bool = False,
    ) -> None:
        self._upstream = upstream
        self._open = open_
        self._limit = limit
        self._idle = idle
        self._left = left
        self._alone = alone
        self._sessions: dict[Key, Session] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        """Those of `_closing` that wait until the calls over a lost connection are back."""

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, key: Key) -> bool:
        return key in self._sessions

    def get(self, key: Key) -> Session | None:
        """A session that is kept here."""
        return self._sessions.get(key)

    @contextmanager
    def lease(self, context: Context, relay: Relay) -> Iterator[Session]:
        """The caller's session; it is not closed while leased. Raises `UpstreamUnavailable` when all are busy."""
        key = self._key(context)
        session = self._take(key, offered(context))
        session.relays.append(relay)
        try:
            yield session
        finally:
            session.relays.remove(relay)
            self._rest(key, session)

    async def connect(self, session: Session) -> Connection:
        """The connection of a leased session, made once for all who wait for it. Raises what connecting raises."""
        async with session.lock:
            if session.connection is None:
                session.connection = await self._open(session)
                session.level = None
            return session.connection

    def lose(self, session: Session, connection: Connection) -> None:
        """The connection is of no use any more; the next lease makes another."""
        if session.connection is connection:
            session.connection = None
            retiring = self._finish(connection.retire())
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        """Close all sessions, and what is left of lost connections, at once."""
        # One that was lost in this moment has not begun to wait yet, and would not be closed.
        await asyncio.sleep(0)
        for retiring in self._retiring:
            retiring.cancel()
        for key in list(self._sessions):
            self._drop(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _key(self, context: Context) -> Key:
        """The first of a caller's sessions, or the first that no call has."""
        owner, capabilities, count = key_of(context)
        while self._alone:
            session = self._sessions.get((owner, capabilities, count))
            if session is None or not session.relays:
                break
            count += 1
        return owner, capabilities, count

    def _take(self, key: Key, capabilities: Mapping[str, object]) -> Session:
        session = self._sessions.pop(key, None)
        if session is None:
            self._make_room()
            session = Session(key, capabilities)
        if session.timer is not None:
            session.timer.cancel()
            session.timer = None
        self._sessions[key] = session  # the order is that of use
        return session

    def _rest(self, key: Key, session: Session) -> None:
        """Without calls a session waits for the next one, for a while; one that never connected does not."""
        if session.relays:
            return
        if self._sessions.get(key) is not session:
            # Everything was closed while this one was still connecting.
            if session.connection is not None:
                self.lose(session, session.connection)
        elif session.connection is None:
            self._drop(key)
        else:
            session.timer = asyncio.get_running_loop().call_later(self._idle, self._drop, key)

    def _make_room(self) -> None:
        if len(self._sessions) < self._limit:
            return
        for key, session in self._sessions.items():
            if not session.relays:
                self._drop(key)
                return
        raise unavailable(self._upstream, f"has all its {self._limit} sessions busy; try again shortly", retry=True)

    def _drop(self, key: Key) -> None:
        session = self._sessions.pop(key)
        if session.timer is not None:
            session.timer.cancel()
        if session.connection is not None:
            self._close(session.connection)
            session.connection = None
        if self._left is not None:
            self._finish(self._left(key))

    def _close(self, connection: Connection) -> None:
        self._finish(connection.close())

    def _finish(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task


def key_of(context: Context) -> Key:
    """Whose session a request needs: the caller's, for what its client can do."""
    return context.principal.owner, json.encode(offered(context)), 0
