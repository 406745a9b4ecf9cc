"""Questions of a legacy upstream to a modern client: the upstream's call stays open between the rounds."""

import asyncio
import contextlib

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, gateway, until
from tests.gateway.upstreams import Local, federated, workshop
from trunkline import Context, Server
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.errors import InvalidParams, RemoteError, UpstreamUnavailable
from trunkline.gateway import Federation, Limits
from trunkline.portable.model import Entry

ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"n": 2, "size": "L", "name": "Ada"}},
    "sampling/createMessage": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}
ABLE = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


@contextlib.asynccontextmanager
async def behind(server, **limits):
    async with federated({"up": server}, legacy=("up",), shared=False, limits=Limits(**limits)) as (
        federation,
        engine,
        _,
    ):
        await Caller(engine).tools()
        yield federation, engine


def asker():
    """A server that asks, and tells what became of its calls."""
    server = Server("asker")
    server.seen = []

    @server.tool
    async def greet(context: Context) -> str:
        try:
            await context.progress(1, message="about to ask")
            answer = await context.elicit("Name?", {"type": "object", "properties": {"name": {"type": "string"}}})
            server.seen.append(answer.content["name"])
            await context.progress(2, message="asked")
            await context.log("info", "asked")
            await asyncio.sleep(0.1)
            return f"Hello {answer.content['name']}"
        except asyncio.CancelledError:
            server.seen.append("cancelled")
            raise

    @server.tool
    async def pay(context: Context) -> str:
        return (await context.elicit("Pay here", url="https://pay.example")).action

    @server.tool
    async def visit(context: Context) -> str:
        server.seen.append("tried")
        if len(server.seen) == 1:
            page = {"mode": "url", "message": "Sign in", "url": "https://in.example", "elicitationId": "1"}
            raise RemoteError(-32042, "pages first", {"elicitations": [page]})
        return "welcome"

    return server


def params(tool, asked=None, answers=None, **arguments):
    """The parameters of a round: the answers to what was asked before."""
    given = {"name": f"up__{tool}", "arguments": arguments}
    if asked is not None:
        given["requestState"] = asked["requestState"]
        given["inputResponses"] = {
            key: (answers or ANSWERS)[one["method"]] for key, one in asked.get("inputRequests", {}).items()
        }
    return given


async def test_one_question_after_the_other():
    async with behind(workshop()) as (federation, engine):
        caller = Caller(engine, capabilities=ABLE, answers=ANSWERS)
        assert (await caller.call("up__order", item="hats"))["content"][0]["text"] == "2 hats L"
        assert [one.params["message"] for one in caller.asked] == ["How many?", "Which size?"]
        assert federation.statuses()[0].held == 0


async def test_questions_asked_side_by_side_travel_in_one_round():
    async with behind(workshop()) as (_, engine):
        caller = Caller(engine, capabilities=ABLE, answers=ANSWERS)
        asked = await caller.once("tools/call", params("consult"))
        assert sorted(one["method"] for one in asked["inputRequests"].values()) == [
            "roots/list",
            "sampling/createMessage",
        ]
        result = await caller.once("tools/call", params("consult", asked))
        assert result["content"][0]["text"] == "Paris file:///home"


async def test_a_page_to_visit():
    async with behind(asker()) as (_, engine):
        caller = Caller(
            engine, capabilities={"elicitation": {"url": {}}}, answers={"elicitation/create": {"action": "accept"}}
        )
        assert (await caller.call("up__pay"))["content"][0]["text"] == "accept"
        assert caller.asked[0].params["url"] == "https://pay.example"


async def test_pages_that_must_be_visited_before_the_call_become_a_round():
    async with behind(asker()) as (_, engine):
        caller = Caller(
            engine, capabilities={"elicitation": {"url": {}}}, answers={"elicitation/create": {"action": "accept"}}
        )
        assert (await caller.call("up__visit"))["content"][0]["text"] == "welcome"
        assert caller.asked[0].params["url"] == "https://in.example"


