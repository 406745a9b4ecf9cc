"""The verdict on a campaign sees each thing it is there for: records of one call, right, and wrong in one way."""

import copy
from collections.abc import Callable

import pytest

from tests.extensions.tasks.verdict import ATTEMPTS, Did, Kind, Told, faults

KINDS = {
    "often": Kind(again=True, asks=True),
    "once": Kind(asks=True),
    "flaky": Kind(again=True),
    "late": Kind(kept=False),
    "relayed": Kind(again=True, asks=True, counted=False),
}
Record = tuple[Told, Did]


def task(status: str, attempt: int = 1, **more: object) -> dict[str, object]:
    return {"status": status, "_meta": {"dev.trunkline/attempt": attempt}, **more}


def completed(text: str, attempt: int = 1) -> dict[str, object]:
    return task("completed", attempt, result={"content": [{"type": "text", "text": text}]})


def failed(attempt: int = 1, **data: object) -> dict[str, object]:
    named = {f"dev.trunkline/{name}": value for name, value in data.items()}
    return task("failed", attempt, error={"code": -32603, "message": "no", "data": named})


def lines(*words: str) -> Did:
    return Did([(what, detail) for what, detail in (word.split(":") for word in words)])


def asked(tool: str) -> Record:
    """Three steps, a question between the second and the third, and nothing that was killed."""
    before = ("run:1", "one:k1", "kept:one", "two:k2", "kept:two")
    after = ("run:1", "kept:one", "kept:two", "told:Ann", "three:k3", "kept:three")
    return Told(tool, "t-1", completed("Ann"), ["Ann"]), lines(*before, *after)


def killed_in_its_second_step() -> Record:
    told, did = asked("often")
    told.task = completed("Ann", 2)
    again = ("run:2", "kept:one", "two:k2", "kept:two", "run:2", "kept:one", "kept:two", "told:Ann", "three:k3")
    did.lines = [*did.lines[:4], *lines(*again).lines]
    return told, did


def answered_twice_by_a_client_that_heard_nothing() -> Record:
    told, did = asked("once")
    told.answers.append("Bob")
    return told, did


RIGHT: dict[str, Callable[[], Record]] = {
    "often": lambda: asked("often"),
    "once": lambda: asked("once"),
    "killed in a step": killed_in_its_second_step,
    "two answers of which one counts": answered_twice_by_a_client_that_heard_nothing,
    "once, lost": lambda: (Told("once", "t-1", failed(reason="lost")), lines("run:1", "one:k1")),
    "once, lost behind a gateway": lambda: (Told("once", "t-1", failed(mayHaveRun=True)), lines("run:1")),
    "flaky": lambda: (Told("flaky", "t-1", completed("done", 3)), lines("run:1", "run:2", "run:3")),
    "flaky to the end": lambda: (Told("flaky", "t-1", failed(ATTEMPTS)), lines("run:1")),
    "answered in the call": lambda: (Told("late", direct={"content": []}), lines("run:1")),
    "a call without a record that was lost": lambda: (Told("late", lost=True), Did()),
    "relayed": lambda: (
        Told("relayed", "t-1", completed("Ann"), ["Ann"]),
        lines("run:-", "run:-", "run:-", "told:Ann"),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_found_right(name: str) -> None:
    told, did = RIGHT[name]()

    assert faults(KINDS, {0: told}, {0: did} if did.lines else {}) == []


def stays(status: str) -> Callable[[Told, Did], None]:
    def wrong(told: Told, did: Did) -> None:
        told.task = task(status)

    return wrong


def without_a_task(told: Told, did: Did) -> None:
    told.id = told.task = None


def lost_with_a_record(told: Told, did: Did) -> None:
    told.id, told.task, told.lost = None, None, True


def failing(attempt: int, **data: object) -> Callable[[Told, Did], None]:
    def wrong(told: Told, did: Did) -> None:
        told.task = failed(attempt, **data)

    return wrong


def doing(*words: str) -> Callable[[Told, Did], None]:
    def wrong(told: Told, did: Did) -> None:
        did.lines = lines(*words).lines

    return wrong


def doing_more(*words: str) -> Callable[[Told, Did], None]:
    def wrong(told: Told, did: Did) -> None:
        did.lines = [*did.lines, *lines(*words).lines]

    return wrong


def giving(text: str) -> Callable[[Told, Did], None]:
    def wrong(told: Told, did: Did) -> None:
        told.task = completed(text)

    return wrong


def unasked(told: Told, did: Did) -> None:
    """It goes on without having been answered."""
    told.answers = []


WRONG: dict[str, tuple[str, Callable[[Told, Did], None], str]] = {
    "a task that was never made": ("once", without_a_task, "lost or stuck"),
    "a call that was lost though it is kept": ("often", lost_with_a_record, "lost or stuck"),
    "a task that stays where it is": ("often", stays("working"), "lost or stuck"),
    "a task that waits for ever": ("once", stays("input_required"), "lost or stuck"),
    "a task that is cancelled": ("often", stays("cancelled"), "cancelled by nobody"),
    "giving up early": ("often", failing(3, reason="lost"), "failed, though it may be tried again"),
    "giving up what may not run twice": ("once", failing(1), "failed, though it may be tried again"),
    "a once-only tool that runs again": ("once", doing_more("run:2"), "ran again though it may not"),
    "a once-only tool that runs again unanswered": ("once", unasked, "ran again though it may not"),
    "a once-only call that runs again": ("late", doing("run:1", "run:1"), "ran again though it may not"),
    "one attempt more than there may be": ("flaky", doing(f"run:{ATTEMPTS + 1}"), "ran beyond its policy"),
    "an attempt after a later one": ("flaky", doing("run:1", "run:3", "run:2"), "ran beyond its policy"),
    "an attempt that two workers make": ("flaky", doing("run:1", "run:1"), "an attempt was made twice"),
    "a recorded step that is computed again": ("often", doing_more("run:2", "one:k1"), "step one was recorded, and"),
    "the last step computed again": ("often", doing_more("run:2", "three:k3"), "step three was recorded, and"),
    "a step that runs again under another key": ("once", doing_more("two:k4"), "step two got two keys"),
    "an answer that is applied twice": ("often", doing_more("told:Bob"), "two answers were applied"),
    "an answer that nobody gave": ("often", doing_more("told:Eve"), "was told what nobody answered"),
    "a result with another answer": ("once", giving("Bob"), "the answer 'Bob' is not the one"),
    "a result out of nowhere": ("relayed", doing(), "completed without a run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_seen(name: str) -> None:
    tool, wrong, said = WRONG[name]
    told, did = copy.deepcopy(RIGHT[{"late": "answered in the call"}.get(tool, tool)]())
    wrong(told, did)

    assert any(said in fault for fault in faults(KINDS, {0: told}, {0: did})), faults(KINDS, {0: told}, {0: did})


def test_a_key_that_two_calls_share_is_seen() -> None:
    (first, did), (second, other) = asked("often"), asked("often")
    other.lines = [(what, {"k1": "k4", "k2": "k5"}.get(detail, detail)) for what, detail in other.lines]

    assert faults(KINDS, {0: first, 1: second}, {0: did, 1: other}) == ["the idempotency key k3 was used for 2 steps"]


def test_a_run_that_nobody_asked_for_is_seen() -> None:
    told, did = asked("often")

    assert faults(KINDS, {0: told}, {0: did, 7: lines("run:1")}) == ["7: ran, and nobody called it"]
