"""SQLite: one file, for any number of processes of one machine.

What it is for: a writer that commits what waits together, a reader, and noticing what other processes wrote.
What may live here: threads, pragmas, files. What may not: what is stored.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import NullPool

from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.storage.database import PATIENCE, Health

T = TypeVar("T")

_POLL = 0.025
"""Seconds between two looks at whether another process wrote, while there is another."""
_BATCH = 500


class _Item(Generic[T]):
    """Work that waits, and who waits for it."""

    __slots__ = ("durable", "future", "work")

    def __init__(self, work: Callable[[Connection], T], durable: bool, future: "asyncio.Future[T]") -> None:
        self.work = work
        self.durable = durable
        self.future = future


class _Lane:
    """A connection with a thread of its own; what has come while it was busy runs together, in one transaction.

    That is what makes many writes a second durable: they share the wait for the disk.
    """

    def __init__(self, file: Path, health: Health, *, writes: bool) -> None:
        self._engine = engine(file, "BEGIN IMMEDIATE" if writes else "BEGIN")
        self._health = health
        self._writes = writes
        self._connection: Connection | None = None
        self._synchronous = True
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trunkline-sqlite")
        self._waiting: list[_Item[object]] = []
        self._driver: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[Connection], T], durable: bool) -> T:
        """Run work; its outcome comes once it is committed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(work, durable, future))  # type: ignore[arg-type]
        if self._driver is None or self._driver.done():
            self._driver = asyncio.get_running_loop().create_task(self._drive(), name="trunkline-sqlite")
        return await future

    async def close(self) -> None:
        """Finish what waits, then let go of the file."""
        if self._driver is not None:
            await asyncio.gather(self._driver, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            outcomes = await loop.run_in_executor(self._thread, self._together, batch)
            for item, outcome in zip(batch, outcomes, strict=True):
                if item.future.done():
                    continue
                if isinstance(outcome, BaseException):
                    item.future.set_exception(self._told(outcome))
                else:
                    item.future.set_result(outcome)
            if not isinstance(outcomes[-1], StorageUnavailable | exc.OperationalError):
                self._health.succeeded()

    def _told(self, error: BaseException) -> BaseException:
        if isinstance(error, exc.DBAPIError) and not isinstance(error, exc.IntegrityError | exc.ProgrammingError):
            return self._health.failed(str(error.orig))
        return error

    def _together(self, batch: Sequence[_Item[object]]) -> list[object]:
        try:
            return self._transact(batch)
        except Exception as error:
            if len(batch) == 1:
                return [error]
        # One of them failed, and nothing of any was written: each by itself, so that only that one fails.
        outcomes: list[object] = []
        for item in batch:
            try:
                outcomes += self._transact([item])
            except Exception as error:
                outcomes.append(error)
        return outcomes

    def _transact(self, batch: Sequence[_Item[object]]) -> list[object]:
        connection = self._connect()
        self._wait_for_disk(connection, any(item.durable for item in batch))
        with connection.begin() as transaction:
            outcomes = [item.work(connection) for item in batch]
            if not self._writes:
                transaction.rollback()
        return outcomes

    def _wait_for_disk(self, connection: Connection, wanted: bool) -> None:
        # A later commit that waits makes durable what earlier ones left in the write-ahead log.
        if self._writes and wanted != self._synchronous:
            raw = connection.connection.cursor()
            raw.execute(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}")
            raw.close()
            self._synchronous = wanted

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            self._connection = self._engine.connect()
            self._synchronous = True
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()


class SQLite:
    """A `Database` in a file."""

    def __init__(self, file: Path, name: str) -> None:
        self.health = Health(name)
        self._writer = _Lane(file, self.health, writes=True)
        self._reader = _Lane(file, self.health, writes=False)

    async def read(self, work: Callable[[Connection], T], *, large: bool = False) -> T:
        """Run SELECTs on the newest snapshot."""
        return await self._reader.run(work, False)

    async def write(
        self, work: Callable[[Connection], T], *, single: bool = False, durable: bool = True, probe: bool = False
    ) -> T:
        """Run work in the next transaction; see `Database.write`."""
        return await self._writer.run(work, durable)

    async def watch(self, channels: tuple[str, ...], wake: Callable[[], None], alone: Callable[[], bool]) -> None:
        """Look for commits of other processes, only while there are any."""
        seen = -1
        while True:
            await asyncio.sleep(0.5 if alone() else _POLL)
            if alone():
                continue
            try:
                version = await self.read(_data_version)
            except StorageUnavailable:
                continue
            if version != seen:
                seen = version
                wake()

    async def close(self) -> None:
        """Let go of the file."""
        await self._writer.close()
        await self._reader.close()


def engine(file: Path, begin: str, patience: float = PATIENCE) -> Engine:
    """An engine whose transactions begin in the given way, DDL included; others are waited for so many seconds."""

    def connect() -> sqlite3.Connection:
        # The thread of a lane is the only one that uses it, but not the one that closes it at the end of the process.
        connection = sqlite3.connect(file, timeout=patience, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    made = create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql(begin))
    return made


def prepare(file: Path) -> None:
    """Make the file, for its owner alone, with a write-ahead log, and the folder it is in.

    Raises `ConfigError` where that is impossible.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _use_log(file)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"The database file {file} cannot be used: {error}; check the path and who owns it") from None


def _use_log(file: Path) -> None:
    connection = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                break
            except sqlite3.OperationalError:
                # Whoever else changes the mode now makes this one fail at once: SQLite does not wait here.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        connection.close()
    if mode != "wal":
        raise ConfigError(f"The database file {file} cannot have a write-ahead log: is it on a network file system?")


def _data_version(connection: Connection) -> int:
    version: int = connection.exec_driver_sql("PRAGMA data_version").scalar_one()
    return version
