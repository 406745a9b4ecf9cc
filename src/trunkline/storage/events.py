"""Logs of resumable streams: numbered by the replica that owns a stream, readable by all.

What it is for: a client whose connection broke gets what it missed, from any replica.
What may live here: numbering, waiting, reading; how it is written is in `journal`. What may not: what events mean.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Literal

import msgspec
from sqlalchemy import Connection, and_, exists, select

from trunkline.errors import StorageUnavailable
from trunkline.storage import journal
from trunkline.storage.database import Database
from trunkline.storage.journal import Append, Begin, Entry, Finish, Forget, Open, Written
from trunkline.storage.tables import clock, owner_of, replicas, streams
from trunkline.storage.tables import events as table

logger = logging.getLogger("trunkline.storage")

_GATHER = 0.005
"""Seconds between the first event that waits and its being written with all that came meanwhile."""
_BATCH = 2000
_WAITING_ONE = 16 * 1024 * 1024
_WAITING_ALL = 64 * 1024 * 1024
"""Bytes of events that may wait for the database, of one owner and of all."""


class Tail(msgspec.Struct, frozen=True):
    """What follows an event on its stream.

    Parameters:
        stream: its name.
        events: id and data of each.
        state: `open` while its replica may add to it, `complete` when nothing more comes, `lost` when that died.
        about: what the stream was begun with.
    """

    stream: str
    events: list[tuple[str, bytes]]
    state: Literal["open", "complete", "lost"]
    about: bytes


class Events:
    """The logs.

    Parameters:
        replica: this one's name.
        lease: seconds without a heartbeat after which a replica is dead.
        per_stream: events kept of a stream; beyond it the oldest go.
        per_owner: bytes kept of all streams of one owner; beyond it its longest unused streams go.

        await events.begin(session, "7", b"")
        events.append(session, "7", b"data")  # "7/1"
        tail = await events.after(session, "7/0")
    """

    def __init__(
        self,
        database: Database,
        replica: str,
        *,
        lease: float,
        per_stream: int = 1000,
        per_owner: int = 16 * 1024 * 1024,
    ) -> None:
        self._database = database
        self._replica = replica
        self._lease = lease
        self._bounds = journal.Bounds(per_stream, per_owner)
        self._open: dict[tuple[str, str], Open] = {}
        self._waiting: list[Entry] = []
        self._flying: list[Entry] = []
        self._sizes: dict[str, int] = {}
        self._serial = 0
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    async def begin(self, session: str, stream: str, about: bytes) -> None:
        """Own a stream from now on; one there is already goes on with its numbers. Durable when it returns.

        Parameters:
            session: up to its first dot the same for all sessions of one owner.
            about: whatever those who read the stream should know.
        """
        entry = Begin(self._next(), session, stream, about, asyncio.get_running_loop().create_future())
        self._put(entry)
        try:
            await self.flush()
        except StorageUnavailable:
            # Whether or not it is written after all: nobody adds to it.
            entry.made.cancel()
            raise
        self._open[session, stream] = entry.made.result()

    def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep an event of a stream begun here; returns its id, at once. Raises `LookupError` for another stream."""
        found = self._open[session, stream]
        found.last += 1
        if not found.gone:
            self._put(Append(self._next(), found, found.last, data))
            self._weigh(found.owner, len(data))
        return f"{stream}/{found.last}"

    async def flush(self) -> None:
        """Wait until everything that was appended is durable."""
        target = self._serial
        while self._oldest() <= target:
            self._database.health.check()
            await self._settled.wait()

    async def finish(self, session: str, stream: str, seconds: float) -> None:
        """Nothing more comes; the stream is forgotten after so many seconds."""
        found = self._open.pop((session, stream), None)
        if found is not None and not found.gone:
            self._put(Finish(self._next(), found, seconds))
            await self.flush()

    async def after(self, session: str, event: str) -> Tail | None:
        """What followed an event; None when it is not known, or what followed it is not all kept.

        An event ahead of the log is one whose replica has not written it yet: nothing follows it so far.
        """
        stream, _, digits = event.rpartition("/")
        # It comes from a client; a name with such characters was never ours, and not every database takes them.
        if not (digits.isascii() and digits.isdigit() and stream.isprintable()) or len(digits) > 15:
            return None
        if (session, stream) in self._open:
            await self.flush()
        seen = int(digits)
        lease = self._lease

        def work(connection: Connection) -> Tail | None:
            alive = exists().where(replicas.c.name == streams.c.replica, replicas.c.beat > clock() - lease)
            row = connection.execute(
                select(streams.c.id, streams.c.floor, streams.c.about, streams.c.finished, alive.label("alive")).where(
                    streams.c.session == session, streams.c.stream == stream
                )
            ).first()
            if row is None or seen < row.floor - 1:
                return None
            later = and_(table.c.id == row.id, table.c.number > seen)
            found = connection.execute(select(table.c.number, table.c.data).where(later).order_by(table.c.number)).all()
            if found and found[0].number != seen + 1:
                return None
            missed = [(f"{stream}/{number}", data) for number, data in found]
            return Tail(stream, missed, "complete" if row.finished else "open" if row.alive else "lost", row.about)

        return await self._database.read(work)

    async def forget(self, session: str) -> None:
        """Drop all streams of a session; what is appended to them later is kept nowhere."""
        for (one, _), found in self._open.items():
            if one == session:
                found.gone = True
        self._put(Forget(self._next(), session))
        await self.flush()

    def start(self) -> None:
        """Begin to write."""
        self._writer = asyncio.get_running_loop().create_task(self._write_all(), name="trunkline-events")

    async def close(self) -> None:
        """Write what waits, if the database can be reached, and stop."""
        try:
            await self.flush()
        except StorageUnavailable as error:
            logger.warning("events of open streams were not kept: %s", error)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _oldest(self) -> float:
        """The serial number of the first entry that is not durable yet."""
        for entries in (self._flying, self._waiting):
            if entries:
                return entries[0].serial
        return math.inf

    def _put(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._wake.set()

    def _weigh(self, owner: str, size: int) -> None:
        mine = self._sizes[owner] = self._sizes.get(owner, 0) + size
        if mine > _WAITING_ONE:
            self._drop(owner)
        elif self._database.health.trouble is not None and sum(self._sizes.values()) > _WAITING_ALL:
            self._drop(max(self._sizes, key=self._sizes.__getitem__))

    def _drop(self, owner: str) -> None:
        """Give up the stream whose events wait longest; whoever resumes it is told that it is not known."""
        oldest = next((e.stream for e in self._waiting if isinstance(e, Append) and e.stream.owner == owner), None)
        if oldest is None:
            return
        mine = [e for e in self._waiting if isinstance(e, Append) and e.stream is oldest]
        oldest.floor = oldest.last + 1
        # In their place, what tells readers that they are missing.
        mark = Append(mine[-1].serial, oldest, oldest.last, None)
        gone: set[Entry] = set(mine[:-1])
        self._waiting = [mark if e is mine[-1] else e for e in self._waiting if e not in gone]
        self._shrink(owner, sum(e.size for e in mine))

    def _shrink(self, owner: str, size: int) -> None:
        left = self._sizes.get(owner, 0) - size
        if left > 0:
            self._sizes[owner] = left
        else:
            self._sizes.pop(owner, None)

    async def _write_all(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER)
            while self._waiting:
                await self._write_some()
            self._wake.clear()

    async def _write_some(self) -> None:
        batch = self._flying = journal.cut(self._waiting, _BATCH)
        self._waiting = self._waiting[len(batch) :]
        try:
            written = await self._database.write(journal.writing(batch, self._replica, self._bounds.per_stream))
        except StorageUnavailable:
            self._waiting = batch + self._waiting
            self._signal()
            await self._database.health.turn(0.5)
            return
        except Exception:
            logger.exception("a batch of events could not be written and is lost")
            written = Written({}, {entry.stream for entry in batch if isinstance(entry, Append)})
        self._settle(batch, written)
        await self._bound(batch)

    def _settle(self, batch: list[Entry], written: Written) -> None:
        for entry in batch:
            if isinstance(entry, Append):
                self._shrink(entry.stream.owner, entry.size)
            elif isinstance(entry, Begin):
                self._made(entry, written)
        for found in written.gone:
            found.gone = True
        self._signal()

    def _signal(self) -> None:
        self._flying = []
        self._settled.set()
        self._settled = asyncio.Event()

    def _made(self, entry: Begin, written: Written) -> None:
        row = written.begun.get((entry.session, entry.stream))
        if row is None:
            if not entry.made.done():
                entry.made.set_exception(StorageUnavailable("A stream could not be begun; the log has the details"))
            return
        made = Open(row[0], owner_of(entry.session), row[1])
        if entry.made.done():
            self._put(Finish(self._next(), made, 0))
        else:
            entry.made.set_result(made)

    async def _bound(self, batch: list[Entry]) -> None:
        due: Callable[[Connection], None] | None = self._bounds.due(batch)
        if due is None:
            return
        try:
            await self._database.write(due, durable=False)
        except StorageUnavailable:
            return
        except Exception:
            logger.exception("the log of an owner could not be cut")
