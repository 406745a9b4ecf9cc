"""Supervision of real child processes and of connections that break on command."""

import asyncio
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trunkline.client.process import ChildProcess
from trunkline.errors import TransportError, UpstreamUnavailable
from trunkline.gateway.supervision import TRANSITIONS, Backoff, State, Status, Supervised

FAST = Backoff(base=0.02, cap=0.1, steady=60, quick_failures=3, slow=0.2, start=5)
PATIENT = Backoff(base=1000, cap=1000, quick_failures=3, slow=1000)


class Line:
    """A connection that ends when told to."""

    def __init__(self) -> None:
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closings = 0
        self.busy = False

    async def closed(self) -> str:
        return await asyncio.shield(self.end)

    async def close(self) -> None:
        self.closings += 1

    async def retire(self) -> None:
        try:
            while self.busy:
                await asyncio.sleep(0.01)
        finally:
            await self.close()


class Lines:
    """Makes connections; `fail` says which attempts fail."""

    def __init__(self, fail: Callable[[int], bool] = lambda attempt: False) -> None:
        self.made: list[Line] = []
        self.attempts = 0
        self._fail = fail

    async def __call__(self) -> Line:
        self.attempts += 1
        await asyncio.sleep(0)
        if self._fail(self.attempts):
            raise TransportError(f"attempt {self.attempts} failed")
        self.made.append(Line())
        return self.made[-1]


class Server:
    """A connection that is a child process."""

    def __init__(self, child: ChildProcess) -> None:
        self.child = child

    busy = False

    async def closed(self) -> str:
        await self.child.wait()
        return self.child.reason

    async def close(self) -> None:
        await self.child.close()

    retire = close


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def always(attempt: int) -> bool:
    return True


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_state_can_be_reached_and_stopped() -> None:
    states = set(State.__args__)  # type: ignore[attr-defined]
    assert {state for state, _ in TRANSITIONS} == states
    assert set(TRANSITIONS.values()) == states
    assert {state for state, event in TRANSITIONS if event == "stop"} == states - {"stopped", "stopping"}


def test_the_wait_doubles_up_to_its_cap_with_full_jitter() -> None:
    backoff = Backoff(quick_failures=1000)
    assert [backoff.wait(n, 1.0) for n in (1, 2, 3, 6, 7, 8, 500)] == [0.5, 1, 2, 16, 30, 30, 30]
    assert backoff.wait(3, 0.0) == 0
    assert Backoff().wait(5, 0.0) == 60
    assert Backoff().wait(5, 1.0) == 120


# --- starting on demand -----------------------------------------------------------------------------------------------


async def test_the_first_caller_starts_it_and_all_share_the_connection() -> None:
    connect = Lines()
    upstream = Supervised("a", connect)
    assert upstream.state == "stopped"
    assert upstream.connection is None
    connections = await asyncio.gather(*(upstream.ready(5) for _ in range(20)))
    assert set(connections) == {connect.made[0]}
    assert upstream.connection is connect.made[0]
    assert connect.attempts == 1
    await upstream.stop()
    assert connect.made[0].closings == 1


async def test_a_caller_learns_at_once_that_it_backs_off_and_why() -> None:
    upstream = Supervised("clock", Lines(always), backoff=PATIENT)
    with pytest.raises(UpstreamUnavailable) as caught:
        await upstream.ready(1000)
    assert caught.value.message.startswith("upstream clock is down: attempt 1 failed; next attempt in ")
    data = caught.value.data
    assert isinstance(data, dict)
    assert data["dev.trunkline/upstream"] == "clock"
    assert data["dev.trunkline/state"] == "backing_off"
    assert data["dev.trunkline/retry"] is True
    assert 0 <= data["dev.trunkline/retryAfterMs"] <= 1_000_000
    with pytest.raises(UpstreamUnavailable):
        await upstream.ready(1000)
    await upstream.stop()


async def test_while_what_ended_is_cleared_away_callers_wait_for_why() -> None:
    class Slow(Line):
        async def close(self) -> None:
            await clearing.wait()

    async def connect() -> Line:
        return Slow()

    clearing = asyncio.Event()
    upstream = Supervised("clock", connect, backoff=PATIENT)
    lost = await upstream.ready(5)
    lost.end.set_result("its process ended")
    await until(lambda: upstream.connection is None)
    callers = asyncio.gather(upstream.ready(5), upstream.renewed(lost, 5), return_exceptions=True)
    await asyncio.sleep(0.05)
    assert not callers.done(), callers.result()
    clearing.set()
    told, renewed = await callers
    assert isinstance(told, UpstreamUnavailable)
    assert told.message.startswith("upstream clock is down: its process ended; next attempt in ")
    assert renewed is None
    await upstream.stop()


