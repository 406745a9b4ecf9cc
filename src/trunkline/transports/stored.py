"""What replicas share, kept in a database.

What it is for: the doors of legacy sessions, resumable streams and replicas over `storage/`.
What may live here: the way between the doors' records and stored bytes. What may not: SQL, sessions themselves.
"""

import itertools
import logging
import secrets
import string
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from trunkline.engine.doors import EventLog, Notes, Replicas, SessionState, SessionStore, Tail
from trunkline.errors import StorageUnavailable
from trunkline.protocol.messages import Id

if TYPE_CHECKING:
    from trunkline.storage.records import Records
    from trunkline.storage.replicas import Timing
    from trunkline.storage.storage import Storage
    from trunkline.storage.versions import Branch

logger = logging.getLogger("trunkline.transports")

_IDLE = 24 * 3600.0
"""Seconds without use after which a session has expired."""

_LETTERS = string.ascii_lowercase + string.digits

_encode = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(SessionState).decode
_decode_ids = msgspec.msgpack.Decoder(tuple[Id, ...]).decode


class Stored:
    """Shared state in SQLite or PostgreSQL.

    Parameters:
        url: of the database: `sqlite:///path` or `postgresql://user@host/name`.
        timing: how often replicas are heard of, and when they count as gone.

    `start` raises `ConfigError` for a database that cannot be used. It may be started by several applications; it lives
    until the last one stops it.

        Application(engine, shared=Stored("postgresql://trunkline@db/trunkline"))
    """

    def __init__(self, url: str, timing: "Timing | None" = None) -> None:
        self._url = url
        self._timing = timing
        self._branches: list[Branch] = []
        self._users = 0
        self._life: AsyncExitStack | None = None
        self._peers = _Peers()
        self._sessions = _Sessions()
        self._events = _Events()
        self._notes = _Notes()
        self.sessions: SessionStore = self._sessions
        self.notes: Notes = self._notes
        self.events: EventLog = self._events
        self.replicas: Replicas = self._peers
        self.storage: Storage | None = None

    def __repr__(self) -> str:
        return "Stored()"

    def report(self) -> str | None:
        """Whether the database can be reached."""
        return "reachable" if self.storage is not None and self.storage.healthy else "unreachable"

    def include(self, branch: "Branch") -> None:
        """Have the tables of an extension there as well; before the start."""
        if branch not in self._branches:
            self._branches.append(branch)

    async def start(self) -> None:
        """Connect."""
        self._users += 1
        if self._users > 1:
            return
        # Imported when it is needed: a server that stores nothing starts faster.
        from trunkline.storage.storage import open_storage

        async with AsyncExitStack() as life:
            # The last to go: until the storage is closed, messages are handed over and answered.
            life.callback(self._peers.detach)
            storage = await life.enter_async_context(
                open_storage(self._url, replica=self._peers.name, timing=self._timing, branches=tuple(self._branches))
            )
            self.storage = storage
            self._sessions.records = storage.records("session", idle=_IDLE)
            self._events.storage = self._notes.storage = storage
            self._peers.attach(storage)
            self._life = life.pop_all()

    async def stop(self) -> None:
        """Write what waits, and leave."""
        self._users -= 1
        if self._users == 0 and self._life is not None:
            life, self._life = self._life, None
            await life.aclose()


def _there(storage: "Storage | None") -> "Storage":
    if storage is None:
        raise StorageUnavailable("The storage is not open yet, or not any more; try again shortly")
    return storage


class _Sessions:
    """`SessionStore` over records."""

    records: "Records"

    async def begin(self, key: str) -> None:
        await self.records.put(key, _encode(SessionState()))

    async def load(self, key: str) -> SessionState | None:
        found = await self.records.load(key)
        return None if found is None else _decode_state(found)

    async def change(self, key: str, alter: Callable[[SessionState], None]) -> SessionState | None:
        def altered(payload: bytes) -> bytes:
            state = _decode_state(payload)
            alter(state)
            return _encode(state)

        found = await self.records.change(key, altered)
        return None if found is None else _decode_state(found)

    async def end(self, key: str) -> None:
        await self.records.delete(key)


