"""The clock of a call."""

import asyncio

import pytest

from trunkline.client.patience import Patience, Pulse
from trunkline.errors import RequestTimeout


async def test_what_a_call_does_in_several_steps_shares_the_total_time() -> None:
    patience = Patience(None, 0.4)
    await patience.bound(asyncio.sleep(0.3))
    with pytest.raises(RequestTimeout, match="no end after") as caught:
        await patience.bound(asyncio.sleep(10))

    # Nothing was sent yet, so that sending it again is safe.
    assert (caught.value.limit, caught.value.delivered, caught.value.silent) == ("total", False, True)


async def test_a_timeout_of_the_work_itself_is_not_taken_for_one_of_the_clock() -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await Patience(10, 10).bound(work())


@pytest.mark.parametrize(("heard", "silent"), [(True, False), (False, True)])
async def test_it_tells_whether_anything_came(heard: bool, silent: bool) -> None:
    patience, pulse = Patience(10, 0.2, deadline=True), Pulse()

    async def work() -> None:
        patience.attend(pulse)
        if heard:
            pulse.beat()
        await asyncio.sleep(10)

    with pytest.raises(RequestTimeout, match="the call's own deadline") as caught:
        await patience.bound(work())
    assert (caught.value.limit, caught.value.silent, caught.value.delivered) == ("deadline", silent, True)


async def test_who_cancels_a_call_is_not_told_of_a_timeout() -> None:
    task = asyncio.create_task(Patience(10, 10).bound(asyncio.sleep(10)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_left_when_a_person_has_answered_is_all_there_is() -> None:
    patience = Patience(60, 0.4, 60)

    async def work() -> None:
        patience.attend(Pulse())
        with patience.stopped():
            await asyncio.sleep(0.8)
        await asyncio.sleep(30)

    async with asyncio.timeout(20):
        with pytest.raises(RequestTimeout, match="no end after"):
            await patience.bound(work())
