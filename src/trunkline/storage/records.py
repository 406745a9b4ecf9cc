"""Records: small things under a key that live while they are used.

What it is for: sessions, and whatever else is a key, some bytes and a time to live.
What may live here: reading, writing, noting use. What may not: what the bytes mean, erasing what expired.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, bindparam, delete, func, select, update

from trunkline.errors import StorageUnavailable
from trunkline.storage.database import Database, one_at_a_time
from trunkline.storage.tables import clock, insert, owner_of
from trunkline.storage.tables import records as table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

logger = logging.getLogger("trunkline.storage")

_FRESH = 0.01
"""The part of its time a record may have lost before a use is written: a busy session costs a write now and then."""
_MOST_USES = 100_000

_mine = and_(table.c.kind == bindparam("kind"), table.c.key == bindparam("key"))
_LOAD = select(table.c.payload, table.c.ends - clock()).where(_mine, table.c.ends > clock())


@cache
def _putting(dialect: str) -> "sqlite.Insert | postgresql.Insert":
    statement = insert(dialect, table).values(ends=clock() + bindparam("idle"))
    new = {"payload": statement.excluded.payload, "ends": statement.excluded.ends}
    return statement.on_conflict_do_update(index_elements=[table.c.kind, table.c.key], set_=new)


@cache
def _adding(dialect: str) -> "sqlite.Insert | postgresql.Insert":
    statement = insert(dialect, table).values(ends=clock() + bindparam("idle"))
    new = {"payload": statement.excluded.payload, "ends": statement.excluded.ends}
    # Gone and not yet erased is gone.
    gone = table.c.ends <= clock()
    return statement.on_conflict_do_update(index_elements=[table.c.kind, table.c.key], set_=new, where=gone)


class Records:
    """Records of one kind.

    Up to its first dot a key is the same for all records of one owner, so that a full store makes room at the expense
    of whoever fills it.

    Parameters:
        kind: keys are unique within it.
        idle: seconds without use after which a record has expired.
        limit: records kept; beyond it the longest unused of the owner with the most are deleted, soon.

    Every method raises `StorageUnavailable` when the database is out of reach.

        await records.put("owner.session", b"state")
        await records.load("owner.session")  # b"state"
    """

    def __init__(self, database: Database, kind: str, idle: float, limit: int | None = None) -> None:
        self._database = database
        self._kind = kind
        self._idle = idle
        self._limit = limit
        self._used: set[str] = set()
        self._noting: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._begun = 0
        self._closed = False

    async def put(self, key: str, payload: bytes) -> None:
        """Begin or overwrite; durable when it returns."""

        def work(connection: Connection) -> None:
            connection.execute(_putting(connection.dialect.name), self._row(key, payload))

        await self._database.write(work, single=True)
        await self._make_room()

    async def add(self, key: str, payload: bytes) -> bytes:
        """Begin it unless there is one; returns what is stored, which is another's where that came first."""

        def work(connection: Connection) -> bytes:
            statement = _adding(connection.dialect.name).returning(table.c.payload)
            while True:
                added = connection.execute(statement, self._row(key, payload)).scalar()
                stored = added if added is not None else self._find(connection, key)
                if stored is not None:
                    return stored

        stored = await self._database.write(work)
        await self._make_room()
        return stored

    async def load(self, key: str) -> bytes | None:
        """What is stored, None when it is gone or expired; counts as use."""

        def work(connection: Connection) -> tuple[bytes, float] | None:
            row = connection.execute(_LOAD, {"kind": self._kind, "key": key}).first()
            return None if row is None else (row[0], row[1])

        found = await self._database.read(work)
        if found is None:
            return None
        payload, left = found
        if left < self._idle * (1 - _FRESH):
            self._use(key)
        return payload

    async def change(self, key: str, alter: Callable[[bytes], bytes]) -> bytes | None:
        """Replace what is stored by what `alter` makes of it; nobody else changes it meanwhile. None when it is gone.

        `alter` runs in another thread, and again when the database says so: it may do nothing but compute.
        """

        def work(connection: Connection) -> bytes | None:
            locked = _LOAD.with_for_update()
            row = connection.execute(locked, {"kind": self._kind, "key": key}).first()
            if row is None:
                return None
            payload = alter(row[0])
            connection.execute(
                update(table)
                .where(table.c.kind == self._kind, table.c.key == key)
                .values(payload=payload, ends=clock() + self._idle)
            )
            return payload

        return await self._database.write(work)

    async def delete(self, key: str) -> bool:
        """Delete it; whether there was one."""

        def work(connection: Connection) -> bool:
            gone = delete(table).where(table.c.kind == self._kind, table.c.key == key, table.c.ends > clock())
            return connection.execute(gone.returning(table.c.key)).first() is not None

        self._used.discard(key)
        return await self._database.write(work, single=True)

    async def close(self) -> None:
        """Write down the uses not written yet."""
        self._closed = True
        if self._noting is not None:
            self._noting.cancel()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._used:
            await self._note()

    def _row(self, key: str, payload: bytes) -> dict[str, object]:
        return {
            "kind": self._kind,
            "key": key,
            "owner": owner_of(key),
            "payload": payload,
            "idle": self._idle,
        }

    def _find(self, connection: Connection, key: str) -> bytes | None:
        row = connection.execute(_LOAD, {"kind": self._kind, "key": key}).first()
        return None if row is None else row[0]

    def _use(self, key: str) -> None:
        if len(self._used) < _MOST_USES:
            self._used.add(key)
        if self._noting is None and not self._closed:
            self._noting = asyncio.get_running_loop().call_later(min(5.0, self._idle / 10), self._note_soon)

    def _note_soon(self) -> None:
        self._noting = None
        self._writing = asyncio.get_running_loop().create_task(self._note(), name="trunkline-uses")

    async def _note(self) -> None:
        used, self._used = sorted(self._used), set()

        def work(connection: Connection) -> None:
            # In the order of keys, and none that another replica holds: two of these cannot wait for each other.
            mine = select(table.c.key).where(table.c.kind == self._kind, table.c.key.in_(used), table.c.ends > clock())
            mine = mine.order_by(table.c.key).with_for_update(skip_locked=True)
            connection.execute(
                update(table).where(table.c.kind == self._kind, table.c.key.in_(mine)).values(ends=clock() + self._idle)
            )

        try:
            await self._database.write(work, single=True, durable=False)
        except StorageUnavailable:
            for key in used:
                self._use(key)
        except Exception:
            logger.exception("the use of records could not be noted")

    async def _make_room(self) -> None:
        """Keep to the limit; looked at once in a while, since counting takes time."""
        if self._limit is None:
            return
        self._begun += 1
        if self._begun < self._limit / 20:
            return
        self._begun = 0
        limit = self._limit

        def work(connection: Connection) -> None:
            # Two that count at once would both delete what is too many.
            one_at_a_time(connection, f"room {self._kind}")
            count = func.count()
            shares: list[tuple[str, int]] = [
                (owner, share)
                for owner, share in connection.execute(
                    select(table.c.owner, count).where(table.c.kind == self._kind).group_by(table.c.owner)
                )
            ]
            over = sum(share for _, share in shares) - limit
            for owner, dropped in _who_gives(dict(shares), over).items():
                longest_unused = (
                    select(table.c.key)
                    .where(table.c.kind == self._kind, table.c.owner == owner)
                    .order_by(table.c.ends)
                    .limit(dropped)
                )
                connection.execute(delete(table).where(table.c.kind == self._kind, table.c.key.in_(longest_unused)))

        await self._database.write(work)


def _who_gives(shares: dict[str, int], over: int) -> dict[str, int]:
    """How many each owner loses so that `over` go in all and it is always the largest share that shrinks."""
    given: dict[str, int] = {}
    heap = [(-share, owner) for owner, share in shares.items()]
    heapq.heapify(heap)
    for _ in range(over):
        share, owner = heap[0]
        heapq.heapreplace(heap, (share + 1, owner))
        given[owner] = given.get(owner, 0) + 1
    return given
