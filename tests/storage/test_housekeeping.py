"""Leases, and what is erased."""

import asyncio

import pytest
from sqlalchemy import Connection, func, select

from tests.storage.conftest import QUICK
from trunkline.errors import StorageUnavailable
from trunkline.storage import tables
from trunkline.storage.housekeeping import sweep
from trunkline.storage.replicas import Timing
from trunkline.storage.storage import Storage, open_storage


async def rows(storage: Storage) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        return {
            name.removeprefix("trunkline_"): connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in tables.metadata.tables.items()
        }

    return await storage._database.read(count)


async def test_one_holds_a_lease_and_the_next_after_it(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two:
        async with one.lease("x", 30) as first, two.lease("x", 30) as second, two.lease("y", 30) as other:
            assert (first, second, other) == (True, False, True)
        async with one.lease("x", 30) as first, one.lease("x", 30) as second:
            assert (first, second) == (True, False)
        async with two.lease("x", 30) as now:
            assert now is True


async def test_a_lease_is_renewed_while_it_is_needed(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two, one.lease("x", 3) as held:
        await asyncio.sleep(4)
        async with two.lease("x", 3) as other:
            assert (held, other) == (True, False)


async def test_work_under_a_lease_that_cannot_be_renewed_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_storage(url) as one:

        async def refuse(*_: object, **__: object) -> bool:
            raise StorageUnavailable

        with pytest.raises(StorageUnavailable, match="'x' ran out"):
            async with one.lease("x", 0.6):
                monkeypatch.setattr("trunkline.storage.leases._take", refuse)
                await asyncio.sleep(30)


async def test_what_is_no_longer_needed_is_erased(url: str) -> None:
    short = Timing(beat=0.2, lease=10.0, kept=0.1, orphaned=0.1, sweep=3600.0)
    async with open_storage(url, timing=short) as one:
        async with open_storage(url, timing=short) as two:
            await two.events.begin("o.s", "of the dead", b"")
            two.events.append("o.s", "of the dead", b"1")
            one.replicas.broadcast("t", b"1")
        expiring, staying = one.records("a", idle=0.1), one.records("b")
        await asyncio.gather(*(expiring.put(str(number), b"") for number in range(1200)))
        await staying.put("stays", b"")
        for stream in ("finished", "open"):
            await one.events.begin("o.s", stream, b"")
            one.events.append("o.s", stream, b"1")
        await one.events.finish("o.s", "finished", 0.1)

        await sweep(one._database, short)
        await asyncio.sleep(0.3)
        await sweep(one._database, short)

        assert await rows(one) == {
            "replicas": 1, "leases": 0, "records": 1, "streams": 1, "events": 1, "broadcasts": 0, "mail": 0, "schema": 1
        }  # fmt: skip


async def test_one_replica_sweeps_for_all(url: str) -> None:
    often = Timing(beat=0.2, lease=1.0, sweep=0.1)
    async with open_storage(url, timing=often) as one, open_storage(url, timing=often):
        await one.records("a", idle=0.1).put("k", b"")
        async with asyncio.timeout(10):
            while (await rows(one))["records"]:
                await asyncio.sleep(0.05)


async def test_streams_are_kept_for_a_replica_that_comes_back_in_time(url: str) -> None:
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        await one.events.begin("o.s", "a", b"")
        one.replicas._beating.cancel()
        await asyncio.sleep(QUICK.lease + 0.3)
        await sweep(two._database, Timing(lease=QUICK.lease, orphaned=0.5))

        await one.replicas._beat(late=True)
        await asyncio.sleep(0.6)
        await sweep(two._database, Timing(lease=60.0, orphaned=0.5))

        one.events.append("o.s", "a", b"1")
        await one.events.flush()
        assert [data for _, data in (await two.events.after("o.s", "a/0")).events] == [b"1"]
