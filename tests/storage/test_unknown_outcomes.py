"""The connection breaks after a commit and before its answer: what is done again must not be there twice."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from tests.storage.conftest import QUICK, emptied
from tests.storage.postgres import Server
from tests.storage.test_replicas import inbox, until
from trunkline.errors import StorageUnavailable
from trunkline.storage.storage import Storage, open_storage

T = TypeVar("T")


def break_after_commits(storage: Storage, monkeypatch: pytest.MonkeyPatch, part: str, times: int) -> list[str]:
    """Let so many writes of a part of the room be done, and say that they were not."""
    database = storage._database
    write = database.write
    broken: list[str] = []

    async def lie(work: Callable[[Connection], T], **how: bool) -> T:
        outcome = await write(work, **how)
        if part in work.__qualname__ and len(broken) < times:
            broken.append(work.__qualname__)
            raise StorageUnavailable
        return outcome

    monkeypatch.setattr(database, "write", lie)
    return broken


async def test_events_are_written_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_storage(url) as one:
        await one.events.begin("o.s", "a", b"")
        broken = break_after_commits(one, monkeypatch, "writing", 3)
        for number in range(20):
            one.events.append("o.s", "a", b"%d" % number)
            if number % 5 == 0:
                await one.events.flush()
        await one.events.flush()

        assert len(broken) == 3
        assert [data for _, data in (await one.events.after("o.s", "a/0")).events] == [b"%d" % n for n in range(20)]


async def test_mail_is_handed_over_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        got = inbox(two)
        sending = break_after_commits(one, monkeypatch, "_send_some", 3)
        reading = break_after_commits(two, monkeypatch, "_take", 3)
        for number in range(10):
            assert await one.replicas.send(two.name, "t", b"%d" % number)

        await until(lambda: len(got) >= 10)
        assert (len(sending), len(reading)) == (3, 3)
        assert [message for _, message in got] == [b"%d" % number for number in range(10)]


async def test_a_server_that_forgot_broadcasts_is_noticed(
    postgresql: Server,
) -> None:
    """After a fail-over numbers may begin again below what was read: new broadcasts must not be taken for old ones."""
    url = emptied(postgresql)
    async with open_storage(url, timing=QUICK) as one, open_storage(url, timing=QUICK) as two:
        got, told = inbox(two), []
        two.replicas.on_gap(lambda: told.append(True))
        for number in range(5):
            one.replicas.broadcast("t", b"before %d" % number)
        await until(lambda: len(got) == 5)
        postgresql.execute(
            "DELETE FROM trunkline_broadcasts; SELECT setval('trunkline_broadcasts_id_seq', 1)", url.rpartition("/")[2]
        )

        one.replicas.broadcast("t", b"after")

        await until(lambda: bool(told) and (one.name, b"after") in got)
