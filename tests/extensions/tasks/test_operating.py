"""What operators see and do, over the tasks of all applications and owners, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import get_args

import msgspec
import pytest

from tests.extensions.tasks.storing import new, run_one
from trunkline.engine.doors import InputRequest
from trunkline.extensions.tasks.operating import AllTasks
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import Bounds, NewTask, Shown, Task, TaskFilter, shown_as
from trunkline.extensions.tasks.states import Status
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage.storage import Storage, open_storage

SHOWN: tuple[Shown, ...] = (*get_args(Status), "waiting", "running", "retrying", "lost", "expired")
ASK = InputRequest("elicitation/create", {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}})
REPLAY = b'{"chain":"c","steps":{"one":1}}'
TWICE = TaskPolicy(retry=Retry(attempts=5))


@pytest.fixture
async def storage(url: str) -> AsyncIterator[Storage]:
    async with open_storage(url, branches=[TASKS]) as storage:
        yield storage


@pytest.fixture
def store(storage: Storage) -> TaskStore:
    return TaskStore(storage, "app")


@pytest.fixture
def everything(storage: Storage) -> AllTasks:
    return AllTasks(storage)


async def failed(store: TaskStore, given: NewTask | None = None) -> Task:
    """A task that recorded a step and failed."""
    task, _ = await store.create(given or new())
    run = await run_one(store)
    assert run.id == task.id
    await store.record(task.id, run.run, REPLAY)
    done = await store.finish(task.id, run.run, "failed", b'{"code":-32603,"message":"no"}', "no", 60)
    assert done is not None
    return done


async def one_of_each(store: TaskStore) -> None:
    """A task in each state there is, the younger ones of another owner."""

    async def begun(policy: TaskPolicy = TWICE, lease: float = 60.0) -> Task:
        task, _ = await store.create(new(policy=policy), worker="w", lease=lease)
        return task

    await store.create(new("bob"))
    await begun()
    await begun(lease=0.0)
    task = await begun()
    await store.retry(task.id, 1, "busy", 60, None)
    task = await begun()
    await store.park(task.id, 1, {"q": ASK}, REPLAY)
    for status in ("completed", "failed", "cancelled"):
        task = await begun()
        await store.finish(task.id, 1, status, b"{}", None, 60)
    await begun(TaskPolicy(ttl=0.001))
    await asyncio.sleep(0.1)
    assert len(await store.expire()) == 1


async def test_a_filter_finds_what_is_shown_so(store: TaskStore, everything: AllTasks) -> None:
    await one_of_each(store)
    now = await everything.now()
    tasks = await everything.list(TaskFilter(), None, 100)
    assert sorted(shown_as(task, now) for task in tasks) == sorted(set(SHOWN) - {"working"})

    working = ("waiting", "running", "retrying", "lost")
    for shown in SHOWN:
        filter = TaskFilter(shown=(shown,))
        meant = [task.id for task in tasks if shown_as(task, now) in (working if shown == "working" else (shown,))]
        assert [task.id for task in await everything.list(filter, None, 100)] == meant, shown
        assert [task.id for task in tasks if filter.fits(task, now)] == meant, shown
        assert await everything.count(filter) == len(meant)


async def test_all_applications_are_listed_the_newest_first_page_by_page(
    storage: Storage, everything: AllTasks
) -> None:
    stores = [TaskStore(storage, scope) for scope in ("c", "a", "b")]
    made = [(await stores[number % 3].create(new(tool=f"t{number % 2}")))[0] for number in range(9)]
    expected = [task.id for task in reversed(made)]
    seen: list[str] = []
    after = None
    while page := await everything.list(TaskFilter(), after, 2):
        assert len(page) <= 2
        seen += [task.id for task in page]
        after = seen[-1]

    assert seen == expected
    for filter in (
        TaskFilter(scope="a"),
        TaskFilter(tool="t1"),
        TaskFilter(owner="bob"),
        TaskFilter(since=made[4].created),
        TaskFilter(until=made[4].created),
    ):
        found = await everything.list(filter, None, 100)
        assert [task.id for task in found] == [task.id for task in reversed(made) if filter.fits(task, 0)]
    assert len(await everything.list(TaskFilter(scope="a"), None, 100)) == 3


async def test_an_operator_cancels_in_any_application(storage: Storage, everything: AllTasks) -> None:
    task, _ = await TaskStore(storage, "other").create(new())

    assert (await everything.cancel(task)).status == "cancelled"
    assert (await everything.cancel(task)).status == "cancelled"


async def test_what_failed_runs_again_as_a_new_task_behind_its_recorded_steps(
    store: TaskStore, everything: AllTasks
) -> None:
    given = new("bob", "report", TaskPolicy(retry=Retry(attempts=3), priority=4), key="k", digest=b"d")
    before = await failed(store, given)
    done = await everything.retry(before)

    assert done.how == "new"
    assert done.task.id != before.id
    assert (done.task.owner, done.task.tool, done.task.policy) == ("bob", "report", given.policy)
    assert (done.task.ends, done.task.attempt) == (pytest.approx(done.task.created + 3600, abs=0.01), 1)
    run = await run_one(store)
    assert (run.id, run.request, run.replay) == (done.task.id, b"request", REPLAY)
    old = await store.load(before.id)
    assert old is not None
    assert (old.status, old.finished) == ("failed", before.finished), "terminal is terminal"


async def test_whoever_repeats_the_call_finds_the_new_task(store: TaskStore, everything: AllTasks) -> None:
    given = new(key="order-7", digest=b"d")
    done = await everything.retry(await failed(store, given))
    found, fresh = await store.create(given)

    assert (found.id, fresh) == (done.task.id, False)


async def test_anew_does_everything_again(store: TaskStore, everything: AllTasks) -> None:
    await everything.retry(await failed(store), anew=True)

    assert (await run_one(store)).replay is None


async def test_a_result_that_is_an_error_may_be_tried_again_and_no_other(
    store: TaskStore, everything: AllTasks
) -> None:
    for number, (payload, how) in enumerate(
        [(b'{"content":[],"isError":true}', "new"), (b'{"content":[{"type":"text","text":"isError"}]}', "refused")]
    ):
        task, _ = await store.create(new(), worker="w")
        await store.finish(task.id, 1, "completed", payload, None, 60)
        assert (await everything.retry(task)).how == how, number


async def test_the_next_attempt_begins_now(store: TaskStore, everything: AllTasks) -> None:
    task, _ = await store.create(new(policy=TWICE), worker="w")
    await store.retry(task.id, 1, "busy", 3600, None)
    assert await store.claim("w", 30, 1) == []
    done = await everything.retry(task)

    assert (done.how, done.task.id, done.task.attempt) == ("hastened", task.id, 2)
    assert (await run_one(store)).id == task.id


async def test_an_operator_stays_within_the_bounds_of_the_server_and_of_the_owner(
    storage: Storage, store: TaskStore
) -> None:
    bounded = AllTasks(storage, Bounds(unfinished=4, per_owner=2))
    anns, bobs = [[await failed(store, new(owner)) for _ in range(3)] for owner in ("ann", "bob")]
    assert [(await bounded.retry(task)).how for task in anns[:2]] == ["new", "new"]
    full = await bounded.retry(anns[2])
    assert full.how == "refused"
    assert "this client has 2 that have not ended" in full.why
    assert (await bounded.retry(bobs[0])).how == "new"
    await store.create(new("bob"))
    everybody = await bounded.retry(bobs[1])
    assert everybody.how == "refused"
    assert "all clients together have 4" in everybody.why

    assert await store.load(anns[2].id) == anns[2]
    assert await bounded.count(TaskFilter(shown=("waiting",))) == 4
    other = TaskStore(storage, "other")
    assert (await bounded.retry(await failed(other))).how == "new", "each server has its own"


async def test_what_takes_no_room_is_done_where_there_is_none(storage: Storage, store: TaskStore) -> None:
    full = AllTasks(storage, Bounds(unfinished=1))
    task, _ = await store.create(new(policy=TWICE), worker="w")
    await store.retry(task.id, 1, "busy", 3600, None)

    assert (await full.retry(task)).how == "hastened"


async def test_nothing_is_repeated_that_goes_on_or_is_gone(store: TaskStore, everything: AllTasks) -> None:
    await one_of_each(store)
    now = await everything.now()
    for task in await everything.list(TaskFilter(), None, 100):
        shown = shown_as(task, now)
        if shown in ("waiting", "running", "lost", "input_required", "expired"):
            done = await everything.retry(task)
            assert (done.how, bool(done.why)) == ("refused", True), shown
            assert await store.load(task.id) == task


async def test_purging_erases_and_leaves_the_facts(store: TaskStore, everything: AllTasks) -> None:
    task, _ = await store.create(new(policy=TWICE), worker="w")
    await store.retry(task.id, 1, "it was called with a secret", 0, {"code": 1, "message": "secret"})
    run = await run_one(store)
    await store.finish(task.id, run.run, "completed", b'{"content":[]}', "secret", 3600)

    assert await everything.purge([task.id]) == 1
    assert await everything.purge([task.id]) == 0
    left = await store.load(task.id)
    assert left is not None
    assert (left.erased, left.status, left.message) == (True, "completed", None)
    assert left.ends is not None
    assert abs(left.ends - await everything.now()) < 10, "its owner is told when it was"
    assert await everything.request(left) is None
    assert await everything.outcome(left) is None
    assert [one.why for one in await everything.attempts(left)] == [None]


async def test_purging_whole_leaves_nothing(store: TaskStore, everything: AllTasks) -> None:
    ended, erased = await failed(store), await failed(store)
    await everything.purge([erased.id])

    assert await everything.purge([ended.id, erased.id], whole=True) == 2
    assert await everything.list(TaskFilter(), None, 10) == []


async def test_what_has_not_ended_is_not_purged(store: TaskStore, everything: AllTasks) -> None:
    task, _ = await store.create(new())

    assert await everything.purge([task.id], whole=True) == 0
    assert (await run_one(store)).id == task.id


async def test_news_come_from_other_processes_and_say_when_some_were_missed(
    url: str, storage: Storage, everything: AllTasks
) -> None:
    told: list[str] = []
    leave = everything.changed(told.append)
    inside: list[str] = []
    leave_store = TaskStore(storage, "app").changed(inside.append)
    async with open_storage(url, branches=[TASKS]) as other, asyncio.timeout(20):
        task, _ = await TaskStore(other, "app").create(new())
        while task.id not in told or task.id not in inside:
            await asyncio.sleep(0.05)
    storage.replicas._exchange.gap()
    assert (told[-1], inside[-1]) == ("", "")
    leave()
    leave_store()
    told.clear()
    inside.clear()
    storage.replicas._exchange.gap()

    assert (told, inside) == ([], [])


async def test_the_facts_of_a_task_can_be_told_as_json(store: TaskStore, everything: AllTasks) -> None:
    from trunkline.cli.task_view import facts

    await one_of_each(store)
    for task in await everything.list(TaskFilter(), None, 100):
        told = json.dumps(facts(task, await everything.now()))
        assert "request" not in told
        assert msgspec.json.decode(told)["id"] == task.id
