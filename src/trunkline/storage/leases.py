"""Leases: one holder at a time, over all replicas.

What it is for: work that must not be done twice at once, and must go on when whoever did it dies.
What may live here: taking, keeping and giving back. What may not: what is done under a lease.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection, delete, or_

from trunkline.errors import StorageUnavailable
from trunkline.storage.database import Database
from trunkline.storage.tables import clock, insert, leases


@asynccontextmanager
async def lease(database: Database, name: str, replica: str, seconds: float) -> AsyncIterator[bool]:
    """Hold `name` while the body runs, if nobody else does.

    It is renewed until the body ends. Where that fails for so long that another may take it, the body is cancelled
    and `StorageUnavailable` raised: two never run at once.

    Parameters:
        replica: who holds it, for operators.
        seconds: how long after the death of its holder it stays taken.

        async with lease(database, "sweeper", "a1", 30) as held:
            if held: ...
    """
    holder = f"{replica}/{secrets.token_hex(8)}"
    # Read before the database is asked: however long that takes, our time runs out before the database's.
    asked = time.monotonic()
    if not await _take(database, name, holder, seconds):
        yield False
        return
    try:
        async with asyncio.timeout_at(_due(asked, seconds)) as limit:
            keeper = asyncio.create_task(_keep(database, name, holder, seconds, limit))
            try:
                yield True
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
    except TimeoutError:
        if not limit.expired():
            raise
        raise StorageUnavailable(f"The lease {name!r} ran out before it could be renewed") from None
    finally:
        await _give_back(database, name, holder)


async def _keep(database: Database, name: str, holder: str, seconds: float, limit: asyncio.Timeout) -> None:
    while True:
        await asyncio.sleep(seconds / 3)
        asked = time.monotonic()
        try:
            if await _take(database, name, holder, seconds):
                limit.reschedule(_due(asked, seconds))
        except StorageUnavailable:
            continue


def _due(asked: float, seconds: float) -> float:
    left = asked + seconds * 0.9 - time.monotonic()
    return asyncio.get_running_loop().time() + left


async def _take(database: Database, name: str, holder: str, seconds: float) -> bool:
    def work(connection: Connection) -> bool:
        until = clock() + seconds
        statement = insert(connection.dialect.name, leases).values(name=name, holder=holder, until=until)
        free = or_(leases.c.until < clock(), leases.c.holder == holder)
        statement = statement.on_conflict_do_update(
            index_elements=[leases.c.name], set_={"holder": holder, "until": until}, where=free
        )
        return connection.execute(statement.returning(leases.c.name)).first() is not None

    return await database.write(work, single=True)


async def _give_back(database: Database, name: str, holder: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    try:
        await database.write(work, single=True, durable=False)
    except StorageUnavailable:
        # It runs out by itself.
        return
