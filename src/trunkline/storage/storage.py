"""The database as one thing: open it, use it, close it.

What it is for: `open_storage`, from which everything else of this room is reached.
What may live here: opening and closing in the right order. What may not: SQL.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from trunkline.storage.database import Database
from trunkline.storage.events import Events
from trunkline.storage.housekeeping import keep_house
from trunkline.storage.leases import lease
from trunkline.storage.location import Location
from trunkline.storage.records import Records
from trunkline.storage.replicas import Replicas, Timing, new_name
from trunkline.storage.schema import BRANCHES, ensure
from trunkline.storage.versions import Branch


class Storage:
    """A database this process shares with other replicas; `open_storage` makes one."""

    def __init__(self, database: Database, name: str, timing: Timing) -> None:
        self._database = database
        self._timing = timing
        self._records: list[Records] = []
        self._house: asyncio.Task[None] | None = None
        self.replicas = Replicas(database, name, timing)
        self.events = Events(database, name, lease=timing.lease)

    @property
    def name(self) -> str:
        """This replica's name, unique for each start of a process."""
        return self.replicas.name

    @property
    def healthy(self) -> bool:
        """Whether the database can be reached."""
        return self.trouble is None

    @property
    def trouble(self) -> str | None:
        """Since when it cannot be reached, and why."""
        return self._database.health.trouble

    @property
    def database(self) -> Database:
        """The database itself, for an extension with tables of its own (`open_storage(branches=...)`)."""
        return self._database

    def records(self, kind: str, idle: float = 86400.0, limit: int | None = None) -> Records:
        """Records of one kind; see `Records`. Ask once per kind and keep it."""
        made = Records(self._database, kind, idle, limit)
        self._records.append(made)
        return made

    def lease(self, name: str, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Whether this is the one holder of `name` over all replicas, while the body runs.

        It is renewed as long as the body runs; `StorageUnavailable` ends the body when it cannot be. After the holder's
        death it stays taken for `seconds`.

            async with storage.lease("sweeper", 30) as held:
                if held: ...
        """
        return lease(self._database, name, self.name, seconds)

    async def start(self) -> None:
        """Register this replica and begin its work in the background."""
        await self.replicas.start()
        self.events.start()
        house = keep_house(self._database, self.name, self._timing)
        self._house = asyncio.get_running_loop().create_task(house, name="trunkline-housekeeping")

    async def close(self) -> None:
        """Write what waits, leave the other replicas, let go of the database."""
        if self._house is not None:
            self._house.cancel()
            await asyncio.gather(self._house, return_exceptions=True)
        await self.events.close()
        for records in self._records:
            await records.close()
        await self.replicas.close()
        await self._database.close()


@asynccontextmanager
async def open_storage(
    url: str, *, replica: str | None = None, timing: Timing | None = None, branches: Sequence[Branch] = ()
) -> AsyncIterator[Storage]:
    """Open a database that replicas share.

    Parameters:
        url: `sqlite:///path`, for processes of one machine (file and tables are made), or `postgresql://user@host/db`.
        replica: this replica's name; by default a new one of ten letters and digits.
        timing: seconds between heartbeats and the like.
        branches: of the extensions that keep tables of their own here.

    Raises `ConfigError` when the URL, the file or the version of the tables is no good, and `StorageUnavailable` when
    the database cannot be reached. Later outages end nothing: operations raise `StorageUnavailable` until it is back.

        async with open_storage("sqlite:///state.db") as storage:
            await storage.records("note").put("one", b"text")
    """
    location = await asyncio.to_thread(ensure, url, [*BRANCHES, *branches])
    storage = Storage(_open(location), replica or new_name(), timing or Timing())
    try:
        await storage.start()
        yield storage
    finally:
        await asyncio.shield(asyncio.ensure_future(storage.close()))


def _open(location: Location) -> Database:
    if location.file is not None:
        from trunkline.storage.sqlite import SQLite

        return SQLite(location.file, location.name)
    from trunkline.storage.postgresql import PostgreSQL

    return PostgreSQL(location.conninfo, location.name)
