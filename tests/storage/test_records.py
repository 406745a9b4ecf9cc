"""Records: first come, last use, one at a time."""

import asyncio

from trunkline.storage.storage import open_storage


async def test_any_replica_reads_what_another_wrote(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as other:
        await one.records("session").put("o.1", b"state\0\xff")
        await one.records("session").put("o.2", b"old")
        await other.records("session").put("o.2", b"new")

        assert await other.records("session").load("o.1") == b"state\0\xff"
        assert await one.records("session").load("o.2") == b"new"
        assert await one.records("other").load("o.1") is None


async def test_the_first_to_add_wins(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as other:
        stores = [one.records("key"), other.records("key")] * 5

        told = await asyncio.gather(*(store.add("k", b"%d" % number) for number, store in enumerate(stores)))

        assert set(told) == {await one.records("key").load("k")}


async def test_no_change_is_lost_between_replicas(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as other:
        stores = [one.records("count"), other.records("count")]
        await stores[0].put("k", b"0")

        async def count(times: int, store: int) -> None:
            for _ in range(times):
                assert await stores[store].change("k", lambda payload: b"%d" % (int(payload) + 1)) is not None

        await asyncio.gather(*(count(10, number % 2) for number in range(6)))

        assert await stores[0].load("k") == b"60"
        assert await stores[0].change("unknown", lambda payload: payload) is None


async def test_deleting_tells_whether_there_was_one(url: str) -> None:
    async with open_storage(url) as one:
        store = one.records("session")
        await store.put("k", b"")

        assert await store.delete("k") is True
        assert await store.delete("k") is False
        assert await store.load("k") is None


async def test_an_idle_record_is_gone_and_a_used_one_stays(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as other:
        store, there = one.records("session", idle=4.0), other.records("session", idle=4.0)
        await store.put("idle", b"1")
        await store.put("used", b"2")

        for _ in range(6):
            await asyncio.sleep(1)
            assert await there.load("used") == b"2"

        assert await store.load("idle") is None
        assert await store.change("idle", lambda payload: payload) is None
        assert await store.delete("idle") is False
        assert await store.add("idle", b"again") == b"again"


async def test_a_full_store_makes_room_at_the_expense_of_whoever_fills_it(url: str) -> None:
    async with open_storage(url) as one:
        store = one.records("session", limit=100)
        for number in range(5):
            await store.put(f"modest.{number}", b"")

        await asyncio.gather(*(store.put(f"greedy.{number}", b"") for number in range(300)))

        greedy = [number for number in range(300) if await store.load(f"greedy.{number}") is not None]
        assert 60 <= len(greedy) <= 105
        assert all([await store.load(f"modest.{number}") == b"" for number in range(5)])


async def test_a_failing_change_disturbs_nobody(url: str) -> None:
    async with open_storage(url) as one:
        store = one.records("session")
        await store.put("k", b"before")

        def fail(_: bytes) -> bytes:
            raise ValueError("no")

        outcomes = await asyncio.gather(
            store.put("a", b"1"), store.change("k", fail), store.put("b", b"2"), return_exceptions=True
        )

        assert isinstance(outcomes[1], ValueError)
        assert [await store.load(key) for key in "akb"] == [b"1", b"before", b"2"]
