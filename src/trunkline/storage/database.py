"""What the rest of the room knows of a database: work in, outcome out.

What it is for: one way to run SQL on both databases, and to learn that one is out of reach.
What may live here: the interface and the database's health. What may not: SQL, dialects.

Work is a plain function over a SQLAlchemy connection. It runs in a thread, and again when its transaction has to:
it must not have effects but its SQL.
"""

import asyncio
import datetime
import logging
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection, text

from trunkline.errors import StorageUnavailable

logger = logging.getLogger("trunkline.storage")

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds after which an operation that got no answer is given up."""

_RETURN = 2 * PATIENCE
"""Seconds after an outage in which every replica that lives is heard of again."""


class Health:
    """Whether the database can be reached; while it cannot, only the heartbeat tries and everything else fails at once.

    Parameters:
        name: how the database is called.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trouble: str | None = None
        self._turned = asyncio.Event()
        self._began = self._ended = -_RETURN

    @property
    def absence(self) -> float:
        """Seconds for which it cannot be reached, or could not until a moment ago: nobody else could beat meanwhile."""
        now = time.monotonic()
        if self.trouble is not None:
            return now - self._began
        return self._ended - self._began if now - self._ended < _RETURN else 0.0

    def check(self) -> None:
        """Raises `StorageUnavailable` while the database is out of reach."""
        if self.trouble is not None:
            raise StorageUnavailable(self.trouble)

    def failed(self, why: str) -> StorageUnavailable:
        """Note that an operation could not be done; returns the error to raise."""
        if self.trouble is None:
            since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            self.trouble = f"The database {self.name} is out of reach since {since}: {why}; it is tried again"
            logger.warning("%s", self.trouble)
            now = time.monotonic()
            if now - self._ended > _RETURN:
                self._began = now
            self._turn()
        return StorageUnavailable(self.trouble)

    def succeeded(self) -> None:
        """Note that the database answers."""
        if self.trouble is not None:
            self.trouble = None
            self._ended = time.monotonic()
            logger.warning("the database %s can be reached again", self.name)
            self._turn()

    async def turn(self, seconds: float) -> None:
        """Wait until it turns for better or worse, at most so long."""
        turned = self._turned
        try:
            async with asyncio.timeout(seconds):
                await turned.wait()
        except TimeoutError:
            pass

    def _turn(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()


class Database(Protocol):
    """A database that is open. Every operation raises `StorageUnavailable` when it is out of reach."""

    health: Health

    async def read(self, work: Callable[[Connection], T], *, large: bool = False) -> T:
        """Run SELECTs, outside of a transaction.

        Parameters:
            large: what is found may have megabytes.
        """

    async def write(
        self, work: Callable[[Connection], T], *, single: bool = False, durable: bool = True, probe: bool = False
    ) -> T:
        """Run work in a transaction of its own, or one it shares with other work that waits.

        Parameters:
            single: each statement may be committed by itself; on SQLite they share a transaction anyway.
            durable: False where a power failure may undo it.
            probe: try even while the database is known to be out of reach.
        """

    async def watch(self, channels: tuple[str, ...], wake: Callable[[], None], alone: Callable[[], bool]) -> None:
        """Call `wake` whenever another process may have written something, until cancelled."""

    async def close(self) -> None:
        """Let go of every connection and thread."""


def one_at_a_time(connection: Connection, name: str) -> None:
    """Wait until no other transaction is here; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtext('trunkline ' || :name))")
        connection.execute(lock, {"name": name})


def wake(connection: Connection, *channels: str) -> None:
    """Let those who watch a channel know, once this transaction is committed. SQLite needs no telling."""
    if connection.dialect.name == "postgresql":
        for channel in channels:
            connection.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})
