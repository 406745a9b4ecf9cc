"""One timer for all requests to a peer: each ends at its own limit, and none leaves anything behind."""

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from trunkline.client.channel import Body, Call, Headers
from trunkline.client.modern import ModernPeer
from trunkline.client.peer import Greeting
from trunkline.errors import RequestTimeout


class Hanging:
    """A channel whose answers come when the test says so."""

    duplex = False
    pulse = None

    def __init__(self) -> None:
        self.ids: Iterator[int] = itertools.count(1)
        self.calls: list[Call] = []
        self.answers: list[asyncio.Future[Body]] = []

    async def start(self, sink: Callable[[Body], None]) -> None: ...

    async def exchange(self, call: Call) -> Body:
        self.calls.append(call)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def send(self, body: bytes, headers: Headers = ()) -> None: ...

    async def close(self) -> None: ...

    def answer(self, number: int) -> None:
        self.answers[number].set_result({"jsonrpc": "2.0", "id": self.calls[number].id, "result": {"n": number}})


class Timers(asyncio.SelectorEventLoop):
    """Counts the timers that are set, and tells those that still run."""

    def __init__(self) -> None:
        super().__init__()
        self.set: list[asyncio.TimerHandle] = []

    def call_at(self, *args: object, **options: object) -> asyncio.TimerHandle:
        self.set.append(super().call_at(*args, **options))
        return self.set[-1]

    def running(self) -> list[asyncio.TimerHandle]:
        return [timer for timer in self.set if not timer.cancelled() and timer.when() > self.time()]


def peer() -> tuple[ModernPeer, Hanging]:
    channel = Hanging()
    return ModernPeer(channel, Greeting({"name": "test", "version": "1"}), "raw"), channel


async def asked(channel: Hanging, count: int) -> None:
    while len(channel.calls) < count:
        await asyncio.sleep(0)


async def test_each_request_ends_at_its_own_limit() -> None:
    one, channel = peer()
    slow = asyncio.create_task(one.request("tools/list", {}, timeout=60))
    quick = asyncio.create_task(one.request("tools/list", {}, timeout=0.05))
    middle = asyncio.create_task(one.request("tools/list", {}, timeout=0.15))
    await asked(channel, 3)

    with pytest.raises(RequestTimeout):
        await quick
    assert not middle.done()
    with pytest.raises(RequestTimeout):
        await middle
    assert not slow.done()
    channel.answer(0)
    assert await slow == {"n": 0}


async def test_a_request_whose_time_is_up_before_it_begins_ends_at_once() -> None:
    one, _ = peer()

    with pytest.raises(RequestTimeout):
        await one.request("tools/list", {}, timeout=60, maximum=0)


async def test_signs_of_life_count_anew_but_not_beyond_the_maximum() -> None:
    one, channel = peer()
    clock = asyncio.get_running_loop().time

    async def hear(method: str, params: dict[str, object]) -> None: ...

    began = clock()
    given = {"_meta": {"progressToken": "mine"}}
    request = asyncio.create_task(one.request("tools/call", given, timeout=0.2, maximum=0.5, on_notification=hear))
    await asked(channel, 1)
    params = {"progressToken": channel.calls[0].id, "progress": 1}
    message: Body = {"method": "notifications/progress", "params": params}
    while not request.done():
        await one.take(channel.calls[0], message)
        await asyncio.sleep(0.02)

    with pytest.raises(RequestTimeout):
        await request
    assert clock() - began >= 0.45


async def test_whoever_is_cancelled_from_outside_is_not_told_of_a_timeout() -> None:
    one, channel = peer()
    request = asyncio.create_task(one.request("tools/list", {}, timeout=60))
    await asked(channel, 1)
    request.cancel()
    channel.calls[0].patience.over = "request"  # both at the same moment
    request.cancel()

    with pytest.raises(asyncio.CancelledError):
        await request


async def test_a_task_goes_on_after_its_request_was_late() -> None:
    one, _ = peer()

    async def work() -> int:
        with pytest.raises(RequestTimeout):
            await one.request("tools/list", {}, timeout=0.02)
        await asyncio.sleep(0.02)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert await asyncio.create_task(work()) == 0


@pytest.mark.parametrize("open_at_close", [False, True])
def test_many_requests_share_a_timer_and_leave_none_behind(open_at_close: bool) -> None:
    loop = Timers()

    async def main() -> None:
        one, channel = peer()
        requests = [asyncio.create_task(one.request("tools/list", {}, timeout=60)) for _ in range(100)]
        await asked(channel, 100)
        assert len(loop.set) == 1
        if open_at_close:
            await one.close()
            assert loop.running()
        for number in range(100):
            channel.answer(number)
        await asyncio.gather(*requests)
        await one.close()
        assert loop.running() == []

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
