"""PostgreSQL goes away: nothing crashes, everything says so soon, and all goes on when it is back."""

import asyncio
import signal

import pytest
from sqlalchemy import text

from tests.storage.conftest import DATABASE, QUICK, emptied
from tests.storage.postgres import Server
from tests.storage.test_replicas import inbox, until
from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.storage.replicas import Timing
from trunkline.storage.storage import open_storage

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
async def test_an_outage_ends_nothing(spare: Server, how: signal.Signals) -> None:
    url = emptied(spare)
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        store, got = one.records("session"), inbox(two)
        await store.put("o.1", b"before")
        await one.events.begin("o.s", "a", b"")
        spare.stop(how)
        one.events.append("o.s", "a", b"1")
        one.replicas.broadcast("t", b"written later")

        # A bound against waiting for ever, far above what it takes.
        async with asyncio.timeout(50):
            with pytest.raises(StorageUnavailable):
                await store.load("o.1")
            with pytest.raises(StorageUnavailable):
                await one.events.flush()
            with pytest.raises(StorageUnavailable, match="out of reach since"):
                await one.replicas.send(two.name, "t", b"")
        assert one.healthy is False
        assert one.trouble is not None and "127.0.0.1" in one.trouble
        await asyncio.sleep(3)
        one.events.append("o.s", "a", b"2")
        spare.start()

        await until(lambda: one.healthy and two.healthy)
        assert one.trouble is None
        assert await store.load("o.1") == b"before"
        await one.events.flush()
        assert [data for _, data in (await two.events.after("o.s", "a/0")).events] == [b"1", b"2"]
        await until(lambda: (one.name, b"written later") in got)
        assert await one.replicas.send(two.name, "t", b"mail")
        await until(lambda: (one.name, b"mail") in got)
        one.replicas.broadcast("t", b"heard at once")
        await until(lambda: (one.name, b"heard at once") in got)


