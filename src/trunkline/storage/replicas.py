"""The replicas that share a database: who lives, and how they reach each other.

What it is for: registration, heartbeat, and the messages of `exchange` under one name.
What may live here: life and death of replicas. What may not: how messages are written.
"""

import asyncio
import logging
import os
import platform
import random
import secrets
import string
from collections.abc import Callable, Iterable

import msgspec
from sqlalchemy import Connection, Executable, delete, select, update

from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.storage import posts
from trunkline.storage.database import Database
from trunkline.storage.exchange import Exchange, Handler
from trunkline.storage.tables import clock, insert, mail, streams
from trunkline.storage.tables import replicas as table

logger = logging.getLogger("trunkline.storage")

_ALPHABET = string.ascii_lowercase + string.digits


class Timing(msgspec.Struct, frozen=True):
    """How often and how long, in seconds.

    Parameters:
        beat: between two heartbeats.
        lease: without a heartbeat a replica is dead.
        kept: broadcasts are kept; whoever is away longer looks at everything anew.
        orphaned: streams of a dead replica are kept.
        sweep: between two looks for what has expired.
    """

    beat: float = 2.0
    lease: float = 8.0
    kept: float = 600.0
    orphaned: float = 300.0
    sweep: float = 10.0


class Replica(msgspec.Struct, frozen=True):
    """A replica that lives.

    Parameters:
        name: of one start of its process.
        age: seconds since it registered.
        silent: seconds since its last heartbeat.
        host, pid: where it runs.
    """

    name: str
    age: float
    silent: float
    host: str
    pid: int


