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


class MemoryEvents:
    """Events of resumable streams in bounded queues.

    Parameters:
        per_stream: events kept of one stream.
        limit: streams kept in all; beyond it the oldest are dropped.
    """

    def __init__(self, per_stream: int = 1000, limit: int = 10_000) -> None:
        self._per_stream = per_stream
        self._limit = limit
        self._streams: OrderedDict[tuple[str, str], deque[tuple[int, bytes]]] = OrderedDict()
        self._next: dict[tuple[str, str], int] = {}

    async def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep a message; the event id is `stream/number`."""
        key = (session, stream)
        events = self._streams.get(key)
        if events is None:
            events = self._streams[key] = deque(maxlen=self._per_stream)
            self._trim()
        number = self._next.get(key, 0) + 1
        self._next[key] = number
        events.append((number, data))
        return f"{stream}/{number}"

    async def after(self, session: str, event: str) -> tuple[str, list[tuple[str, bytes]]] | None:
        """What followed an event on its stream; None when the stream or the event is not known any more."""
        stream, _, number = event.rpartition("/")
        events = self._streams.get((session, stream))
        if events is None or not (number.isascii() and number.isdigit()) or len(number) > 12:
            return None
        last = int(number)
        if (events and last < events[0][0] - 1) or last > self._next[session, stream]:
            return None
        return stream, [(f"{stream}/{seen}", data) for seen, data in events if seen > last]

    async def forget(self, session: str, stream: str | None = None) -> None:
        """Drop a stream, or all of a session."""
        if stream is not None:
            self._drop((session, stream))
            return
        for key in [key for key in self._streams if key[0] == session]:
            self._drop(key)

    def _drop(self, key: tuple[str, str]) -> None:
        self._streams.pop(key, None)
        self._next.pop(key, None)

    def _trim(self) -> None:
        while len(self._streams) > self._limit:
            self._drop(next(iter(self._streams)))
