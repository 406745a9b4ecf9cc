"""Three gateways behind Caddy and nginx, with the files in deploy/: nothing is buffered, nothing lost in a deploy."""

import asyncio
import signal
from collections.abc import Iterator

import aiohttp
import pytest

from tests.deploy.balancing import Stack, balanced
from tests.deploy.load import body, load, tool
from tests.transports.web import Events

pytestmark = pytest.mark.timeout(240)
CALLERS = 6


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with balanced(request.param, tmp_path_factory.mktemp(request.param)) as stack:
        yield stack


async def test_calls_reach_all_replicas_in_turn(stack: Stack) -> None:
    async with load(stack.url, "stage__who", callers=1) as seen:
        await seen.reaches(9)

    assert not seen.failures
    assert len(set(seen.answers[:3])) == len(set(seen.answers[:9])) == 3


async def test_events_are_seen_before_the_call_ends(stack: Stack) -> None:
    gate = stack.folder / "gate"
    data, headers = tool("stage__hold", {"gate": str(gate)}, progressToken="t")
    async with aiohttp.ClientSession() as http:
        events = Events(await http.post(stack.url, data=data, headers=headers), balanced=True)
        assert (await events.message() or {})["method"] == "notifications/progress"
        gate.touch()
        (answer,) = await events.rest()
    assert answer["result"]["content"][0]["text"] == "let go"


async def test_a_subscription_stays_open_for_longer_than_a_balancer_waits(stack: Stack) -> None:
    """A stream in which nothing happens has a comment every 15 seconds; nginx here waits for 20."""
    wanted = {"notifications": {"toolsListChanged": True}}
    data, headers = body("subscriptions/listen", wanted, id="ear")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as http:
        events = Events(await http.post(stack.url, data=data, headers=headers), balanced=True)
        assert (await events.message() or {})["method"] == "notifications/subscriptions/acknowledged"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(events.event(), 25)
        stack.write_configuration("more")
        changed = await events.message() or {}
        events.response.close()
    assert changed["method"] == "notifications/tools/list_changed"


async def test_a_deploy_under_load_fails_no_call(stack: Stack) -> None:
    before: set[str] = set()
    async with load(stack.url, "stage__who", callers=CALLERS) as seen:
        await seen.reaches(30)
        before = set(seen.answers)
        for replica in stack.replicas:
            assert await asyncio.to_thread(replica.end) == 0
            replica.start()
            await asyncio.to_thread(replica.wait_ready)
            count = len(seen.answers)
            # Until the balancer has noticed that it is back.
            while len(set(seen.answers[count:])) < 3 and not seen.failures:
                await seen.reaches(1)
    assert seen.failures == []
    assert len(before) == 3
    assert not before & set(seen.answers[-9:])


async def test_a_stream_of_a_replica_that_is_drained_ends_with_a_word(stack: Stack) -> None:
    data, headers = body("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="ear")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(None)) as http:
        streams = [Events(await http.post(stack.url, data=data, headers=headers), balanced=True) for _ in range(3)]
        for stream in streams:
            assert (await stream.message() or {})["method"] == "notifications/subscriptions/acknowledged"
        (replica, *_) = stack.replicas
        ended = [asyncio.create_task(stream.rest()) for stream in streams]
        assert await asyncio.to_thread(replica.end) == 0
        done, pending = await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        for stream in streams:
            stream.response.close()
        replica.start()
        await asyncio.to_thread(replica.wait_ready)
    # What changed before may have been told as well.
    for last in [one.result()[-1] for one in done]:
        assert (last["id"], last["result"]["resultType"]) == ("ear", "complete")


async def test_a_killed_replica_costs_the_calls_it_was_answering_and_no_others(stack: Stack) -> None:
    (_, replica, _) = stack.replicas
    async with load(stack.url, "stage__who", callers=CALLERS) as seen:
        await seen.reaches(30)
        replica.end(signal.SIGKILL)
        while len(seen.answers) < 300:
            await asyncio.sleep(0.05)
    assert len(seen.failures) <= CALLERS, seen.failures
    replica.start()
    await asyncio.to_thread(replica.wait_ready)
