"""What a client makes of the answers about its task: decisions alone, with the time given."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import InvalidAnswer
from trunkline.extensions.tasks.polling import TaskState, Watch, created, detailed, told

SHOWN: dict[str, object] = {
    "taskId": "t-1",
    "status": "working",
    "createdAt": "2026-11-02T09:00:00Z",
    "lastUpdatedAt": "2026-11-02T09:00:00Z",
    "ttlMs": 60_000,
    "pollIntervalMs": 2_000,
}
QUESTION: dict[str, object] = {"method": "roots/list"}
EPOCH = datetime(2026, 11, 2, 9, tzinfo=UTC)


def shown(**more: object) -> TaskState:
    return detailed({**SHOWN, **more}, "t-1")


def test_the_facts_of_a_task() -> None:
    state = created({**SHOWN, "resultType": "task", "statusMessage": "soon"})

    assert (state.id, state.status, state.message, state.ttl, state.poll) == ("t-1", "working", "soon", 60.0, 2.0)
    assert state.created == EPOCH
    assert state.known and not state.ended


@pytest.mark.parametrize("field", ["createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs", "statusMessage"])
@pytest.mark.parametrize("value", [None, "soon", -1, True, [], {}])
def test_what_is_not_needed_to_go_on_may_be_wrong(field: str, value: object) -> None:
    watch = Watch("t-1", shown(**{field: value}), 0.0)

    assert watch.wait(0.0) > 0
    assert not watch.over(30.0)


@given(st.floats(0, 1e12))
def test_a_server_can_make_its_client_neither_spin_nor_sleep_for_ever(interval: float) -> None:
    wait = Watch("t-1", shown(pollIntervalMs=interval), 0.0).wait(0.0)

    assert 0.1 <= wait <= 3600
    assert wait >= min(interval / 1000, 3600)


@given(skew=st.floats(-1e9, 1e9), looks=st.lists(st.floats(0, 59), max_size=5))
def test_a_life_never_ends_early_whatever_the_clocks_say(skew: float, looks: list[float]) -> None:
    watch = Watch("t-1", shown(), skew)
    for at in sorted(looks):
        watch.saw(shown(lastUpdatedAt=(EPOCH + timedelta(seconds=at)).isoformat()), skew + at)

    assert not watch.over(skew + 59)
    assert watch.over(skew + 60 + 60)


def test_a_task_without_end_is_never_over() -> None:
    assert not Watch("t-1", shown(ttlMs=None), 0.0).over(1e9)


@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=12))
def test_no_key_is_asked_twice(rounds: list[set[str]]) -> None:
    watch = Watch("t-1", None, 0.0)
    asked: list[str] = []
    for number, keys in enumerate(rounds):
        watch.saw(shown(status="input_required", inputRequests=dict.fromkeys(keys, QUESTION)), number)
        asked += watch.ask()

    assert sorted(asked) == sorted(set().union(*rounds))


def test_failures_wait_longer_each_time_and_as_long_as_the_server_wants() -> None:
    watch = Watch("t-1", shown(), 0.0)
    waits = [watch.missed(0.0, 0.0) for _ in range(30)]

    assert waits == sorted(waits)
    assert waits[0] < 1 and waits[-1] == 30
    assert watch.missed(0.0, 100.0) == 100
    watch.saw(shown(), 1.0)
    assert watch.missed(1.0, 0.0) == waits[0]


def test_a_server_that_tells_is_looked_at_once_more_and_then_seldom() -> None:
    watch = Watch("t-1", shown(), 0.0)

    assert watch.wait(0.5, listening=0.5) == 1.5
    watch.saw(shown(), 2.0)
    assert watch.wait(2.0, listening=0.5) == 30
    assert watch.wait(2.0) == 2


@pytest.mark.parametrize("status", ["completed", "failed", "input_required"])
def test_half_a_state_is_invalid_from_a_look_and_a_hint_from_a_notification(status: str) -> None:
    half = {**SHOWN, "status": status}

    with pytest.raises(InvalidAnswer):
        detailed(half, "t-1")
    assert not told(half, "t-1").known
