"""What the store of tasks promises to clients and workers, on both databases."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.extensions.tasks.storing import new, opened, run_one
from trunkline.engine.doors import InputRequest
from trunkline.errors import InvalidParams, Overloaded
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import Bounds, TaskFilter
from trunkline.extensions.tasks.store import TaskStore

ASK = InputRequest(
    "elicitation/create",
    {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
)
YES = {"action": "accept", "content": {"ok": True}}
REPLAY = b'{"chain":"c","steps":{"one":1}}'


@pytest.fixture
async def store(url: str) -> AsyncIterator[TaskStore]:
    async with opened(url) as store:
        yield store


async def test_a_task_is_visible_when_its_creation_returns(url: str, store: TaskStore) -> None:
    task, fresh = await store.create(new())

    assert fresh
    assert task.status == "working"
    assert len(task.id) >= 24
    async with opened(url) as other:
        found = await other.load(task.id)
        assert found is not None
        assert (found.owner, found.ends) == ("ann", pytest.approx(task.created + 3600, abs=0.01))
    async with opened(url, "another") as stranger:
        assert await stranger.load(task.id) is None
        assert await stranger.claim("w", 30, 10) == []


async def test_a_run_ends_once(store: TaskStore) -> None:
    task, _ = await store.create(new())
    run = await run_one(store)
    assert (run.id, run.run, run.request, run.replay) == (task.id, 1, b"request", b'{"chain":"c"}')
    assert await store.claim("other", 30, 10) == []

    done = await store.finish(task.id, run.run, "completed", b'{"content":[]}', None, 60)

    assert done is not None
    assert done.status == "completed"
    assert await store.finish(task.id, run.run, "failed", b"{}", None, 60) is None
    assert await store.outcome(task.id) == b'{"content":[]}'
    assert (await store.cancel(task.id, "ann")).status == "completed"
    assert await store.next_due() is None


async def test_questions_and_answers(store: TaskStore) -> None:
    task, _ = await store.create(new())
    run = await run_one(store)
    parked = await store.park(task.id, run.run, {"a": ASK, "b": ASK}, REPLAY)
    assert parked is not None
    assert (parked.status, list(parked.questions)) == ("input_required", ["a", "b"])
    assert await store.answer(task.id, "bob", {"a": YES}) is None

    partly = await store.answer(task.id, "ann", {"a": YES, "x": YES})
    assert partly is not None
    assert (partly.status, list(partly.questions)) == ("input_required", ["b"])
    unfit = await store.answer(task.id, "ann", {"b": {"action": "accept", "content": {"ok": "maybe"}}})
    assert unfit is not None
    assert list(unfit.questions) == ["b~2"]
    assert await store.claim("w", 30, 10) == []
    due = await store.answer(task.id, "ann", {"a": {"action": "decline"}, "b": YES, "b~2": {"action": "decline"}})
    assert due is not None
    assert (due.status, due.questions) == ("working", {})

    again = await run_one(store)
    assert again.run == 2
    assert json.loads(again.replay or b"") == {
        "chain": "c",
        "steps": {"one": 1},
        "answers": {"a": YES, "b": {"action": "decline"}},
    }
    reparked = await store.park(task.id, 2, {"a": ASK}, again.replay or b"")
    assert reparked is not None
    assert list(reparked.questions) == ["a~2"]


async def test_a_failed_attempt_is_followed_by_another(store: TaskStore) -> None:
    policy = TaskPolicy(retry=Retry(attempts=2))
    task, _ = await store.create(new(policy=policy))
    run = await run_one(store)
    waiting = await store.retry(task.id, run.run, "it broke", 0.2, {"code": -1, "message": "x"})
    assert waiting is not None
    assert (waiting.status, waiting.attempt, waiting.message) == ("working", 2, "it broke")
    assert await store.claim("w", 30, 1) == []
    assert 0 < (await store.next_due() or 0) <= 0.2
    await asyncio.sleep(0.25)
    second = await run_one(store)
    failed = await store.retry(task.id, second.run, "it broke again", 0, {"code": -2, "message": "y"})

    assert failed is not None
    assert failed.status == "failed"
    assert await store.outcome(task.id) == b'{"code":-2,"message":"y"}'
    first, last = await store.attempts(task.id)
    assert (first.number, first.why, first.error, first.worker) == (1, "it broke", {"code": -1, "message": "x"}, "w")
    assert (last.number, last.why, last.ended) == (2, "it broke again", failed.finished)


async def test_no_attempt_begins_after_the_deadline(store: TaskStore) -> None:
    policy = TaskPolicy(retry=Retry(attempts=9, deadline=1))
    task, _ = await store.create(new(policy=policy))
    run = await run_one(store)
    ended = await store.retry(task.id, run.run, "it broke", 2, None)
    assert ended is not None
    assert (ended.status, ended.attempt) == ("failed", 1)


async def test_whoever_lost_its_claim_changes_nothing(store: TaskStore) -> None:
    task, _ = await store.create(new(), worker="a", lease=0.05)
    await asyncio.sleep(0.1)
    taken = await run_one(store, "b")
    assert (taken.lost, taken.run) == (True, 2)

    assert await store.renew("a", {task.id: 1}, 30) == {}
    assert await store.renew("b", {task.id: 2}, 30) == {task.id: False}
    assert not await store.record(task.id, 1, b"{}")
    assert not await store.tell(task.id, 1, "x")
    assert not await store.release(task.id, 1)
    assert await store.park(task.id, 1, {"a": ASK}, b"{}") is None
    assert await store.retry(task.id, 1, "x", 0, None) is None
    assert await store.finish(task.id, 1, "completed", b"{}", None, 1) is None
    assert await store.record(task.id, 2, REPLAY, "half")
    assert await store.release(task.id, 2)
    again = await run_one(store, "c")
    assert (again.replay, again.lost, again.attempt, again.message) == (REPLAY, False, 1, "half")


async def test_what_runs_is_told_to_stop_and_what_waits_is_cancelled(store: TaskStore) -> None:
    running, _ = await store.create(new(), worker="w")
    queued, _ = await store.create(new())
    assert await store.cancel(queued.id, "bob") is None
    assert (await store.cancel(queued.id, "ann")).status == "cancelled"
    flagged = await store.cancel(running.id, None)
    assert (flagged.status, flagged.cancelling) == ("working", True)
    assert await store.renew("w", {running.id: 1}, 0.05) == {running.id: True}
    await asyncio.sleep(0.1)
    assert await store.claim("other", 30, 10) == []
    assert (await store.load(running.id)).status == "cancelled"


async def test_a_key_finds_its_task(store: TaskStore) -> None:
    first, _ = await store.create(new(key="k", digest=b"1"))
    assert await store.create(new(key="k", digest=b"1")) == (await store.load(first.id), False)
    with pytest.raises(InvalidParams, match="other arguments"):
        await store.create(new(key="k", digest=b"2"))
    for one in (new("bob", key="k"), new(tool="other", key="k")):
        assert (await store.create(one))[1]
    made = await asyncio.gather(*(store.create(new(key="at once")) for _ in range(20)))
    assert len({task.id for task, _ in made}) == 1
    assert [fresh for _, fresh in made].count(True) == 1


async def test_a_full_store_says_so(url: str) -> None:
    async with opened(url, bounds=Bounds(unfinished=20, per_owner=5)) as store:
        for _ in range(5):
            await store.create(new())
        with pytest.raises(Overloaded, match="this client has 5"):
            await store.create(new())
        assert (await store.create(new("bob")))[1]
        run = await run_one(store)
        await store.finish(run.id, run.run, "completed", b"{}", None, 1)
        await asyncio.sleep(0.6)
        assert (await store.create(new()))[1]


async def test_a_task_expires_is_erased_and_forgotten(url: str) -> None:
    async with opened(url, bounds=Bounds(tombstone=0.5)) as store:
        late, _ = await store.create(new(policy=TaskPolicy(ttl=0.3)))
        done, _ = await store.create(new(policy=TaskPolicy(ttl=0.3), key="k"), worker="w")
        finished = await store.finish(done.id, 1, "completed", b"{}", None, 5)
        assert finished.ends == pytest.approx(finished.finished + 5, abs=0.01)
        await asyncio.sleep(0.35)

        [expired] = await store.expire()
        assert (expired.id, expired.status, expired.erased) == (late.id, "failed", True)
        assert json.loads(await store.outcome(late.id) or b"")["data"] == {"dev.trunkline/reason": "expired"}
        while (await store.load(done.id)) is not None and not (await store.load(done.id)).erased:
            assert await store.outcome(done.id) == b"{}"
            assert await store.expire() == []
            await asyncio.sleep(0.1)
        erased = await store.load(done.id)
        assert (erased.erased, erased.status, await store.outcome(done.id)) == (True, "completed", None)
        assert (await store.create(new(key="k")))[1]
        async with asyncio.timeout(20):
            while await store.load(late.id) or await store.load(done.id):
                await store.expire()
                await asyncio.sleep(0.1)


async def test_a_result_that_is_too_large_fails_the_task(url: str) -> None:
    async with opened(url, bounds=Bounds(outcome=100)) as store:
        task, _ = await store.create(new(), worker="w")
        ended = await store.finish(task.id, 1, "completed", b"x" * 101, None, 60)
        assert ended.status == "failed"
        assert json.loads(await store.outcome(task.id) or b"")["data"]["dev.trunkline/reason"] == "too_large"


async def test_operators_see_what_they_ask_for(store: TaskStore) -> None:
    made = [(await store.create(new(owner)))[0].id for owner in ("ann", "bob", "ann", "ann")]
    await store.cancel(made[0], None)
    seen: list[str] = []
    while page := await store.list(TaskFilter(), seen[-1] if seen else None, 3):
        seen += [task.id for task in page]
    assert seen == made[::-1]
    found = await store.list(TaskFilter(status="working", owner="ann"), None, 10)
    assert [task.id for task in found] == [made[3], made[2]]


async def test_listeners_hear_of_changes_here_and_elsewhere(url: str, store: TaskStore) -> None:
    async with opened(url) as other:
        heard: list[str] = []
        leave = other.changed(heard.append)
        task, _ = await store.create(new())
        async with asyncio.timeout(20):
            while not heard:
                await asyncio.sleep(0.01)
        assert heard == [task.id]
        leave()
        await other.cancel(task.id, "ann")
        assert heard == [task.id]