async def test_nobody_dies_of_an_outage(spare: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = emptied(spare)
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        # The last to come back: it beats no more.
        two.replicas._beating.cancel()
        spare.stop()
        await until(lambda: not one.healthy)
        await asyncio.sleep(QUICK.lease + 1)
        spare.start()
        await until(lambda: one.healthy)
        assert await one.replicas.alive(two.name)
        assert await one.replicas.send(two.name, "t", b"")
        # Everybody has had the time.
        monkeypatch.setattr("trunkline.storage.database._RETURN", 0.1)
        await asyncio.sleep(0.2)
        assert not await one.replicas.alive(two.name)


async def test_a_server_that_does_not_answer_is_given_up(spare: Server) -> None:
    url = emptied(spare)
    async with open_storage(url, timing=QUICK) as one:
        store = one.records("session")
        await store.put("o.1", b"before")
        spare.freeze(True)
        try:
            async with asyncio.timeout(50):
                outcomes = await asyncio.gather(*(store.load("o.1") for _ in range(50)), return_exceptions=True)
                # Nothing waits for it any more: this is refused without being sent.
                with pytest.raises(StorageUnavailable, match="out of reach since"):
                    await store.load("o.1")
        finally:
            spare.freeze(False)
        assert {type(outcome) for outcome in outcomes} == {StorageUnavailable}
        await until(lambda: one.healthy)
        assert await store.load("o.1") == b"before"


async def test_connections_that_hang_are_replaced(spare: Server) -> None:
    url = emptied(spare)
    async with open_storage(url, timing=QUICK) as one:
        store = one.records("session")
        await store.put("o.1", b"before")
        await asyncio.gather(*(store.load("o.1") for _ in range(100)))
        spare.freeze(True, connections_only=True)
        try:
            with pytest.raises(StorageUnavailable):
                await asyncio.gather(*(store.load("o.1") for _ in range(20)))
            # As if they were behind a firewall that forgot them: new ones work.
            await until(lambda: one.healthy)
            assert await store.load("o.1") == b"before"
        finally:
            spare.freeze(False)


async def test_ended_connections_are_replaced_unnoticed(spare: Server) -> None:
    url = emptied(spare)
    async with open_storage(url) as one, open_storage(url) as two:
        store, got = one.records("session"), inbox(two)
        await store.put("o.1", b"x")
        for _ in range(3):
            # As many at once as it takes to use all connections.
            assert await asyncio.gather(*(store.load("o.1") for _ in range(100))) == [b"x"] * 100
            spare.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trunkline'")
            await asyncio.sleep(0.3)
        one.replicas.broadcast("t", b"1")
        await until(lambda: len(got) == 1)


async def test_a_broadcast_made_while_the_listener_was_cut_off_is_read(spare: Server) -> None:
    url = emptied(spare)
    # So rarely that only listening helps.
    rare = Timing(beat=60.0, lease=240.0)
    async with open_storage(url, timing=rare) as one, open_storage(url, timing=rare) as two:
        got = inbox(two)
        for number in range(20):
            spare.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            one.replicas.broadcast("t", b"%d" % number)
            await asyncio.sleep(0.02)
        await until(lambda: len(got) == 20)


async def test_broadcasts_that_do_not_fit_are_told_as_a_gap(spare: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = emptied(spare)
    monkeypatch.setattr("trunkline.storage.exchange._MOST_WAITING", 10)
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        got, told = inbox(two), []
        two.replicas.on_gap(lambda: told.append(True))
        spare.stop()
        for number in range(100):
            one.replicas.broadcast("t", b"%d" % number)
        await asyncio.sleep(0.5)
        spare.start()

        await until(lambda: bool(told) and len(got) >= 10)
        assert [message for _, message in got] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("later", [0, 2])
async def test_events_that_do_not_fit_leave_no_unseen_hole(
    spare: Server, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    url = emptied(spare)
    monkeypatch.setattr("trunkline.storage.events._WAITING_ONE", 5000)
    async with open_storage(url, timing=QUICK) as one:
        for stream in "ab":
            await one.events.begin("o.s", stream, b"")
        await one.events.begin("other.s", "c", b"")
        one.events.append("o.s", "a", b"kept")
        await one.events.flush()
        spare.stop()
        await until(lambda: not one.healthy)
        # The sixth is one too many.
        for _ in range(6 + later):
            one.events.append("o.s", "a", b"x" * 1000)
        one.events.append("o.s", "b", b"y")
        one.events.append("other.s", "c", b"z")
        spare.start()
        await until(lambda: one.healthy)
        await one.events.flush()

        assert await one.events.after("o.s", "a/1") is None
        assert await one.events.after("o.s", "a/6") is None
        assert len((await one.events.after("o.s", "a/7")).events) == later
        assert [data for _, data in (await one.events.after("o.s", "b/0")).events] == [b"y"]
        assert [data for _, data in (await one.events.after("other.s", "c/0")).events] == [b"z"]


async def test_a_replica_whose_things_were_taken_registers_anew_and_says_so(spare: Server) -> None:
    url = emptied(spare)
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        told: list[bool] = []
        one.replicas.on_gap(lambda: told.append(True))
        spare.execute(f"DELETE FROM trunkline_replicas WHERE name = '{one.name}'", DATABASE)

        await until(lambda: bool(told))
        assert await two.replicas.alive(one.name)


async def test_an_error_of_a_statement_is_not_an_outage(spare: Server) -> None:
    url = emptied(spare)
    async with open_storage(url) as one:
        with pytest.raises(Exception, match="does_not_exist"):
            await one._database.read(lambda connection: connection.execute(text("SELECT * FROM does_not_exist")))
        assert one.healthy


async def test_opening_a_database_that_is_not_there_says_so(spare: Server) -> None:
    url = spare.url("nowhere").replace("postgres@", "postgres:s3cret@")
    with pytest.raises(StorageUnavailable, match="nowhere") as found:
        async with open_storage(url):
            pass
    assert "s3cret" not in str(found.value)
    spare.stop()
    try:
        with pytest.raises(StorageUnavailable, match="does it run"):
            async with open_storage(spare.url()):
                pass
    finally:
        spare.start()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://[::1", ""]
)
async def test_a_url_that_names_no_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="database URL"):
        async with open_storage(url):
            pass