class Replicas:
    """This replica among the others.

    await replicas.send("k3j9x0q2ab", "round", b"...")
    replicas.broadcast("changes", b"tools")
    replicas.receive("changes", lambda sender, message: ...)
    """

    def __init__(self, database: Database, name: str, timing: Timing) -> None:
        self.name = name
        self._database = database
        self._timing = timing
        self._exchange = Exchange(database, name, lease=lambda: self.lease, kept=timing.kept)
        self._facts = msgspec.json.encode({"host": platform.node(), "pid": os.getpid()}).decode()
        self._others: set[str] = set()
        self._beaten = 0.0
        self._beating: asyncio.Task[None] | None = None

    @property
    def lease(self) -> float:
        """Seconds without a heartbeat after which a replica is dead; while nobody can beat, nobody dies of it."""
        return lease_now(self._database, self._timing)

    async def alive(self, name: str) -> bool:
        """Whether a replica's heartbeat is younger than its lease."""
        return name not in await self.gone([name])

    async def gone(self, names: Iterable[str]) -> set[str]:
        """Those of some replicas that are not alive."""
        asked = set(names)
        living = select(table.c.name).where(table.c.name.in_(asked), table.c.beat > clock() - self.lease)
        return asked - await self._database.read(lambda connection: set(connection.execute(living).scalars()))

    async def living(self) -> list[Replica]:
        """All that are alive, the oldest first, for operators."""
        now = clock()
        rows = (
            select(table.c.name, now - table.c.started, now - table.c.beat, table.c.facts)
            .where(table.c.beat > now - self._timing.lease)
            .order_by(table.c.started, table.c.name)
        )

        def work(connection: Connection) -> list[Replica]:
            found = []
            for name, age, silent, facts in connection.execute(rows):
                told = msgspec.json.decode(facts, type=dict[str, str | int])
                found.append(Replica(name, age, max(0.0, silent), str(told["host"]), int(told["pid"])))
            return found

        return await self._database.read(work)

    async def send(self, name: str, topic: str, message: bytes, *, patient: bool = False) -> bool:
        """Mail to one replica, durable when this returns; False when that replica is not alive.

        `patient` mail is kept, too, for a replica that is late and may be back; False when it has left. Mail arrives
        exactly once, after all that was sent to it from here before. Raises `StorageUnavailable` when the database
        cannot be reached; only then may it arrive although it failed.
        """
        return await self._exchange.send(name, topic, message, patient=patient)

    async def recall(self, name: str, topic: str, message: bytes) -> bool:
        """Take back mail that was not read yet, known by its text; whether nobody has acted on it, or ever will.

        For mail to a replica that died: what is done because of it may otherwise not be done again elsewhere.
        """
        return await self._exchange.recall(name, topic, message)

    def broadcast(self, topic: str, message: bytes) -> None:
        """Tell all other replicas, soon; returns at once. Of equal messages that still wait, one is sent."""
        self._exchange.broadcast(topic, message)

    def receive(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Call `handler(sender, message)` for each message about a topic; returns what ends it."""
        return self._exchange.receive(topic, handler)

    def on_gap(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Be told that broadcasts may have been missed: look at everything anew; returns what ends it."""
        return self._exchange.on_gap(handler)

    async def start(self) -> None:
        """Register, begin to beat, send and receive. Raises `ConfigError` when another of this name lives."""
        loop = asyncio.get_running_loop()
        self._beaten = loop.time()
        registered = await self._database.write(self._register, durable=False)
        if registered is None:
            raise ConfigError(f"A replica named {self.name} already runs; leave the name out to get one of its own")
        last, started = registered
        self._others = set(await self._database.read(self._living_others))
        self._exchange.start(last, started, alone=lambda: not self._others)
        self._beating = loop.create_task(self._beat_all(), name="trunkline-heartbeat")

    async def close(self) -> None:
        """Send what waits, and leave; what was sent to this replica until now is still handed to who receives it."""
        if self._beating is None:
            # Never registered: what is there under this name is another's.
            return
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        await self._write_last(update(table).where(table.c.name == self.name).values(beat=0))
        await self._exchange.close()
        await self._write_last(
            delete(table).where(table.c.name == self.name), delete(mail).where(mail.c.recipient == self.name)
        )

    async def _write_last(self, *statements: Executable) -> None:
        def work(connection: Connection) -> None:
            for statement in statements:
                connection.execute(statement)

        try:
            await self._database.write(work, durable=False)
        except StorageUnavailable:
            # Its lease runs out.
            return

    def _register(self, connection: Connection) -> tuple[int, float] | None:
        row = {"name": self.name, "started": clock(), "beat": clock(), "facts": self._facts}
        statement = insert(connection.dialect.name, table).values(row)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.name],
            set_={"started": new.started, "beat": new.beat, "facts": new.facts},
            where=table.c.beat < clock() - self._timing.lease,
        )
        started = connection.execute(statement.returning(table.c.started)).scalar()
        if started is None:
            return None
        return posts.newest(connection), started

    def _living_others(self, connection: Connection) -> list[str]:
        living = select(table.c.name).where(table.c.beat > clock() - self._timing.lease, table.c.name != self.name)
        return list(connection.execute(living).scalars())

    async def _beat_all(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._timing.beat
        while True:
            await self._database.health.turn(pause)
            asked = loop.time()
            try:
                await self._beat(late=asked - self._beaten > self._timing.lease)
            except StorageUnavailable:
                # Sooner and sooner at first, then about each second, and not all replicas at once.
                backoff = 0.1 if pause >= self._timing.beat else min(2 * pause, 1.0)
                pause = min(backoff * random.uniform(0.7, 1.0), self._timing.beat * 0.99)  # noqa: S311
            except Exception:
                logger.exception("the heartbeat failed; it is tried again")
            else:
                self._beaten = asked
                pause = self._timing.beat

    async def _beat(self, late: bool) -> None:
        def work(connection: Connection) -> tuple[bool, list[str]]:
            beat = update(table).where(table.c.name == self.name).values(beat=clock())
            known = connection.execute(beat.returning(table.c.name)).first() is not None
            if not known:
                self._register(connection)
            if late:
                # While others thought us dead they gave our streams a time to go; those that are left are ours still.
                mine = (streams.c.replica == self.name) & ~streams.c.finished
                connection.execute(update(streams).where(mine).values(ends=None))
            return known, self._living_others(connection)

        known, others = await self._database.write(work, durable=False, probe=True)
        self._others = set(others)
        self._exchange.forget_senders(self._others)
        self._exchange.look()
        if not known:
            logger.warning("replica %s was away for so long that its mail was given up; it goes on", self.name)
            self._exchange.gap()


def lease_now(database: Database, timing: Timing) -> float:
    """The lease of the moment: an outage of the database prolongs it by its length."""
    return timing.lease + database.health.absence


def new_name() -> str:
    """A name for one start of a process."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))
