"""The doors' in-memory implementations: one process, nothing survives it.

What it is for: what a single process needs, and the executable description of what a store must do.
What may live here: `SessionStore`, `EventLog`, `Notes` and `Replicas` over plain dicts, bounded.
What may not: anything shared between processes.
"""

import heapq
import itertools
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from copy import deepcopy

from trunkline.engine.doors import SessionState, Tail
from trunkline.protocol.messages import Id


class MemoryNotes:
    """Notes of one process to itself; they end with it."""

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], bytes] = {}

    async def add(self, kind: str, key: str, note: bytes, seconds: float = 24 * 3600) -> bytes:
        """Leave a note where there is none; returns the one that is there."""
        return self._notes.setdefault((kind, key), note)

    async def load(self, kind: str, key: str) -> bytes | None:
        """The note, or None."""
        return self._notes.get((kind, key))

    async def change(self, kind: str, key: str, alter: Callable[[bytes], bytes]) -> bytes | None:
        """Alter a note; returns it as it is then."""
        note = self._notes.get((kind, key))
        if note is not None:
            note = self._notes[kind, key] = alter(note)
        return note

    async def remove(self, kind: str, key: str) -> None:
        """Take it away."""
        self._notes.pop((kind, key), None)


class LoneReplica:
    """The only replica: there is nobody to tell."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(4)

    async def alive(self, name: str) -> bool:
        """Whether it is this one."""
        return name == self.name

    async def send(self, name: str, topic: str, message: bytes, *, patient: bool = False) -> bool:
        """There is no other."""
        return False

    async def recall(self, name: str, topic: str, message: bytes) -> bool:
        """There is no other."""
        return True

    def broadcast(self, topic: str, message: bytes) -> None:
        """There is no other."""

    def receive(self, topic: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Nothing comes."""
        return _nothing

    def on_gap(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Nothing is missed."""
        return _nothing


class MemorySessions:
    """Sessions in a dict, least recently used first.

    Parameters:
        idle: seconds without use after which a session has expired.
        limit: sessions kept; beyond it the longest unused of the owner with the most end.
    """

    def __init__(self, idle: float = 24 * 3600, limit: int = 100_000) -> None:
        self._idle = idle
        self._limit = limit
        self._sessions: OrderedDict[str, tuple[float, SessionState]] = OrderedDict()
        self._owners: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    async def load(self, key: str) -> SessionState | None:
        """The state, or None when the session ended or expired."""
        self._expire()
        entry = self._sessions.get(key)
        if entry is None:
            return None
        self._keep(key, entry[1])
        return deepcopy(entry[1])

    async def change(self, key: str, alter: Callable[[SessionState], None]) -> SessionState | None:
        """Alter the state; returns it as it is then."""
        state = await self.load(key)
        if state is not None:
            alter(state)
            self._keep(key, deepcopy(state))
        return state

    async def begin(self, key: str) -> None:
        """Begin a session."""
        self._expire()
        self._keep(key, SessionState())
        if len(self._sessions) > self._limit:
            most = max(self._owners, key=self._count)
            self._drop(next(iter(self._owners[most])))

    async def end(self, key: str) -> None:
        """End it; later loads give None."""
        if key in self._sessions:
            self._drop(key)

    def _keep(self, key: str, state: SessionState) -> None:
        self._sessions[key] = (time.monotonic(), state)
        self._sessions.move_to_end(key)
        owner = _owner_of(key)
        mine = self._owners.setdefault(owner, OrderedDict())
        mine[key] = None
        mine.move_to_end(key)
        self._owners.move_to_end(owner)

    def _count(self, owner: str) -> int:
        return len(self._owners[owner])

    def _drop(self, key: str) -> None:
        del self._sessions[key]
        owner = _owner_of(key)
        del self._owners[owner][key]
        if not self._owners[owner]:
            del self._owners[owner]

    def _expire(self) -> None:
        oldest = time.monotonic() - self._idle
        while self._sessions:
            key, (used, _) = next(iter(self._sessions.items()))
            if used >= oldest:
                return
            self._drop(key)


class _Log:
    """One stream: what is kept of it, and the number its last event got."""

    __slots__ = ("complete", "events", "last", "requests", "size")

    def __init__(self, last: int, requests: tuple[Id, ...] = ()) -> None:
        self.events: deque[bytes] = deque()
        self.last = last
        self.size = 0
        self.requests = requests
        self.complete = False


class _Share:
    """What one owner has in the log: streams, longest unused first, and bytes."""

    __slots__ = ("size", "streams")

    def __init__(self) -> None:
        self.streams: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.size = 0


class MemoryEvents:
    """Events of resumable streams in bounded queues.

    Parameters:
        per_stream: events kept of one stream.
        limit: streams kept in all; beyond it the longest unused of the owner with the most are dropped.
        size: bytes kept in all; beyond it the longest unused streams of the owner with the most bytes are dropped.
    """

    def __init__(self, per_stream: int = 1000, limit: int = 10_000, size: int = 64 * 1024 * 1024) -> None:
        self._per_stream = per_stream
        self._limit = limit
        self._room = size
        self._streams: dict[tuple[str, str], _Log] = {}
        self._of_session: dict[str, set[str]] = {}
        self._shares: OrderedDict[str, _Share] = OrderedDict()
        self._due: list[tuple[float, str, str]] = []
        self._dropped = 0

    async def begin(self, session: str, stream: str, requests: Sequence[Id]) -> None:
        """Begin a stream."""
        self._expire()
        self._log((session, stream)).requests = tuple(requests)

    async def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep a message; the event id is `stream/number`."""
        key = (session, stream)
        log = self._log(key)
        share = self._share(key)
        log.last += 1
        log.events.append(data)
        self._grow(share, log, len(data))
        while len(log.events) > self._per_stream:
            self._grow(share, log, -len(log.events.popleft()))
        while len(self._streams) > self._limit:
            self._drop(next(iter(max(self._shares.values(), key=_streams).streams)))
        while self._room < 0:
            longest_unused = next(iter(max(self._shares.values(), key=_size).streams))
            if longest_unused != key:
                self._drop(longest_unused)
            elif len(log.events) > 1:
                self._grow(share, log, -len(log.events.popleft()))
            else:
                break
        return f"{stream}/{log.last}"

    async def finish(self, session: str, stream: str, seconds: float) -> None:
        """Nothing more comes; it is forgotten after `seconds`, or with whatever is done here next."""
        self._expire()
        log = self._streams.get((session, stream))
        if log is not None:
            log.complete = True
            heapq.heappush(self._due, (time.monotonic() + seconds, session, stream))

    async def after(self, session: str, event: str) -> Tail | None:
        """What followed an event on its stream; None when the stream or the event is not known any more."""
        self._expire()
        stream, _, number = event.rpartition("/")
        log = self._streams.get((session, stream))
        if log is None or not (number.isascii() and number.isdigit()) or len(number) > 12:
            return None
        seen = int(number)
        first = log.last - len(log.events) + 1
        if seen < first - 1 or seen > log.last:
            return None
        missed = itertools.islice(log.events, seen - first + 1, None)
        events = [(f"{stream}/{seen + place}", data) for place, data in enumerate(missed, 1)]
        return Tail(stream, events, "complete" if log.complete else "open", log.requests)

    async def forget(self, session: str) -> None:
        """Drop all streams of a session."""
        for name in list(self._of_session.get(session, ())):
            self._drop((session, name))

    def _log(self, key: tuple[str, str]) -> _Log:
        log = self._streams.get(key)
        if log is None:
            # It may have been dropped before: what is numbered now comes after all that ever was.
            log = self._streams[key] = _Log(self._dropped)
            self._of_session.setdefault(key[0], set()).add(key[1])
            self._share(key)
        return log

    def _expire(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, session, stream = heapq.heappop(self._due)
            self._drop((session, stream))

    def _share(self, key: tuple[str, str]) -> _Share:
        owner = _owner_of(key[0])
        share = self._shares.setdefault(owner, _Share())
        share.streams[key] = None
        share.streams.move_to_end(key)
        self._shares.move_to_end(owner)
        return share

    def _grow(self, share: _Share, log: _Log, size: int) -> None:
        log.size += size
        share.size += size
        self._room -= size

    def _drop(self, key: tuple[str, str]) -> None:
        log = self._streams.pop(key, None)
        if log is None:
            return
        self._dropped = max(self._dropped, log.last)
        owner = _owner_of(key[0])
        share = self._shares[owner]
        self._grow(share, log, -log.size)
        del share.streams[key]
        if not share.streams:
            del self._shares[owner]
        names = self._of_session[key[0]]
        names.discard(key[1])
        if not names:
            del self._of_session[key[0]]


def _nothing() -> None:
    return


def _streams(share: _Share) -> int:
    return len(share.streams)


def _size(share: _Share) -> int:
    return share.size


def _owner_of(key: str) -> str:
    return key.partition(".")[0]
