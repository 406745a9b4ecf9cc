"""Processes killed with SIGKILL: nothing that was acknowledged is lost, and the others notice."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.storage.conftest import QUICK
from tests.storage.stages import Stage
from tests.storage.test_replicas import inbox, until
from trunkline.storage.storage import open_storage

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def replica() -> Iterator[Callable[..., Stage]]:
    """Starts replicas; none outlives the test."""
    started: list[Stage] = []

    def start(*arguments: str) -> Stage:
        started.append(Stage("tests.storage.stage_replica", *arguments))
        return started[-1]

    yield start
    for one in started:
        one.kill()


async def test_acknowledged_records_survive(url: str, replica: Callable[..., Stage]) -> None:
    writer = replica(url, "write")
    await until(lambda: len(writer.lines) > 200)

    _, *keys = writer.kill()

    async with open_storage(url) as storage:
        store = storage.records("session")
        assert all([await store.load(key) == key.partition(".")[2].encode() for key in keys])


async def test_flushed_events_survive_and_their_stream_is_lost(url: str, replica: Callable[..., Stage]) -> None:
    async with open_storage(url, timing=QUICK) as storage:
        writer = replica(url, "events")
        await until(lambda: len(writer.lines) > 100)
        name = writer.lines[0]
        assert (await storage.events.after("o.s", "a/0")).state == "open"

        acknowledged = writer.kill()[-1]

        await asyncio.sleep(QUICK.lease + 0.5)
        assert await storage.replicas.alive(name) is False
        tail = await storage.events.after("o.s", f"a/{max(0, int(acknowledged.partition('/')[2]) - 100)}")
        assert tail.state == "lost"
        assert acknowledged in [event for event, _ in tail.events]


async def test_acknowledged_mail_of_a_killed_sender_arrives_once(url: str, replica: Callable[..., Stage]) -> None:
    async with open_storage(url, timing=QUICK) as storage:
        got = inbox(storage)
        writer = replica(url, "mail", storage.name)
        await until(lambda: len(writer.lines) > 50)

        name, *numbers = writer.kill()

        await until(lambda: len(got) >= len(numbers))
        await asyncio.sleep(1)
        # One may have been written whose acknowledgement was not printed.
        assert len(got) in (len(numbers), len(numbers) + 1)
        assert got == [(name, b"%d" % number) for number in range(len(got))]


async def test_killed_replicas_do_not_disturb_those_that_live(url: str, replica: Callable[..., Stage]) -> None:
    async with open_storage(url, timing=QUICK) as storage:
        for _ in range(2):
            replicas = [replica(url, "write"), replica(url, "events")]
            await until(lambda replicas=replicas: all(len(one.lines) > 50 for one in replicas))
            for one in replicas:
                one.kill()
            await storage.records("session").put("k", b"alive")
        await asyncio.sleep(QUICK.lease + 0.5)
        assert [one.name for one in await storage.replicas.living()] == [storage.name]


async def test_what_is_acknowledged_waits_for_the_disk(tmp_path: Path) -> None:
    """A power failure cannot be tested here; that SQLite is told to survive one can."""

    def synchronous(connection: Connection) -> int:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    async with open_storage(f"sqlite:///{tmp_path / 'x.db'}") as storage:
        full, normal = 2, 1
        for durable in (True, False, True, False):
            assert await storage._database.write(synchronous, durable=durable) == (full if durable else normal)


async def test_the_lease_of_whoever_died_is_free_after_its_time(url: str, replica: Callable[..., Stage]) -> None:
    async with open_storage(url) as storage:
        holder = replica(url, "hold")
        await until(lambda: len(holder.lines) == 2)
        assert holder.kill()[1] == "True"

        async with storage.lease("x", 6) as early:
            assert early is False
        async with asyncio.timeout(45):
            held = False
            while not held:
                async with storage.lease("x", 6) as held:
                    await asyncio.sleep(0.1)