async def test_a_caller_waits_no_longer_than_it_wants_for_a_slow_start() -> None:
    async def never() -> Line:
        await asyncio.sleep(1000)
        raise AssertionError

    upstream = Supervised("slow", never)
    with pytest.raises(UpstreamUnavailable, match=r"upstream slow is still starting after 0\.05 s"):
        await upstream.ready(0.05)
    assert upstream.state == "starting"
    await upstream.stop()
    assert upstream.state == "stopped"


async def test_a_start_that_takes_too_long_is_a_failure() -> None:
    async def never() -> Line:
        await asyncio.sleep(1000)
        raise AssertionError

    upstream = Supervised("slow", never, backoff=Backoff(base=1000, cap=1000, start=0.05))
    with pytest.raises(UpstreamUnavailable, match=r"did not start within 0\.05 s"):
        await upstream.ready(10)
    await upstream.stop()


# --- breaking ---------------------------------------------------------------------------------------------------------


async def test_a_broken_connection_is_closed_and_made_again() -> None:
    seen: list[Status] = []
    connect = Lines()
    upstream = Supervised("a", connect, backoff=FAST, on_change=seen.append)
    first = await upstream.ready(5)
    first.end.set_result("it fell over")
    await until(lambda: upstream.state == "ready" and len(connect.made) == 2)
    assert first.closings == 1
    assert [status.state for status in seen] == ["starting", "ready", "backing_off", "starting", "ready"]
    assert seen[2].error == "it fell over"
    assert seen[2].retry_at is not None
    assert seen[4].attempts == 2
    assert [status.since for status in seen] == sorted(status.since for status in seen)
    await upstream.stop()
    assert [status.state for status in seen[5:]] == ["stopping", "stopped"]


async def test_what_is_under_way_over_a_broken_connection_may_come_back_and_holds_up_nothing() -> None:
    connect = Lines()
    upstream = Supervised("a", connect, backoff=FAST)
    first = await upstream.ready(5)
    first.busy = True
    first.end.set_result("it takes no new connections")
    await until(lambda: upstream.state == "ready" and len(connect.made) == 2)
    assert first.closings == 0
    first.busy = False
    await until(lambda: first.closings == 1)
    second = await upstream.ready(5)
    second.busy = True
    second.end.set_result("and so does it")
    await until(lambda: len(connect.made) == 3)
    connect.made[2].busy = True
    await upstream.stop()
    assert second.closings == connect.made[2].closings == 1


async def test_a_crash_loop_is_called_failed_and_tried_on() -> None:
    seen: list[Status] = []
    connect = Lines(lambda attempt: attempt < 6)
    upstream = Supervised("a", connect, backoff=FAST, on_change=seen.append)
    upstream.start()
    await until(lambda: upstream.state == "failed")
    with pytest.raises(UpstreamUnavailable, match="upstream a keeps failing: attempt 3 failed"):
        await upstream.ready(5)
    await until(lambda: upstream.state == "ready")
    states = [status.state for status in seen]
    assert states[:6] == ["starting", "backing_off", "starting", "backing_off", "starting", "failed"]
    assert states[-1] == "ready"
    assert connect.attempts == 6
    await upstream.stop()


async def test_a_connection_that_lasted_starts_the_count_again() -> None:
    seen: list[Status] = []
    connect = Lines()
    steady = Backoff(base=0.001, cap=0.001, steady=0.0, quick_failures=2)
    upstream = Supervised("a", connect, backoff=steady, on_change=seen.append)
    upstream.start()
    for n in range(1, 7):
        await until(lambda n=n: len(connect.made) == n)  # type: ignore[misc]
        connect.made[-1].end.set_result("done")
    await upstream.stop()
    assert "failed" not in {status.state for status in seen}


