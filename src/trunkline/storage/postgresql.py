"""PostgreSQL: one database, for any number of replicas.

What it is for: a bounded pool that survives restarts of the server and never hangs, and the connection that is woken.
What may live here: connections, threads, time limits. What may not: what is stored.
"""

import asyncio
import os
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar, cast

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import Row, RowFactory
from sqlalchemy import Connection, Engine, create_engine, exc
from sqlalchemy.pool import NullPool

from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.storage.database import PATIENCE, Health

T = TypeVar("T")

_Raw = psycopg.Connection[object]

POOL = 8
"""Threads, each with a connection of its own."""

_DEFAULTS = {
    "application_name": "trunkline",
    "connect_timeout": "3",
    # A server that vanished without a word is noticed in seconds, not in the two hours TCP allows.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "6000",
}
_AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: nothing was done, and the same transaction may pass the next time."""
_TRIES = 3


class _Job:
    """Work, who waits for it, and the connection it is on."""

    def __init__(
        self, work: Callable[[Connection], object], single: bool, large: bool, future: asyncio.Future[object]
    ) -> None:
        self.work = work
        self.single = single
        self.large = large
        self.future = future
        self._connection: _Raw | None = None
        self._lock = threading.Lock()

    def fail(self, error: BaseException) -> None:
        """Tell whoever waits; nobody may be left who does."""
        self.future.set_exception(error)
        self.future.exception()

    @contextmanager
    def on(self, raw: _Raw) -> Iterator[None]:
        """Use a connection; afterwards it is another's, and must not be cut any more."""
        with self._lock:
            self._connection = raw
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def cut(self) -> None:
        """End what it waits for: to the thread it looks as if the server had left."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                return
            # Not closed: the thread would wait on for what is no longer there.
            with socket.socket(fileno=os.dup(self._connection.fileno())) as end, suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class PostgreSQL:
    """A `Database` on a server.

    Parameters:
        conninfo: as libpq takes it; what it leaves out gets defaults under which nothing hangs.
        name: how errors call it.
    """

    def __init__(self, conninfo: str, name: str) -> None:
        self.health = Health(name)
        self._conninfo = complete(conninfo)
        self._engine = engine(self._conninfo)
        self._opened: dict[Connection, _Raw] = {}
        self._kept = _Kept(self._engine, self._opened)
        self._threads = ThreadPoolExecutor(POOL, thread_name_prefix="trunkline-postgresql")

    async def read(self, work: Callable[[Connection], T], *, large: bool = False) -> T:
        """Run SELECTs, each by itself."""
        return await self._run(work, single=True, probe=False, large=large)

    async def write(
        self, work: Callable[[Connection], T], *, single: bool = False, durable: bool = True, probe: bool = False
    ) -> T:
        """Run work in a transaction; the server makes what is committed at once durable together."""
        return await self._run(work, single=single, probe=probe)

    async def watch(self, channels: tuple[str, ...], wake: Callable[[], None], alone: Callable[[], bool]) -> None:
        """Listen."""
        pause = 0.0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    for channel in channels:
                        await connection.execute(f'LISTEN "{channel}"'.encode())
                    pause = 0.0
                    # Listen first, then look: what was written before this was not announced to us.
                    wake()
                    async for _ in connection.notifies():
                        wake()
            except (psycopg.Error, OSError):
                # How the database is, the heartbeat finds out.
                pause = min(max(2 * pause, 0.1), 1.0)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads replicas, hides nothing

    async def close(self) -> None:
        """Let go of every connection, once what is under way has ended or run out of time."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for connection, raw in self._opened.items():
            connection.invalidate()
            raw.close()
            connection.close()

    async def _run(self, work: Callable[[Connection], T], *, single: bool, probe: bool, large: bool = False) -> T:
        if not probe:
            self.health.check()
        loop = asyncio.get_running_loop()
        job = _Job(work, single, large, loop.create_future())
        self._threads.submit(self._perform, job, loop)
        timer = loop.call_later(PATIENCE, self._give_up, job)
        try:
            # Whoever asked may be cancelled; what is under way is not.
            return cast("T", await asyncio.shield(job.future))
        finally:
            if job.future.done():
                timer.cancel()

    def _perform(self, job: "_Job", loop: asyncio.AbstractEventLoop) -> None:
        outcome: object = None
        error: BaseException | None = None
        try:
            outcome = self._transact(job)
        except BaseException as caught:
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._settle, job, outcome, error)

    def _settle(self, job: "_Job", outcome: object, error: BaseException | None) -> None:
        if job.future.done():
            return
        if error is None:
            self.health.succeeded()
            job.future.set_result(outcome)
        else:
            job.fail(self._told(error))

    def _transact(self, job: "_Job") -> object:
        for left in reversed(range(_TRIES)):
            if job.future.done():
                raise StorageUnavailable
            try:
                return self._try(job)
            except (exc.DBAPIError, psycopg.Error) as error:
                if not left or _state(error) not in _AGAIN:
                    raise
        raise AssertionError

    def _try(self, job: "_Job") -> object:
        connection, raw = self._kept.get()
        with job.on(raw):
            try:
                if not job.single:
                    raw.execute(b"BEGIN")
                raw.cursor_factory = _Binary if job.large else psycopg.Cursor
                outcome = job.work(connection)
                raw.commit()
                return outcome
            except BaseException:
                try:
                    raw.rollback()
                except psycopg.Error:
                    self._kept.drop()
                raise

    def _give_up(self, job: "_Job") -> None:
        if not job.future.done():
            job.cut()
            job.fail(self.health.failed(f"no answer within {PATIENCE:g} s"))

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, exc.DBAPIError):
            if isinstance(error, exc.IntegrityError | exc.ProgrammingError | exc.DataError):
                return error
            return self.health.failed(reason(error.orig))
        if isinstance(error, psycopg.Error | exc.TimeoutError):
            return self.health.failed(reason(error))
        return error


