"""Replicas of one gateway, one database: what a process of one replica keeps is found from every other one."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, until
from tests.storage.conftest import QUICK, url  # noqa: F401
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.errors import ProtocolError, RemoteError, StorageUnavailable, UpstreamUnavailable
from trunkline.gateway import Federation
from trunkline.gateway.dialling import Dialler
from trunkline.portable.model import Entry
from trunkline.transports.stored import Stored

STAGE = Path(__file__).with_name("stage_stateful.py")
ABLE = {"elicitation": {"form": {}}}
ANSWERS = {"elicitation/create": {"action": "accept", "content": {"name": "Ada"}}}


class Replica:
    """One process of the gateway, as far as a test can tell."""

    def __init__(self, database: str, era: str = "legacy", processes: str = "per-session", **options: object) -> None:
        entry = Entry("up", "stdio", command=sys.executable, args=(str(STAGE),), processes=processes, **options)
        self.shared = Stored(database, QUICK)
        dial = Dialler({"name": "gateway", "version": "0"}, era=era)
        self.federation = Federation([entry], shared=self.shared, dial=dial)
        self.engine = Engine(self.federation, keys=Keys([b"k" * 32]))

    async def start(self) -> None:
        await self.shared.start()
        await self.federation.start()
        await Caller(self.engine).tools()

    async def stop(self) -> None:
        await self.federation.stop()
        await self.shared.stop()

    async def die(self) -> None:
        """As if killed: it says no word more, and its processes end."""
        self.shared.storage.replicas._beating.cancel()
        for session in list(self.federation._upstreams["up"]._sessions._sessions.values()):
            await session.connection.close()
        self.federation._elsewhere._leave()
        self.federation._elsewhere._leave = None
        while await self.shared.storage.replicas.alive(self.shared.replicas.name):
            await asyncio.sleep(0.05)

    def caller(self, revision: str = "2025-11-25", **options: object) -> Caller:
        return Caller(self.engine, revision, capabilities=ABLE, answers=ANSWERS, **options)


@contextlib.asynccontextmanager
async def replicas(database: str, count: int = 2, **options: object) -> AsyncIterator[list[Replica]]:
    async with contextlib.AsyncExitStack() as stack:
        made = [Replica(database, **options) for _ in range(count)]
        for one in made:
            await one.start()
            stack.push_async_callback(one.stop)
        yield made


async def unavailable(*_: object) -> bool:
    raise StorageUnavailable("The database is away")


def text(result: dict) -> str:
    return result["content"][0]["text"]


async def test_a_callers_process_is_found_from_every_replica(url: str) -> None:  # noqa: F811
    async with replicas(url, 3) as (a, b, c):
        one, two, three = [
            text(await replica.caller(principal=ALICE).call("up__remember", word=word))
            for replica, word in ((a, "x"), (b, "y"), (c, "z"))
        ]
        process = one.partition(":")[0]
        assert (one, two, three) == (f"{process}: x", f"{process}: x y", f"{process}: x y z")
        assert text(await b.caller(principal=BOB).call("up__remember", word="mine")).endswith(": mine")


async def test_calls_at_once_agree_on_one_process(url: str) -> None:  # noqa: F811
    async with replicas(url, 3) as made:
        told = await asyncio.gather(
            *(one.caller(principal=ALICE).call("up__remember", word="x") for one in made for _ in range(4))
        )
        assert len({text(one).partition(":")[0] for one in told}) == 1
        assert max(len(text(one).split()) for one in told) == 1 + 12


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_questions_progress_and_errors_come_through(url: str, revision: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        # From here on the process of this caller is at the first one.
        await a.caller(revision).call("up__remember", word="x")
        caller = b.caller(revision)
        params = {"name": "up__greet", "arguments": {}, "_meta": {"progressToken": "p"}}
        assert text(await caller.request("tools/call", params)) == "Hello Ada"
        assert [one.params["message"] for one in caller.asked] == ["Name?"]
        progress = [one["params"] for one in caller.heard if one["method"] == "notifications/progress"]
        assert [one["progress"] for one in progress][:1] == [1]
        assert {one["progressToken"] for one in progress} == {"p"}
        failed = await caller.call("up__fail")
        assert failed["isError"] is True
        with pytest.raises(ProtocolError, match="nothing"):
            await caller.call("up__nothing")


async def test_a_round_finds_the_held_call_from_every_replica(url: str) -> None:  # noqa: F811
    async with replicas(url, 3) as (a, b, c):
        asked = await a.caller("2026-07-28").once("tools/call", {"name": "up__greet", "arguments": {}})
        answers = {key: ANSWERS[one["method"]] for key, one in asked["inputRequests"].items()}
        again = {"name": "up__greet", "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers}
        assert text(await b.caller("2026-07-28").once("tools/call", again)) == "Hello Ada"
        # A broken stream is issued again, and the answer is the same.
        assert text(await c.caller("2026-07-28").once("tools/call", again)) == "Hello Ada"


async def test_a_round_reaches_the_process_that_asked(url: str) -> None:  # noqa: F811
    """A modern server seals its state with keys of its own process, which is another one at each replica."""
    async with replicas(url, 3, era="modern", processes="shared") as (a, b, c):
        asked = await a.caller("2026-07-28").once("tools/call", {"name": "up__greet", "arguments": {}})
        answers = {key: ANSWERS[one["method"]] for key, one in asked["inputRequests"].items()}
        again = {"name": "up__greet", "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers}
        for replica in (b, c, a):
            assert text(await replica.caller("2026-07-28").once("tools/call", again)) == "Hello Ada"


async def test_a_round_whose_process_is_gone_is_one_clear_error(url: str) -> None:  # noqa: F811
    async with replicas(url, era="modern", processes="shared") as (a, b):
        asked = await a.caller("2026-07-28").once("tools/call", {"name": "up__greet", "arguments": {}})
        await a.die()
        again = {"name": "up__greet", "arguments": {}, "requestState": asked["requestState"]}
        with pytest.raises(UpstreamUnavailable, match="without requestState") as told:
            await b.caller("2026-07-28").once("tools/call", again)
        assert told.value.data["dev.trunkline/retry"] is True


async def test_a_cancelled_call_ends_where_it_runs(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        calling = asyncio.create_task(b.caller().call("up__sleep", seconds=60))
        upstream = a.federation._upstreams["up"]
        await until(lambda: a.federation._elsewhere._incoming)
        await asyncio.sleep(0.2)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await until(lambda: not a.federation._elsewhere._incoming)
        assert not any(session.relays for session in upstream._sessions._sessions.values())


async def test_a_process_lost_with_its_replica_is_told_once(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        await a.die()
        with pytest.raises(UpstreamUnavailable, match="lost what it kept") as told:
            await b.caller().call("up__remember", word="y")
        assert told.value.data["dev.trunkline/retry"] is True
        assert text(await b.caller().call("up__remember", word="y")).endswith(": y")
        assert b.federation.statuses()[0].lost == 1


async def test_or_replaced_unsaid_as_configured(url: str) -> None:  # noqa: F811
    async with replicas(url, lost_process="replace") as (a, b):
        await a.caller().call("up__remember", word="x")
        await a.die()
        assert text(await b.caller().call("up__remember", word="y")).endswith(": y")
        assert b.federation.statuses()[0].lost == 1


async def test_a_held_call_lost_with_its_replica_is_one_clear_error(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        asked = await a.caller("2026-07-28").once("tools/call", {"name": "up__greet", "arguments": {}})
        await a.die()
        again = {"name": "up__greet", "arguments": {}, "requestState": asked["requestState"]}
        with pytest.raises(UpstreamUnavailable, match="without requestState") as told:
            await b.caller("2026-07-28").once("tools/call", again)
        assert told.value.data["dev.trunkline/retry"] is True


async def test_a_call_under_way_at_a_replica_that_dies_is_one_clear_error(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        calling = asyncio.create_task(b.caller().call("up__sleep", seconds=60))
        await until(lambda: a.federation._elsewhere._incoming)
        a.federation._elsewhere._tell = lambda *_: asyncio.sleep(3600)
        await a.die()
        with pytest.raises(ProtocolError, match="may have run"):
            await asyncio.wait_for(calling, 20)


async def test_who_waits_is_answered_although_late_to_beat(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        b.shared.storage.replicas._beating.cancel()
        called = b.caller().call("up__sleep", seconds=QUICK.lease + 1)
        assert text(await asyncio.wait_for(called, 20)) == "slept"


async def test_a_call_that_outlives_the_database_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("trunkline.gateway.elsewhere._OUTAGE", 1.0)
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        calling = asyncio.create_task(b.caller().call("up__sleep", seconds=60))
        await until(lambda: a.federation._elsewhere._incoming)
        monkeypatch.setattr(b.federation._elsewhere.replicas, "alive", unavailable)
        with pytest.raises(ProtocolError, match="may have run"):
            await asyncio.wait_for(calling, 20)


async def test_a_call_that_does_no_harm_twice_goes_on_where_its_replica_dies(url: str) -> None:  # noqa: F811
    async with replicas(url, lost_process="replace") as (a, b):
        home = text(await a.caller().call("up__who"))
        calling = asyncio.create_task(b.caller().call("up__who", seconds=3))
        await until(lambda: a.federation._elsewhere._incoming)
        a.federation._elsewhere._tell = lambda *_: asyncio.sleep(3600)
        await a.die()
        assert text(await asyncio.wait_for(calling, 20)) != home


async def test_a_call_to_a_replica_that_was_dead_by_then_is_begun_elsewhere(url: str) -> None:  # noqa: F811
    async with replicas(url, lost_process="replace") as (a, b):
        await a.caller().call("up__remember", word="x")
        # Nothing is read there any more, and nobody knows it yet.
        for task in a.shared.storage.replicas._exchange._tasks:
            task.cancel()
        calling = asyncio.create_task(b.caller().call("up__remember", word="y"))
        await asyncio.sleep(0.5)
        await a.die()
        assert text(await asyncio.wait_for(calling, 20)).endswith(": y")


async def test_a_replica_that_drains_finishes_what_it_began_and_begins_no_more(url: str) -> None:  # noqa: F811
    async with replicas(url, lost_process="replace") as (a, b):
        home = text(await a.caller().call("up__remember", word="x")).partition(":")[0]
        calling = asyncio.create_task(b.caller().call("up__sleep", seconds=2))
        elsewhere = a.federation._elsewhere
        await until(lambda: elsewhere.inflight.calls)
        await elsewhere.inflight.drain(0)
        fresh = text(await b.caller().call("up__remember", word="y"))
        assert fresh.endswith(": y") and not fresh.startswith(home)
        assert elsewhere.inflight.calls
        assert text(await calling) == "slept"
        await until(lambda: not elsewhere.inflight.calls)
        assert b.federation.statuses()[0].lost == 0


async def test_a_held_call_keeps_a_replica_from_ending_and_is_answered_while_it_drains(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        asked = await a.caller("2026-07-28").once("tools/call", {"name": "up__greet", "arguments": {}})
        inflight = a.federation._elsewhere.inflight
        await inflight.drain(0)
        assert inflight.calls
        answers = {key: ANSWERS[one["method"]] for key, one in asked["inputRequests"].items()}
        again = {"name": "up__greet", "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers}
        assert text(await b.caller("2026-07-28").once("tools/call", again)) == "Hello Ada"
        await until(lambda: not inflight.calls)


async def test_a_call_that_reaches_a_replica_at_its_end_is_not_lost(url: str) -> None:  # noqa: F811
    async with replicas(url, 1, lost_process="replace") as (b,):
        a = Replica(url, lost_process="replace")
        await a.start()
        await a.caller().call("up__remember", word="x")
        calling: list[asyncio.Task[dict]] = []

        async def call_late() -> None:
            # Everything that answers is gone; only the database still knows the replica.
            calling.append(asyncio.create_task(b.caller().call("up__remember", word="y")))
            await asyncio.sleep(1)

        stop, a.federation.stop = a.federation.stop, call_late
        await stop()
        await a.stop()
        assert text(await asyncio.wait_for(calling[0], 5)).endswith(": y")


async def test_a_replica_that_stops_gives_its_processes_up(url: str) -> None:  # noqa: F811
    async with replicas(url, 1) as (b,):
        a = Replica(url)
        await a.start()
        await a.caller().call("up__remember", word="x")
        await a.stop()
        assert text(await b.caller().call("up__remember", word="y")).endswith(": y")


async def test_what_another_replica_does_not_understand_is_passed_over(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await b.shared.replicas.send(a.shared.replicas.name, "calls", b"\xc1 nonsense")
        await a.caller().call("up__remember", word="x")
        assert text(await b.caller().call("up__remember", word="y")).endswith(": x y")


async def test_an_answer_nobody_asked_for_changes_nothing(url: str) -> None:  # noqa: F811
    async with replicas(url) as (a, b):
        await a.caller().call("up__remember", word="x")
        caller = b.caller()
        caller.answers = {"elicitation/create": RemoteError(-32601, "no such thing")}
        assert "no such thing" in str(await caller.call("up__greet"))
