"""Whose turn it is: fair between owners and tools, priority first, no tool oftener at a time than it may."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.extensions.tasks.storing import new, opened
from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.store import TaskStore


@pytest.fixture
async def store(url: str) -> AsyncIterator[TaskStore]:
    async with opened(url) as store:
        yield store


async def queue(store: TaskStore, owner: str, tool: str, count: int, policy: TaskPolicy | None = None) -> None:
    await asyncio.gather(*(store.create(new(owner, tool, policy)) for _ in range(count)))


async def test_owners_take_turns(store: TaskStore) -> None:
    await queue(store, "busy", "slow", 60)
    await queue(store, "ann", "slow", 3)
    await queue(store, "bob", "slow", 3)

    one_by_one = [(await store.claim("w", 30, 1))[0].owner for _ in range(6)]
    assert Counter(one_by_one) == {"ann": 2, "bob": 2, "busy": 2}
    together = Counter(task.owner for task in await store.claim("w", 30, 3))
    assert together == {"ann": 1, "bob": 1, "busy": 1}
    assert len(await store.claim("w", 30, 100)) == 57


async def test_tools_of_an_owner_take_turns(store: TaskStore) -> None:
    await queue(store, "ann", "popular", 40)
    await queue(store, "ann", "rare", 4)

    first = Counter(task.tool for task in await store.claim("w", 30, 8))
    assert first == {"popular": 4, "rare": 4}


async def test_an_owner_with_many_tools_gets_no_larger_share(store: TaskStore) -> None:
    for number in range(10):
        await queue(store, "ann", f"tool{number}", 3)
    await queue(store, "bob", "slow", 30)

    assert Counter(task.owner for task in await store.claim("w", 30, 10)) == {"ann": 5, "bob": 5}


async def test_priority_goes_first(store: TaskStore) -> None:
    await queue(store, "ann", "slow", 5)
    await queue(store, "bob", "slow", 2, TaskPolicy(priority=5))
    await queue(store, "ann", "slow", 1, TaskPolicy(priority=-1))

    claimed = [(await store.claim("w", 30, 1))[0] for _ in range(8)]
    assert [task.policy.priority for task in claimed] == [5, 5, 0, 0, 0, 0, 0, -1]


async def test_more_queues_than_one_look_finds(store: TaskStore) -> None:
    owners = [f"owner{number:03}" for number in range(450)]
    await asyncio.gather(*(store.create(new(owner)) for owner in owners))
    served = [task.owner for _ in range(9) for task in await store.claim("w", 30, 50)]
    assert sorted(served) == owners


async def test_a_worker_gets_the_tools_it_runs(store: TaskStore) -> None:
    await queue(store, "ann", "here", 2)
    await queue(store, "ann", "elsewhere", 2)
    assert {task.tool for task in await store.claim("w", 30, 10, ["here"])} == {"here"}
    assert await store.claim("w", 30, 10, ["here"]) == []
    assert await store.claim("w", 30, 10, []) == []


async def test_a_tool_runs_no_oftener_at_a_time_than_it_may(url: str, store: TaskStore) -> None:
    bounded = TaskPolicy(concurrency=3)
    for owner in ("ann", "bob", "cyd"):
        await queue(store, owner, "rare", 5, bounded)
    await queue(store, "ann", "slow", 2)
    async with opened(url) as other:
        claims = [one.claim(name, 30, 10) for one, name in ((store, "v"), (other, "w")) for _ in range(4)]
        claimed = [task for tasks in await asyncio.gather(*claims) for task in tasks]
        assert Counter(task.tool for task in claimed) == {"rare": 3, "slow": 2}
        assert await other.claim("w", 30, 10) == []

        one = next(task for task in claimed if task.tool == "rare")
        await store.finish(one.id, one.run, "completed", b"{}", None, 1)
        assert [task.tool for task in await other.claim("w", 30, 10)] == ["rare"]


async def test_workers_that_claim_at_once_get_different_tasks(url: str, store: TaskStore) -> None:
    for owner in ("ann", "bob"):
        await queue(store, owner, "slow", 40)
    async with opened(url) as other:
        claims = [one.claim(f"w{number}", 30, 7) for number in range(8) for one in (store, other)]
        claimed = [task.id for tasks in await asyncio.gather(*claims) for task in tasks]
        while left := await store.claim("late", 30, 50):
            claimed += [task.id for task in left]
    assert len(claimed) == len(set(claimed)) == 80