class _Events:
    """`EventLog` over the storage. A stream that cannot be written goes on, and cannot be resumed elsewhere."""

    storage: "Storage"

    async def begin(self, session: str, stream: str, requests: Sequence[Id]) -> None:
        try:
            await self.storage.events.begin(session, stream, _encode(tuple(requests)))
        except StorageUnavailable as error:
            logger.warning("a stream is not kept for clients that come back: %s", error)

    async def append(self, session: str, stream: str, data: bytes) -> str:
        return self.storage.events.append(session, stream, data)

    async def finish(self, session: str, stream: str, seconds: float) -> None:
        try:
            await self.storage.events.finish(session, stream, seconds)
        except StorageUnavailable as error:
            logger.warning("the end of a stream is not kept: %s", error)

    async def after(self, session: str, event: str) -> Tail | None:
        found = await self.storage.events.after(session, event)
        if found is None:
            return None
        return Tail(found.stream, found.events, found.state, _decode_ids(found.about))

    async def forget(self, session: str) -> None:
        await self.storage.events.forget(session)


class _Notes:
    """`Notes` over records, a kind each."""

    def __init__(self) -> None:
        self.storage: Storage | None = None
        self._kinds: dict[str, Records] = {}

    async def add(self, kind: str, key: str, note: bytes, seconds: float = _IDLE) -> bytes:
        return await self._of(kind, seconds).add(key, note)

    async def load(self, kind: str, key: str) -> bytes | None:
        return await self._of(kind).load(key)

    async def change(self, kind: str, key: str, alter: Callable[[bytes], bytes]) -> bytes | None:
        return await self._of(kind).change(key, alter)

    async def remove(self, kind: str, key: str) -> None:
        await self._of(kind).delete(key)

    def _of(self, kind: str, seconds: float = _IDLE) -> "Records":
        if kind not in self._kinds:
            self._kinds[kind] = _there(self.storage).records(kind, idle=seconds)
        return self._kinds[kind]


class _Peers:
    """`Replicas` over the storage; who wants to be told may say so before it is open."""

    def __init__(self) -> None:
        self.name = "".join(secrets.choice(_LETTERS) for _ in range(10))
        self._storage: Storage | None = None
        self._listeners: dict[int, Callable[[Storage], Callable[[], None]]] = {}
        self._leave: dict[int, Callable[[], None]] = {}
        self._ids = itertools.count()

    def attach(self, storage: "Storage") -> None:
        """Begin with what was asked for before."""
        self._storage = storage
        for id, begin in self._listeners.items():
            self._leave[id] = begin(storage)

    async def alive(self, name: str) -> bool:
        return name == self.name or await _there(self._storage).replicas.alive(name)

    async def send(self, name: str, topic: str, message: bytes, *, patient: bool = False) -> bool:
        if name == self.name:
            return False
        return await _there(self._storage).replicas.send(name, topic, message, patient=patient)

    async def recall(self, name: str, topic: str, message: bytes) -> bool:
        return await _there(self._storage).replicas.recall(name, topic, message)

    def broadcast(self, topic: str, message: bytes) -> None:
        _there(self._storage).replicas.broadcast(topic, message)

    def receive(self, topic: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        return self._join(lambda storage: storage.replicas.receive(topic, handler))

    def on_gap(self, handler: Callable[[], None]) -> Callable[[], None]:
        return self._join(lambda storage: storage.replicas.on_gap(handler))

    def _join(self, begin: "Callable[[Storage], Callable[[], None]]") -> Callable[[], None]:
        id = next(self._ids)
        self._listeners[id] = begin
        if self._storage is not None:
            self._leave[id] = begin(self._storage)

        def leave() -> None:
            self._listeners.pop(id, None)
            ended = self._leave.pop(id, None)
            if ended is not None:
                ended()

        return leave

    def detach(self) -> None:
        """The storage is closed; what was asked for is begun again with the next one."""
        self._storage = None
        self._leave.clear()
