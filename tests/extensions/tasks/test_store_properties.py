"""Whatever clients and workers do to a store, in whatever order: on both databases."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text, update

from tests.extensions.tasks.storing import new
from trunkline.engine.doors import InputRequest
from trunkline.extensions.tasks.policy import Retry, TaskPolicy
from trunkline.extensions.tasks.records import Bounds, Task
from trunkline.extensions.tasks.states import ENDS, TRANSITIONS
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.tables import tasks
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage.storage import open_storage
from trunkline.storage.tables import clock

LEGAL = {
    "working": {"working", "input_required", "completed", "failed", "cancelled"},
    "input_required": {"working", "input_required", "completed", "failed", "cancelled"},
}
"""The state machine of the extension, written down a second time (tasks, section 4)."""

OWNERS = ("ann", "bob")
ATTEMPTS = 3
QUESTION = InputRequest(
    "elicitation/create",
    {"message": "?", "requestedSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
)
POLICY = TaskPolicy(retry=Retry(attempts=ATTEMPTS), ttl=1000, retention=500)

picks = st.integers(0, 10_000)
keys = st.sampled_from(["a", "b", "a~2"])


class Known:
    """What a client and the test know of one task."""

    def __init__(self, task: Task) -> None:
        self.owner = task.owner
        self.task = task
        self.payload: bytes | None = None
        self.used: set[str] = set()
        self.runs: set[int] = set()
        self.answers: dict[str, object] = {}
        self.steps = 0
        self.promised = task.ends


class Store(RuleBasedStateMachine):
    """Clients of two owners and workers of two names, with claims that are current and claims that are not."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.opened = open_storage(self.url, branches=[TASKS])
        self.storage = self.loop.run_until_complete(self.opened.__aenter__())
        self._write(lambda connection: connection.execute(text("DELETE FROM trunkline_tasks")))
        self.store = TaskStore(self.storage, "app", Bounds(tombstone=100))
        self.known: dict[str, Known] = {}
        self.number = 0

    def teardown(self) -> None:
        self.loop.run_until_complete(self.opened.__aexit__(None, None, None))
        self.loop.close()

    def _write(self, work) -> None:
        self.loop.run_until_complete(self.storage.database.write(work))

    def _do(self, work):
        return self.loop.run_until_complete(work)

    def _pick(self, number: int) -> tuple[str, Known]:
        # By age: ids are made at random, and a failure has to be found again.
        return list(self.known.items())[number % len(self.known)]

    def _see(self, id: str) -> Task | None:
        """Look at a task, and judge how it changed."""
        known = self.known[id]
        seen = self._do(self.store.load(id))
        before = known.task
        if seen is None:
            assert before.erased
            del self.known[id]
            return None
        if before.status in ENDS:
            kept = (before.status, before.finished, before.ends, before.run, before.attempt)
            assert (seen.status, seen.finished, seen.ends, seen.run, seen.attempt) == kept
            outcome = self._do(self.store.outcome(id))
            assert outcome == (None if seen.erased and not self._expired(seen) else known.payload)
        elif seen.status != before.status:
            assert seen.status in LEGAL[before.status]
            known.payload = self._do(self.store.outcome(id)) if seen.status in ENDS else None
        assert seen.run >= before.run
        assert before.attempt <= seen.attempt <= ATTEMPTS
        assert (seen.status == "input_required") == bool(seen.questions)
        fresh = seen.questions.keys() - before.questions.keys()
        assert not fresh & known.used
        known.used |= seen.questions.keys()
        known.promised = seen.ends
        known.task = seen
        return seen

    def _expired(self, task: Task) -> bool:
        return task.message == "The task expired before it ended"

    @rule(owner=st.sampled_from(OWNERS), worker=st.sampled_from([None, "v"]))
    def create(self, owner: str, worker: str | None) -> None:
        task, fresh = self._do(self.store.create(new(owner, policy=POLICY), worker=worker))
        assert fresh
        self.known[task.id] = Known(self._do(self.store.load(task.id)))
        if worker:
            self.known[task.id].runs.add(1)

    @precondition(lambda self: self.known)
    @rule(worker=st.sampled_from(["v", "w"]), most=st.integers(1, 3))
    def claim(self, worker: str, most: int) -> None:
        waiting = [id for id, known in self.known.items() if known.task.status == "working" and not known.task.worker]
        claimed = self._do(self.store.claim(worker, 1000, most))
        assert len(claimed) <= most
        for task in claimed:
            known = self.known[task.id]
            # Nobody had this run before, and whoever claims is told all that was kept.
            assert task.run not in known.runs
            known.runs.add(task.run)
            replay = json.loads(task.replay or b"{}")
            assert replay.get("answers", {}) == known.answers
            assert replay.get("steps", {}) == ({"n": known.steps} if known.steps else {})
            assert task.id in waiting or task.lost
            self._see(task.id)
        # Those whose client wanted them cancelled and whose worker was lost are not claimed: they end here.
        for id in [id for id, known in self.known.items() if known.task.cancelling]:
            self._see(id)

    @precondition(lambda self: self.known)
    @rule(
        number=picks,
        stale=st.booleans(),
        what=st.sampled_from(["record", "tell", "release", "park", "retry", "complete", "fail", "cancelled"]),
        asked=st.sets(keys, min_size=1),
        delay=st.sampled_from([0.0, 0.0, 500.0]),
    )
    def run(self, number: int, stale: bool, what: str, asked: set[str], delay: float) -> None:
        id, known = self._pick(number)
        run = known.task.run - stale
        current = known.task.status == "working" and known.task.worker is not None and not stale
        replay = {"chain": "c", "answers": known.answers}
        steps = known.steps + (what == "record")
        if steps:
            replay["steps"] = {"n": steps}
        encoded = json.dumps(replay).encode()
        self.number += 1
        payload = b'{"n":%d}' % self.number
        match what:
            case "record":
                did = self._do(self.store.record(id, run, encoded))
                known.steps += did
            case "tell":
                did = self._do(self.store.tell(id, run, "on the way"))
            case "release":
                did = self._do(self.store.release(id, run))
            case "park":
                did = self._do(self.store.park(id, run, dict.fromkeys(asked, QUESTION), encoded))
            case "retry":
                did = self._do(self.store.retry(id, run, "it broke", delay, {"code": -1, "message": "x"}))
            case _:
                status = {"complete": "completed", "fail": "failed"}.get(what, what)
                did = self._do(self.store.finish(id, run, status, payload, None, 500))
        assert bool(did) == current
        seen = self._see(id)
        if current and what in ("complete", "fail", "cancelled"):
            assert seen.status == status
            assert known.payload == payload

    @precondition(lambda self: self.known)
    @rule(
        number=picks,
        stranger=st.booleans(),
        answers=st.dictionaries(st.sampled_from(["a", "b", "a~2", "b~2", "a~2~2", "a~3", "x"]), st.booleans()),
    )
    def answer(self, number: int, stranger: bool, answers: dict[str, bool]) -> None:
        id, known = self._pick(number)
        self.number += 1
        unfit = {"action": "accept", "content": {"n": "no number"}}
        fit = {"action": "accept", "content": {"n": self.number}}
        responses = {key: fit if fits else unfit for key, fits in answers.items()}
        open = known.task.questions
        owner = known.owner if not stranger else "bob" if known.owner == "ann" else "ann"
        found = self._do(self.store.answer(id, owner, responses))
        assert (found is None) == stranger
        if stranger:
            assert self._do(self.store.load(id)) == known.task
            return
        before = set(open)
        seen = self._see(id)
        for key in before & responses.keys():
            assert key not in seen.questions
            if answers[key]:
                own = "a~2" if key.startswith("a~2~") else key.partition("~")[0] if key != "a~2" else None
                self._answered(id, known, key, own, fit)
        assert before - responses.keys() <= seen.questions.keys()
        assert (seen.status == "working") or seen.questions or seen.status in ENDS

    def _answered(self, id: str, known: Known, key: str, own: str | None, answer: object) -> None:
        # `a~2` is the second question `a`, or the first that its function calls so: the store says which.
        stored: list[bytes] = []
        query = text("SELECT replay FROM trunkline_task_payloads WHERE task = :id")
        self._write(lambda connection: stored.append(connection.execute(query, {"id": id}).scalar_one()))
        told = json.loads(stored[-1])["answers"]
        changed = {name for name, value in told.items() if value == answer}
        assert changed & ({own} if own else {"a", "a~2"})
        known.answers.update(dict.fromkeys(changed, answer))

    @precondition(lambda self: self.known)
    @rule(number=picks, who=st.sampled_from(["owner", "stranger", "operator"]))
    def cancel(self, number: int, who: str) -> None:
        id, known = self._pick(number)
        stranger = "bob" if known.owner == "ann" else "ann"
        owner = {"owner": known.owner, "stranger": stranger, "operator": None}[who]
        found = self._do(self.store.cancel(id, owner))
        if who == "stranger":
            assert found is None
            assert self._do(self.store.load(id)) == known.task
            return
        before = known.task
        seen = self._see(id)
        if before.status not in ENDS:
            assert seen.cancelling if before.worker else seen.status == "cancelled"

    @precondition(lambda self: self.known)
    @rule(number=picks)
    def lease_runs_out(self, number: int) -> None:
        id, _ = self._pick(number)
        # Long enough ago that it is due before all that is new, however slowly this runs.
        past = update(tasks).where(tasks.c.id == id, tasks.c.worker.is_not(None)).values(due=clock() - 1000)
        self._write(lambda connection: connection.execute(past))
        self._see(id)

    @precondition(lambda self: self.known)
    @rule(seconds=st.sampled_from([100.0, 400.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        """Everything that was promised for a time is that much nearer."""
        columns = ("ends", "sweep", "finished")
        values = {name: tasks.c[name] - seconds for name in columns}
        self._write(lambda connection: connection.execute(update(tasks).values(values)))
        for known in self.known.values():
            moved = {name: getattr(known.task, name) for name in ("ends", "finished")}
            changes = {name: None if at is None else at - seconds for name, at in moved.items()}
            known.task = msgspec.structs.replace(known.task, **changes)
        now: list[float] = []
        self._write(lambda connection: now.append(connection.execute(clock().select()).scalar_one()))
        expired = {task.id for task in self._do(self.store.expire(2))}
        while batch := self._do(self.store.expire(2)):
            expired |= {task.id for task in batch}
        for id in list(self.known):
            before = self.known[id].task
            over = before.ends <= now[0]
            if before.ends > now[0] + 60:
                # Not one of them is gone before its time.
                assert id not in expired
                assert not self._do(self.store.load(id)).erased
            if before.status not in ENDS:
                assert (id in expired) == over
            seen = self._see(id)
            if seen is not None and over:
                assert seen.erased

    @invariant()
    def other_scopes_know_nothing(self) -> None:
        elsewhere = TaskStore(self.storage, "elsewhere")
        for id in list(self.known)[:1]:
            assert self._do(elsewhere.load(id)) is None
            assert self._do(elsewhere.outcome(id)) is None
            assert self._do(elsewhere.cancel(id, None)) is None


@pytest.mark.timeout(300)
def test_whatever_happens_to_a_store(url: str) -> None:
    machine = type("Machine", (Store,), {"url": url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=30,
            deadline=None,
            # A failure is short enough as it is, and each try costs a database.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_table_of_states_allows_what_the_extension_does() -> None:
    for (before, _), after in TRANSITIONS.items():
        assert before is None or after in LEGAL[before]
    assert not {before for before, _ in TRANSITIONS} & ENDS