async def test_a_refused_page_leaves_the_servers_error():
    async with behind(asker()) as (_, engine):
        caller = Caller(
            engine, capabilities={"elicitation": {"url": {}}}, answers={"elicitation/create": {"action": "decline"}}
        )
        with pytest.raises(RemoteError, match="pages first"):
            await caller.call("up__visit")


async def test_progress_and_logs_travel_on_the_stream_of_the_round():
    async with behind(asker()) as (_, engine):
        first, second = (Caller(engine, capabilities=ABLE, log="info") for _ in range(2))
        asked = await first.once("tools/call", {**params("greet"), "_meta": {"progressToken": "one"}})
        await second.once("tools/call", {**params("greet", asked), "_meta": {"progressToken": "two"}})
        assert [(one["params"]["progressToken"], one["params"]["progress"]) for one in first.heard] == [("one", 1)]
        progress, log = second.heard
        assert (progress["params"]["progressToken"], progress["params"]["progress"]) == ("two", 2)
        assert log["params"]["data"] == "asked"


async def test_a_round_may_be_repeated_and_answers_are_delivered_once():
    server = asker()
    async with behind(server) as (federation, engine):
        caller = Caller(engine, capabilities=ABLE)
        asked = await caller.once("tools/call", params("greet"))
        # Without answers, or with one that does not fit, the question stands.
        for answer in ({}, {"action": "accept", "content": {"name": 5}}):
            again = await caller.once("tools/call", params("greet", asked, {"elicitation/create": answer}))
            assert again["inputRequests"] == asked["inputRequests"]
        # A stream that breaks while the upstream works is issued again, with other words in it for once.
        broken = asyncio.create_task(caller.once("tools/call", params("greet", asked)))
        await until(lambda: server.seen)
        broken.cancel()
        other = {"elicitation/create": {"action": "accept", "content": {"name": "Bob"}}}
        results = [await caller.once("tools/call", params("greet", asked, other)) for _ in range(2)]
        assert [one["content"][0]["text"] for one in results] == ["Hello Ada"] * 2
        assert server.seen == ["Ada"]
        assert federation.statuses()[0].held == 0


async def test_what_is_never_answered_is_cancelled_upstream():
    server = asker()
    async with behind(server, held_seconds=0.2) as (federation, engine):
        caller = Caller(engine, capabilities=ABLE)
        asked = await caller.once("tools/call", params("greet"))
        assert federation.statuses()[0].held == 1
        await until(lambda: server.seen == ["cancelled"])
        assert federation.statuses()[0].held == 0
        with pytest.raises(UpstreamUnavailable, match="no longer holds this call") as failure:
            await caller.once("tools/call", params("greet", asked))
            assert failure.value.data == {
                "dev.trunkline/upstream": "up",
                "dev.trunkline/retry": True,
                "dev.trunkline/mayHaveRun": True,
            }


async def test_a_client_that_leaves_before_the_first_question_ends_the_call():
    server = Server("slow")
    seen = []

    @server.tool
    async def work() -> str:
        seen.append("began")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return "done"

    async with behind(server) as (_, engine):
        calling = asyncio.create_task(Caller(engine, capabilities=ABLE).once("tools/call", params("work")))
        await until(lambda: seen)
        calling.cancel()
        await until(lambda: seen == ["began", "cancelled"])


async def test_time_to_think_is_not_silence():
    async with behind(asker()) as (federation, engine):
        upstream = federation._upstreams["up"]
        upstream.entry = Entry("up", "http", url="http://local", request_timeout=0.3)
        caller = Caller(engine, capabilities=ABLE)
        asked = await caller.once("tools/call", params("greet"))
        await asyncio.sleep(0.5)
        assert (await caller.once("tools/call", params("greet", asked)))["content"][0]["text"] == "Hello Ada"


