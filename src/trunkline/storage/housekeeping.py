"""Erasing what nobody needs any more.

What it is for: no table grows for ever; one replica at a time looks after all, a bounded number of rows at once.
What may live here: what goes when. What may not: bounds that hold at the time of writing.
"""

import asyncio
import logging
import random

from sqlalchemy import Connection, delete, select, tuple_, update

from trunkline.errors import StorageUnavailable
from trunkline.storage.database import Database
from trunkline.storage.leases import lease
from trunkline.storage.replicas import Timing, lease_now
from trunkline.storage.tables import broadcasts, clock, leases, mail, records, replicas, streams

logger = logging.getLogger("trunkline.storage")

_BATCH = 500
_LEASE = 30.0
_DEAD = 600.0
"""Seconds after which a dead replica's registration goes, and its mail."""


async def keep_house(database: Database, replica: str, timing: Timing) -> None:
    """Sweep again and again, until cancelled."""
    while True:
        # Not all replicas at once.
        await asyncio.sleep(timing.sweep * random.uniform(0.7, 1.3))  # noqa: S311
        try:
            async with lease(database, "trunkline.sweep", replica, _LEASE) as held:
                if held:
                    await sweep(database, timing)
        except StorageUnavailable:
            continue
        except Exception:
            logger.exception("what has expired could not be erased; it is tried again")


async def sweep(database: Database, timing: Timing) -> None:
    """Erase all that is due, in transactions of a bounded size."""

    def orphans(connection: Connection) -> int:
        living = select(replicas.c.name).where(replicas.c.beat > clock() - lease_now(database, timing))
        alone = ~streams.c.finished & streams.c.ends.is_(None) & streams.c.replica.not_in(living)
        connection.execute(update(streams).where(alone).values(ends=clock() + timing.orphaned))
        return 0

    def expired(connection: Connection) -> int:
        due = select(records.c.kind, records.c.key).where(records.c.ends < clock()).limit(_BATCH)
        gone = delete(records).where(tuple_(records.c.kind, records.c.key).in_(due), records.c.ends < clock())
        return connection.execute(gone).rowcount

    def forgotten(connection: Connection) -> int:
        # Each with all its events: fewer at once.
        due = select(streams.c.id).where(streams.c.ends < clock()).limit(_BATCH // 10)
        return connection.execute(delete(streams).where(streams.c.id.in_(due), streams.c.ends < clock())).rowcount * 10

    def told(connection: Connection) -> int:
        due = select(broadcasts.c.id).where(broadcasts.c.sent < clock() - timing.kept).limit(_BATCH)
        return connection.execute(delete(broadcasts).where(broadcasts.c.id.in_(due))).rowcount

    def undelivered(connection: Connection) -> int:
        due = select(mail.c.id).where(mail.c.recipient.not_in(select(replicas.c.name))).limit(_BATCH)
        return connection.execute(delete(mail).where(mail.c.id.in_(due))).rowcount

    def dead(connection: Connection) -> int:
        connection.execute(delete(replicas).where(replicas.c.beat < clock() - _DEAD))
        connection.execute(delete(leases).where(leases.c.until < clock() - _DEAD))
        return 0

    for work in (orphans, expired, forgotten, told, dead, undelivered):
        while await database.write(work, durable=False) >= _BATCH:
            await asyncio.sleep(0)
