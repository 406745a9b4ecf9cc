"""The doors' in-memory implementations: one process, nothing survives it.

What it is for: what a single process needs, and the executable description of what a store must do.
What may live here: `Bus`, `SessionStore` and `EventLog` over plain dicts, bounded.
What may not: anything shared between processes.
"""

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from trunkline.engine.doors import Change, SessionState


class LocalBus:
    """Carries changes within this process."""

    def __init__(self) -> None:
        self._listeners: dict[int, Callable[[Change], None]] = {}
        self._ids = itertools.count()

    def publish(self, change: Change) -> None:
        """Tell every listener, in the order they came."""
        for listener in list(self._listeners.values()):
            listener(change)

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told; returns what ends it."""
        key = next(self._ids)
        self._listeners[key] = listener

        def unsubscribe() -> None:
            self._listeners.pop(key, None)

        return unsubscribe


class MemorySessions:
    """Sessions in a dict, least recently used first.

    Parameters:
        idle: seconds without use after which a session has expired.
        limit: sessions kept; beyond it the longest unused end.
    """

    def __init__(self, idle: float = 24 * 3600, limit: int = 100_000) -> None:
        self._idle = idle
        self._limit = limit
        self._sessions: OrderedDict[str, tuple[float, SessionState]] = OrderedDict()

    async def load(self, key: str) -> SessionState | None:
        """The state, or None when the session ended or expired."""
        self._expire()
        entry = self._sessions.get(key)
        if entry is None:
            return None
        self._keep(key, entry[1])
        return entry[1]

    async def save(self, key: str, state: SessionState) -> None:
        """Begin or update a session."""
        self._expire()
        self._keep(key, state)
        if len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)

    async def end(self, key: str) -> None:
        """End it; later loads give None."""
        self._sessions.pop(key, None)

    def _keep(self, key: str, state: SessionState) -> None:
        self._sessions[key] = (time.monotonic(), state)
        self._sessions.move_to_end(key)

    def _expire(self) -> None:
        oldest = time.monotonic() - self._idle
        while self._sessions:
            key, (used, _) = next(iter(self._sessions.items()))
            if used >= oldest:
                return
            del self._sessions[key]


class _Log:
    """One stream: what is kept of it, and the number its last event got."""

    __slots__ = ("events", "last", "size")

    def __init__(self) -> None:
        self.events: deque[bytes] = deque()
        self.last = 0
        self.size = 0


class MemoryEvents:
    """Events of resumable streams in bounded queues.

    Parameters:
        per_stream: events kept of one stream.
        limit: streams kept in all; beyond it the longest unused are dropped.
        size: bytes kept in all; beyond it the longest unused streams are dropped.
    """

    def __init__(self, per_stream: int = 1000, limit: int = 10_000, size: int = 64 * 1024 * 1024) -> None:
        self._per_stream = per_stream
        self._limit = limit
        self._room = size
        self._streams: OrderedDict[tuple[str, str], _Log] = OrderedDict()
        self._of_session: dict[str, set[str]] = {}

    async def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep a message; the event id is `stream/number`."""
        key = (session, stream)
        log = self._streams.get(key)
        if log is None:
            log = self._streams[key] = _Log()
            self._of_session.setdefault(session, set()).add(stream)
        else:
            self._streams.move_to_end(key)
        log.last += 1
        log.events.append(data)
        log.size += len(data)
        self._room -= len(data)
        while len(log.events) > self._per_stream:
            self._shorten(log)
        while len(self._streams) > self._limit or (self._room < 0 and len(self._streams) > 1):
            self._drop(next(iter(self._streams)))
        while self._room < 0 and len(log.events) > 1:
            self._shorten(log)
        return f"{stream}/{log.last}"

    async def after(self, session: str, event: str) -> tuple[str, list[tuple[str, bytes]]] | None:
        """What followed an event on its stream; None when the stream or the event is not known any more."""
        stream, _, number = event.rpartition("/")
        log = self._streams.get((session, stream))
        if log is None or not (number.isascii() and number.isdigit()) or len(number) > 12:
            return None
        seen = int(number)
        first = log.last - len(log.events) + 1
        if seen < first - 1 or seen > log.last:
            return None
        missed = itertools.islice(log.events, seen - first + 1, None)
        return stream, [(f"{stream}/{seen + place}", data) for place, data in enumerate(missed, 1)]

    async def forget(self, session: str, stream: str | None = None) -> None:
        """Drop a stream, or all of a session."""
        for name in [stream] if stream is not None else list(self._of_session.get(session, ())):
            self._drop((session, name))

    def _drop(self, key: tuple[str, str]) -> None:
        log = self._streams.pop(key, None)
        if log is None:
            return
        self._room += log.size
        names = self._of_session[key[0]]
        names.discard(key[1])
        if not names:
            del self._of_session[key[0]]

    def _shorten(self, log: _Log) -> None:
        dropped = len(log.events.popleft())
        log.size -= dropped
        self._room += dropped