async def test_an_unexpected_error_is_a_failure_like_any_other_and_tells_no_details() -> None:
    attempts = itertools.count()

    async def connect() -> Line:
        if next(attempts) == 0:
            raise KeyError("password=hunter2")
        return Line()

    upstream = Supervised("a", connect, backoff=PATIENT)
    with pytest.raises(UpstreamUnavailable, match="KeyError") as caught:
        await upstream.ready(5)
    assert "hunter2" not in str(caught.value)
    await upstream.stop()


async def test_a_status_callback_that_raises_disturbs_nothing() -> None:
    def broken(status: Status) -> None:
        raise RuntimeError(status.state)

    upstream = Supervised("a", Lines(), on_change=broken)
    assert await upstream.ready(5)
    await upstream.stop()


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["starting", "ready", "backing_off", "failed"])
async def test_it_stops_from_every_state_and_starts_again(state: State) -> None:
    fail = {"backing_off": lambda n: n == 1, "failed": lambda n: n <= 3}.get(state, lambda n: False)
    connect = Lines(fail)
    backoff = FAST if state == "failed" else PATIENT
    upstream = Supervised("a", connect, backoff=backoff)
    upstream.start()
    await until(lambda: upstream.state == state)
    await asyncio.gather(upstream.stop(), upstream.stop())
    assert upstream.state == "stopped"
    assert all(line.closings == 1 for line in connect.made)
    connect.attempts = 100
    assert await upstream.ready(5) is connect.made[-1]
    await upstream.stop()


async def test_who_waits_while_it_is_stopped_is_told() -> None:
    async def never() -> Line:
        await asyncio.sleep(1000)
        raise AssertionError

    upstream = Supervised("a", never)
    waiting = asyncio.ensure_future(upstream.ready(1000))
    await until(lambda: upstream.state == "starting")
    await upstream.stop()
    with pytest.raises(UpstreamUnavailable, match="is being stopped"):
        await waiting


# --- real processes ---------------------------------------------------------------------------------------------------


def server(code: str, upstreams: list[Supervised[Server]], pids: list[int]) -> Callable[[], Awaitable[Server]]:
    async def connect() -> Server:
        child = await ChildProcess.start(sys.executable, ["-c", code], on_stderr=upstreams[0].hear)
        pids.append(child.pid)
        try:
            if await child.read_line() is None:
                raise TransportError(child.reason)
        except BaseException:
            await child.close()
            raise
        return Server(child)

    return connect


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def supervised(code: str, pids: list[int], backoff: Backoff) -> Supervised[Server]:
    upstreams: list[Supervised[Server]] = []
    upstreams.append(Supervised("server", server(code, upstreams, pids), backoff=backoff))
    return upstreams[0]


async def test_a_killed_server_comes_back() -> None:
    pids: list[int] = []
    upstream = supervised("import sys; print('up', flush=True); sys.stdin.read()", pids, FAST)
    connection = await upstream.ready(20)
    os.kill(connection.child.pid, 9)
    await until(lambda: upstream.state == "ready" and len(pids) == 2)
    assert "was killed by SIGKILL" in upstream.status.error
    await upstream.stop()
    assert alive(pids) == []


async def test_a_server_that_cannot_start_shows_why_and_leaves_nothing() -> None:
    pids: list[int] = []
    upstream = supervised("import sys; sys.exit('no configuration found')", pids, FAST)
    upstream.start()
    await until(lambda: upstream.state == "failed")
    status = upstream.status
    assert "exited with code 1 after " in status.error
    assert status.stderr[-1] == "no configuration found"
    assert "configuration" not in status.error
    assert status.attempts >= 3
    await upstream.stop()
    assert alive(pids) == []


async def test_stopping_in_the_middle_of_a_start_leaves_no_process() -> None:
    pids: list[int] = []
    upstream = supervised("import sys; sys.stdin.read()", pids, FAST)
    upstream.start()
    await until(lambda: len(pids) == 1)
    await upstream.stop()
    assert alive(pids) == []


async def test_fifty_restarts_leave_no_descriptor() -> None:
    pids: list[int] = []
    quick = Backoff(base=0.001, cap=0.001, quick_failures=1000)
    upstream = supervised("print('up', flush=True)", pids, quick)
    # It lives too short a time to be waited for: `ready` would find it between two lives.
    upstream.start()
    await until(lambda: len(pids) >= 3)
    before = len(os.listdir("/proc/self/fd"))
    await until(lambda: len(pids) >= 50)
    await upstream.stop()
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert alive(pids) == []