def complete(conninfo: str) -> str:
    """A connection string with our defaults where it says nothing. Raises `ConfigError` for one libpq cannot read."""
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # libpq's own text would show the string, and a password with it.
        raise ConfigError("The database URL is not a URI that PostgreSQL's libpq can read") from None
    return make_conninfo("", **{**_DEFAULTS, **given})


class _Binary(psycopg.Cursor[Row]):
    """Results in the server's binary format: as text, bytes are sent and held at twice their size."""

    def __init__(self, connection: "psycopg.Connection[Row]", *, row_factory: RowFactory[Row]) -> None:
        super().__init__(connection, row_factory=row_factory)
        self.format = pq.Format.BINARY


def engine(conninfo: str) -> Engine:
    """Connects, with time limits of the server's own; a new connection each time."""

    def connect() -> "psycopg.Connection[tuple[object, ...]]":
        connection = psycopg.connect(conninfo, autocommit=True)
        connection.execute(b"SET statement_timeout = '5s'; SET idle_in_transaction_session_timeout = '10s'")
        connection.autocommit = False
        return connection

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)


class _Kept(threading.local):
    """The connection each thread keeps: taking one from a pool each time costs more than the statement.

    It commits by itself; transactions are begun and ended by whoever wants one.
    """

    def __init__(self, engine: Engine, opened: dict[Connection, _Raw]) -> None:
        self._engine = engine
        self._opened = opened
        self._mine: Connection | None = None

    def get(self) -> tuple[Connection, _Raw]:
        """This thread's connection, a new one where the old one is no good."""
        if self._mine is None or self._mine.invalidated or _has_ended(self._opened[self._mine]):
            self.drop()
            self._mine = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._opened[self._mine] = cast("_Raw", self._mine.connection.driver_connection)
        return self._mine, self._opened[self._mine]

    def drop(self) -> None:
        """Let go of this thread's connection."""
        connection, self._mine = self._mine, None
        if connection is not None:
            self._opened.pop(connection).close()
            connection.invalidate()
            connection.close()


def reason(error: BaseException | None) -> str:
    """The first line of what PostgreSQL says, which names no value."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _has_ended(connection: _Raw) -> bool:
    """Whether an idle connection has something to read: the server said goodbye while nobody listened."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _state(error: exc.DBAPIError | psycopg.Error) -> str | None:
    """The SQLSTATE."""
    found = error.orig if isinstance(error, exc.DBAPIError) else error
    return found.sqlstate if isinstance(found, psycopg.Error) else None
