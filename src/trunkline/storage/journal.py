"""How events are written: many at once, in the order they came.

What it is for: one transaction for all that waits, safe to repeat when nobody knows whether it was done.
What may live here: the entries that wait, their SQL, the bounds. What may not: who waits, when it is written.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, update

from trunkline.storage.tables import clock, events, insert, owner_of, streams

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


class Open:
    """A stream this replica owns.

    `last` is the number of its newest event, `floor` the number from which on nothing is missing; `gone` means that
    nothing of it is kept any more.
    """

    __slots__ = ("floor", "gone", "id", "last", "owner")

    def __init__(self, id: int, owner: str, last: int) -> None:
        self.id = id
        self.owner = owner
        self.last = last
        self.floor = 0
        self.gone = False


class Begin(msgspec.Struct, frozen=True, eq=False):
    """A stream to own."""

    serial: int
    session: str
    stream: str
    about: bytes
    made: "asyncio.Future[Open]"


class Append(msgspec.Struct, frozen=True, eq=False):
    """An event to keep; without data, one that there was and that is not kept, nor any before it."""

    serial: int
    stream: Open
    number: int
    data: bytes | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.data or b"")


class Finish(msgspec.Struct, frozen=True, eq=False):
    """A stream to which nothing more comes."""

    serial: int
    stream: Open
    seconds: float


class Forget(msgspec.Struct, frozen=True, eq=False):
    """A session whose streams go."""

    serial: int
    session: str


Entry = Begin | Append | Finish | Forget


class Written(msgspec.Struct, frozen=True):
    """What became of a batch: id and last number of streams begun, and those found to be gone."""

    begun: dict[tuple[str, str], tuple[int, int]]
    gone: set[Open]


def cut(waiting: list[Entry], most: int) -> list[Entry]:
    """The first entries that can be written in the order begin, append, finish, forget without any coming too early."""
    for place, entry in enumerate(waiting[:most]):
        if isinstance(entry, Forget):
            return waiting[: place + 1]
    return waiting[:most]


def writing(batch: list[Entry], replica: str, per_stream: int) -> Callable[[Connection], Written]:
    """The work that writes a batch."""

    def work(connection: Connection) -> Written:
        begins = [entry for entry in batch if isinstance(entry, Begin)]
        appends = [entry for entry in batch if isinstance(entry, Append)]
        finishes = [entry for entry in batch if isinstance(entry, Finish)]
        begun = {(entry.session, entry.stream): _begin(connection, entry, replica) for entry in begins}
        gone = _append(connection, appends, replica, per_stream)
        if finishes:
            _finish(connection, finishes)
        for entry in batch:
            if isinstance(entry, Forget):
                connection.execute(delete(streams).where(streams.c.session == entry.session))
        return Written(begun, gone)

    return work


@cache
def _beginning(dialect: str) -> "sqlite.Insert | postgresql.Insert":
    statement = insert(dialect, streams).values(last=0, floor=1, size=0, finished=False, used=clock())
    new = statement.excluded
    again = {"replica": new.replica, "about": new.about, "finished": False, "ends": None}
    return statement.on_conflict_do_update(index_elements=[streams.c.session, streams.c.stream], set_=again)


def _begin(connection: Connection, entry: Begin, replica: str) -> tuple[int, int]:
    row = connection.execute(
        _beginning(connection.dialect.name).returning(streams.c.id, streams.c.last),
        {
            "session": entry.session,
            "stream": entry.stream,
            "owner": owner_of(entry.session),
            "replica": replica,
            "about": entry.about,
        },
    ).one()
    return row.id, row.last


_ADVANCE = (
    update(streams)
    .where(streams.c.id == bindparam("one"))
    .values(last=bindparam("to"), floor=bindparam("from"), size=streams.c.size + bindparam("more"), used=clock())
)
_TRIM = delete(events).where(events.c.id == bindparam("one"), events.c.number < bindparam("from"))
_FINISH = (
    update(streams)
    .where(streams.c.id == bindparam("one"))
    .values(finished=True, ends=clock() + bindparam("later"), used=clock())
)


def _append(connection: Connection, appends: list[Append], replica: str, per_stream: int) -> set[Open]:
    if not appends:
        return set()
    found = {entry.stream.id: entry.stream for entry in appends}
    mine = select(streams.c.id, streams.c.last, streams.c.floor).where(
        streams.c.id.in_(found), streams.c.replica == replica
    )
    # Locked in one order by all, so that two batches cannot wait for each other.
    rows = connection.execute(mine.order_by(streams.c.id).with_for_update()).all()
    # What is up to `last` was written by a transaction whose end nobody saw.
    last = {row.id: row.last for row in rows}
    new = [entry for entry in appends if entry.number > last.get(entry.stream.id, entry.number)]
    kept = [entry for entry in new if entry.data is not None]
    if kept:
        rows_of_events = [{"id": one.stream.id, "number": one.number, "data": one.data} for one in kept]
        connection.execute(events.insert(), rows_of_events)
    if new:
        floors = {row.id: row.floor for row in rows}
        _advance(connection, new, floors, per_stream)
    return {stream for one, stream in found.items() if one not in last}


def _advance(connection: Connection, new: list[Append], floors: dict[int, int], per_stream: int) -> None:
    newest = {entry.stream.id: entry for entry in new}
    sizes: dict[int, int] = {}
    for entry in new:
        sizes[entry.stream.id] = sizes.get(entry.stream.id, 0) + entry.size
    trims = []
    steps = []
    for one, entry in newest.items():
        floor = max(floors[one], entry.stream.floor)
        if entry.number - floor >= per_stream * 1.1:
            # A tenth at a time: measuring what is left costs more than keeping a little longer.
            floor = entry.number - per_stream + 1
        steps.append({"one": one, "to": entry.number, "from": floor, "more": sizes[one]})
        if floor > floors[one]:
            trims.append({"one": one, "from": floor})
    connection.execute(_ADVANCE, steps)
    if trims:
        connection.execute(_TRIM, trims)
        _measure(connection, [trim["one"] for trim in trims])


def _measure(connection: Connection, ids: Iterable[int]) -> None:
    for one in ids:
        size = select(func.coalesce(func.sum(func.length(events.c.data)), 0)).where(events.c.id == one)
        connection.execute(update(streams).where(streams.c.id == one).values(size=size.scalar_subquery()))


def _finish(connection: Connection, finishes: list[Finish]) -> None:
    connection.execute(_FINISH, [{"one": entry.stream.id, "later": entry.seconds} for entry in finishes])


class Bounds:
    """What may be kept, and who may have reached it.

    Parameters:
        per_stream: events of a stream; exceeded by a tenth at most.
        per_owner: bytes of all streams of an owner; exceeded by a sixteenth at most, by each replica.
    """

    def __init__(self, per_stream: int, per_owner: int) -> None:
        self.per_stream = per_stream
        self._per_owner = per_owner
        self._added: dict[str, int] = {}

    def due(self, batch: Iterable[Entry]) -> Callable[[Connection], None] | None:
        """The work that makes room, when it is time to look."""
        full = set()
        for entry in batch:
            if isinstance(entry, Append):
                owner = entry.stream.owner
                added = self._added[owner] = self._added.get(owner, 0) + entry.size
                if added > self._per_owner / 16:
                    full.add(owner)
        for owner in full:
            del self._added[owner]
        if len(self._added) > 10_000:
            self._added.clear()
        if not full:
            return None

        def work(connection: Connection) -> None:
            for owner in sorted(full):
                self._make_room(connection, owner)

        return work

    def _make_room(self, connection: Connection, owner: str) -> None:
        mine = select(streams.c.id, streams.c.size).where(streams.c.owner == owner)
        # Those a replica writes to at this moment are not waited for; their turn comes.
        rows = connection.execute(mine.order_by(streams.c.used).with_for_update(skip_locked=True)).all()
        over = sum(row.size for row in rows) - self._per_owner
        for row in rows[:-1]:
            if over <= 0:
                return
            connection.execute(delete(streams).where(streams.c.id == row.id))
            over -= row.size
        if rows and over > 0:
            self._halve(connection, rows[-1].id)

    def _halve(self, connection: Connection, one: int) -> None:
        """Drop the older events of the only stream left, until it fits."""
        later: list[tuple[int, int]] = [
            (row.number, row.size)
            for row in connection.execute(
                select(events.c.number, func.length(events.c.data).label("size"))
                .where(events.c.id == one)
                .order_by(events.c.number.desc())
            )
        ]
        kept, floor = 0, 0
        for number, size in later:
            kept += size
            if kept > self._per_owner / 2 and floor:
                break
            floor = number
        connection.execute(_TRIM, {"one": one, "from": floor})
        connection.execute(update(streams).where(streams.c.id == one).values(floor=floor))
        _measure(connection, [one])
