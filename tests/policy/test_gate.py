"""One bound: who goes through, who waits, who is turned away."""

import asyncio

import pytest

from trunkline.policy.gate import Full, Gate


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def gate(concurrent=None, rate=None, queue=10, wait=5.0, clock=None):
    return Gate(concurrent, rate, queue, wait, clock or asyncio.get_running_loop().time)


async def waiting(one, *names):
    """Tasks that wait in this order; each notes its name when its turn comes."""
    order = []

    async def go(name):
        await one.pass_in_turn(name)
        order.append(name)

    tasks = []
    for name in names:
        tasks.append(asyncio.create_task(go(name)))
        await asyncio.sleep(0)
    return order, tasks


async def test_so_many_at_once_and_the_next_when_one_leaves():
    one = gate(concurrent=2)
    assert one.pass_now()
    assert one.pass_now()
    assert not one.pass_now()
    order, tasks = await waiting(one, "a")
    assert order == []
    one.leave()
    await asyncio.gather(*tasks)
    assert order == ["a"]
    one.leave()
    one.leave()
    assert one.idle


async def test_those_who_wait_take_turns_whoever_came_first_with_many():
    one = gate(concurrent=1)
    assert one.pass_now()
    order, tasks = await waiting(one, "greedy", "greedy", "greedy", "b", "c", "b")
    for _ in range(6):
        one.leave()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["greedy", "b", "c", "greedy", "b", "greedy"]


async def test_nobody_overtakes_those_who_wait():
    one = gate(concurrent=1)
    assert one.pass_now()
    _, tasks = await waiting(one, "a", "b")
    one.leave()
    assert not one.pass_now()
    await tasks[0]
    one.leave()
    await tasks[1]


async def test_a_full_queue_takes_from_who_has_most():
    one = gate(concurrent=1, queue=3)
    assert one.pass_now()
    _, tasks = await waiting(one, "greedy", "greedy", "greedy")
    with pytest.raises(Full):
        await one.pass_in_turn("greedy")
    _, (modest,) = await waiting(one, "modest")
    with pytest.raises(Full):
        await tasks[2]
    for task in (tasks[0], modest, tasks[1]):
        one.leave()
        await task
    one.leave()
    assert one.idle


async def test_no_wait_is_endless():
    one = gate(concurrent=1, wait=0.02)
    assert one.pass_now()
    with pytest.raises(Full) as full:
        await one.pass_in_turn("a")
    assert full.value.after > 0
    one.leave()
    assert one.idle


async def test_one_that_is_cancelled_gives_its_turn_to_the_next():
    one = gate(concurrent=1)
    assert one.pass_now()
    order, (first, second) = await waiting(one, "a", "b")
    one.leave()
    first.cancel()  # in the very moment its turn came
    await second
    assert order == ["b"]
    one.leave()
    assert one.idle


async def test_so_many_a_second_and_when_the_next_would_be():
    clock = Clock()
    one = gate(rate=2.0, wait=0.4, clock=clock)
    assert one.pass_now()
    assert one.pass_now()
    assert not one.pass_now()
    with pytest.raises(Full) as full:
        await one.pass_in_turn("a")
    assert full.value.after == pytest.approx(0.5)
    clock.now += 0.5
    assert one.pass_now()
    assert not one.pass_now()
    clock.now += 60
    assert [one.pass_now() for _ in range(3)] == [True, True, False]


async def test_calls_that_wait_for_the_rate_get_through_by_themselves():
    one = gate(rate=50.0)
    while one.pass_now():
        pass
    order, tasks = await waiting(one, "a", "b", "a")
    await asyncio.gather(*tasks)
    assert order == ["a", "b", "a"]
