"""Messages between replicas: once each to one, soon to all others, and nothing missed without a word."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.conftest import QUICK, emptied
from tests.storage.postgres import Server
from trunkline.errors import ConfigError
from trunkline.storage.replicas import Timing
from trunkline.storage.storage import Storage, open_storage


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(45):
        while not true():
            await asyncio.sleep(0.01)


def inbox(storage: Storage, topic: str = "t") -> list[tuple[str, bytes]]:
    got: list[tuple[str, bytes]] = []
    storage.replicas.receive(topic, lambda sender, message: got.append((sender, message)))
    return got


async def test_a_broadcast_reaches_all_others_and_only_them(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two, open_storage(url) as three:
        own, second, third, elsewhere = inbox(one), inbox(two), inbox(three), inbox(two, "other")

        one.replicas.broadcast("t", b"1\0\xff")
        one.replicas.broadcast("t", b"2")

        await until(lambda: len(second) == len(third) == 2)
        assert second == third == [(one.name, b"1\0\xff"), (one.name, b"2")]
        assert own == elsewhere == []


async def test_equal_broadcasts_that_wait_are_one(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two:
        got = inbox(two)

        for number in range(1000):
            one.replicas.broadcast("t", b"%d" % (number % 3))

        await until(lambda: len(got) >= 3)
        await asyncio.sleep(0.2)
        assert sorted(message for _, message in got) == [b"0", b"1", b"2"]


async def test_mail_reaches_one_replica_once_and_in_order(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two, open_storage(url) as three:
        got, not_mine = inbox(two), inbox(three)
        sent = [(storage.name, b"%d" % number) for number in range(40) for storage in (one, three)]

        outcomes = await asyncio.gather(
            *((one if name == one.name else three).replicas.send(two.name, "t", message) for name, message in sent)
        )

        await until(lambda: len(got) >= 80)
        await asyncio.sleep(0.2)
        assert all(outcomes)
        assert sorted(got) == sorted(sent)
        for name in (one.name, three.name):
            assert [message for sender, message in got if sender == name] == [b"%d" % number for number in range(40)]
        assert not_mine == []


async def test_mail_that_was_not_read_is_taken_back(url: str) -> None:
    async with open_storage(url, timing=QUICK) as a, open_storage(url, timing=QUICK) as b:
        heard: list[bytes] = []
        b.replicas.receive("calls", lambda _, message: heard.append(message))
        assert await a.replicas.send(b.name, "calls", b"read")
        await until(lambda: heard == [b"read"])
        assert not await a.replicas.recall(b.name, "calls", b"read")
        b.replicas._exchange._tasks[1].cancel()
        assert await a.replicas.send(b.name, "calls", b"unread")
        assert await a.replicas.recall(b.name, "calls", b"unread")
        assert not await a.replicas.recall(b.name, "calls", b"unread")


async def test_mail_to_nobody_is_told(url: str) -> None:
    async with open_storage(url) as one:
        async with open_storage(url) as two:
            assert await one.replicas.alive(two.name) is True
        assert await one.replicas.send(two.name, "t", b"") is False
        assert await one.replicas.send("never", "t", b"") is False
        assert await one.replicas.alive(two.name) is False
        assert await one.replicas.gone([one.name, two.name, "never"]) == {two.name, "never"}


async def test_a_replica_that_does_not_beat_is_dead(url: str) -> None:
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        assert [replica.name for replica in await one.replicas.living()] == [one.name, two.name]

        two.replicas._beating.cancel()
        await asyncio.sleep(QUICK.lease + 0.5)

        assert [replica.name for replica in await one.replicas.living()] == [one.name]
        assert await one.replicas.send(two.name, "t", b"") is False


async def test_patient_mail_is_kept_for_who_is_late_and_not_for_who_has_left(url: str) -> None:
    async with open_storage(url, timing=QUICK) as one:
        async with open_storage(url, timing=QUICK) as two:
            got = inbox(two)
            two.replicas._beating.cancel()
            await asyncio.sleep(QUICK.lease + 0.5)
            assert await one.replicas.send(two.name, "t", b"1", patient=True) is True
            await until(lambda: got == [(one.name, b"1")])
        assert await one.replicas.send(two.name, "t", b"2", patient=True) is False


async def test_listening_ends_and_a_broken_listener_disturbs_nobody(url: str) -> None:
    async with open_storage(url) as one, open_storage(url) as two:
        ended: list[bytes] = []
        two.replicas.receive("t", lambda sender, message: ended.append(message))()
        two.replicas.receive("t", lambda sender, message: 1 / 0)
        got = inbox(two)

        one.replicas.broadcast("t", b"1")
        one.replicas.broadcast("t", b"2")

        await until(lambda: len(got) == 2)
        assert ended == []


async def test_two_living_replicas_cannot_have_one_name(url: str) -> None:
    async with open_storage(url, replica="a", timing=QUICK) as first:
        with pytest.raises(ConfigError, match="named a already runs"):
            async with open_storage(url, replica="a", timing=QUICK):
                pass
        assert await first.replicas.alive("a")


async def test_mail_reaches_the_next_replica_of_a_name(url: str) -> None:
    async with open_storage(url, timing=QUICK) as two:
        got = inbox(two)
        for _ in range(2):
            async with open_storage(url, replica="again", timing=QUICK) as one:
                assert await one.replicas.send(two.name, "t", b"1")

        await until(lambda: len(got) == 2)


async def test_whoever_was_away_longer_than_broadcasts_are_kept_is_told(url: str) -> None:
    short = Timing(beat=0.2, lease=10.0, kept=5.0, sweep=3600.0)
    async with open_storage(url, timing=short) as one, open_storage(url, timing=short) as two:
        got = inbox(two)
        told: list[bool] = []
        two.replicas.on_gap(lambda: told.append(True))
        one.replicas.broadcast("t", b"0")
        await until(lambda: len(got) == 1)
        exchange = two.replicas._exchange
        exchange._tasks[1].cancel()

        await asyncio.sleep(6)
        exchange._tasks[1] = asyncio.create_task(exchange._receive_all())
        one.replicas.broadcast("t", b"1")

        await until(lambda: bool(told))
        await until(lambda: len(got) == 2)


async def test_broadcasts_are_seen_in_the_order_of_their_commits(postgresql: Server) -> None:
    """Many writers at once: a reader that reads past a number never misses a smaller one that commits later."""
    url = emptied(postgresql)
    async with open_storage(url) as reader, open_storage(url) as a, open_storage(url) as b, open_storage(url) as c:
        got = inbox(reader)
        writers = [a, b, c]

        async def write(writer: Storage) -> None:
            for number in range(150):
                writer.replicas.broadcast("t", b"%d" % number)
                await asyncio.sleep(0.001)

        await asyncio.gather(*map(write, writers))

        await until(lambda: len(got) >= 450)
        for writer in writers:
            assert [message for sender, message in got if sender == writer.name] == [b"%d" % n for n in range(150)]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=30))
def test_all_mail_arrives_exactly_once(url: str, letters: list[tuple[int, int, bool]]) -> None:
    asyncio.run(exchange(url, letters))


async def exchange(url: str, letters: list[tuple[int, int, bool]]) -> None:
    async with (
        open_storage(url, timing=QUICK) as a,
        open_storage(url, timing=QUICK) as b,
        open_storage(url, timing=QUICK) as c,
    ):
        replicas = [a, b, c]
        boxes = [inbox(one) for one in replicas]
        waiting = []
        for number, (sender, recipient, at_once) in enumerate(letters):
            send = replicas[sender].replicas.send(replicas[recipient].name, "t", b"%d" % number)
            waiting.append(asyncio.ensure_future(send))
            if at_once:
                await waiting[-1]
        assert all(await asyncio.gather(*waiting))
        for recipient, box in enumerate(boxes):
            expected = [
                (replicas[sender].name, b"%d" % number)
                for number, (sender, one, _) in enumerate(letters)
                if one == recipient
            ]
            await until(lambda box=box, expected=expected: len(box) >= len(expected))
            for one in replicas:
                assert [m for s, m in box if s == one.name] == [m for s, m in expected if s == one.name]