async def test_another_replica_says_that_it_does_not_hold_the_call():
    keys = Keys([b"k" * 32])
    server = asker()
    entry = Entry("up", "http", url="http://local")
    one, other = (Federation([entry], dial=Local({"up": server}, ("up",), shared=False)) for _ in range(2))
    async with gateway(one), gateway(other):
        for federation in (one, other):
            await Caller(Engine(federation, keys=keys)).tools()
        asked = await Caller(Engine(one, keys=keys), capabilities=ABLE).once("tools/call", params("greet"))
        with pytest.raises(UpstreamUnavailable, match="without requestState"):
            await Caller(Engine(other, keys=keys), capabilities=ABLE).once("tools/call", params("greet", asked))
    await server.application.stop()


async def test_the_state_is_good_for_its_caller_and_its_request_alone():
    async with behind(asker()) as (_, engine):
        alice, bob = (Caller(engine, principal=one, capabilities=ABLE) for one in (ALICE, BOB))
        asked = await alice.once("tools/call", params("greet"))
        for caller, wrong in (
            (bob, params("greet", asked)),
            (alice, params("pay", asked)),
            (alice, params("greet", asked, x=1)),
        ):
            with pytest.raises(InvalidParams, match="requestState"):
                await caller.once("tools/call", wrong)
        assert (await alice.once("tools/call", params("greet", asked)))["content"][0]["text"] == "Hello Ada"


async def test_held_calls_are_bounded_for_each_caller_and_in_all():
    server = asker()
    async with behind(server, held=3, held_each=2) as (federation, engine):
        alice, bob = (Caller(engine, principal=one, capabilities=ABLE) for one in (ALICE, BOB))
        first, _ = [await alice.once("tools/call", params("greet")) for _ in range(2)]
        with pytest.raises(UpstreamUnavailable, match="answer some first"):
            await alice.once("tools/call", params("greet"))
        await bob.once("tools/call", params("greet"))
        with pytest.raises(UpstreamUnavailable, match="3 in all"):
            await bob.once("tools/call", params("greet"))
        await until(lambda: server.seen == ["cancelled"] * 2)
        assert federation.statuses()[0].held == 3
        await alice.once("tools/call", params("greet", first))
        # One that has ended makes room, though its answer could still be fetched again.
        await bob.once("tools/call", params("greet"))


@pytest.mark.parametrize("limits", [{"held": 2}, {"held_each": 2}])
async def test_calls_that_were_answered_count_for_nothing(limits):
    async with behind(asker(), **limits) as (federation, engine):
        caller = Caller(engine, principal=ALICE, capabilities=ABLE, answers=ANSWERS)
        for _ in range(4):
            assert (await caller.call("up__greet"))["content"][0]["text"] == "Hello Ada"
        # The last results can be fetched again all the same, as many as may be held.
        assert len(federation._upstreams["up"]._holding._held) == 2


async def test_a_client_that_cannot_answer_is_not_asked():
    async with behind(asker()) as (_, engine):
        with pytest.raises(RemoteError, match="not declared"):
            await Caller(engine).call("up__greet")


async def test_a_session_logs_at_the_finest_level_its_calls_want():
    server = Server("up")
    gate = asyncio.Event()

    @server.tool
    async def wait(context: Context) -> str:
        await gate.wait()
        await context.log("debug", "fine")
        await context.log("error", "coarse")
        return "done"

    async with behind(server) as (_, engine):
        coarse, fine = (Caller(engine, "2025-11-25", log=level) for level in ("error", "debug"))
        calls = [asyncio.create_task(coarse.call("up__wait"))]
        await asyncio.sleep(0.05)
        calls.append(asyncio.create_task(fine.call("up__wait")))
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(*calls)
        heard = [[one["params"]["data"] for one in caller.heard] for caller in (coarse, fine)]
        assert "fine" in heard[1]
        assert "fine" not in heard[0]
