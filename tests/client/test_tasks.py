"""Calls that become tasks, against a server that speaks the wire by hand: every turn a task may take."""

import asyncio
import subprocess
import sys
import time

import pytest
from aiohttp import web

from tests.client.by_hand import BREAK, DONE, ID, TASKS, ByHand, asking, cut, error, finished, status, task
from tests.client.raw import Message, answer, initialized, serving
from trunkline import (
    Client,
    ElicitRequest,
    InvalidAnswer,
    RemoteError,
    TaskCancelled,
    TaskExpired,
    ToolError,
    TransportError,
)

CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


async def test_a_call_waits_for_its_task_and_declares_what_it_takes() -> None:
    hand = ByHand(task("working", statusMessage="half"), finished())
    said: list[object] = []
    async with serving(hand) as url, Client(url) as client:
        await client.server()
        result = await client.call("slow", n=1, progress=lambda *report: said.append(report))

    assert result.text == "done"
    assert said == [(1, None, "half")]
    declared = [
        (method, TASKS in params["_meta"][CAPABILITIES].get("extensions", {}))  # type: ignore[index]
        for method, params, _ in hand.seen
        if method != "subscriptions/listen"
    ]
    assert declared == [("server/discover", False), ("tools/call", True), ("tasks/get", True), ("tasks/get", True)]
    names = [headers.get("Mcp-Name") for method, _, headers in hand.seen if method == "tasks/get"]
    assert names == [ID, ID]


async def test_a_plain_answer_costs_no_further_request() -> None:
    hand = ByHand(created=lambda request, message: dict(DONE))
    async with serving(hand) as url, Client(url) as client:
        assert (await client.call("quick")).text == "done"
        handle = await client.start("quick")
        assert handle.done and not handle.id
        assert (await handle.result()).text == "done"
        assert [state.status async for state in handle] == ["completed"]
        await handle.cancel()

    assert [method for method, *_ in hand.seen] == ["server/discover", "tools/call", "tools/call"]


async def test_polls_keep_the_interval_the_server_wishes() -> None:
    times: list[float] = []

    def look(request: web.Request, message: Message) -> Message:
        times.append(time.monotonic())
        return task("working", poll=400) if len(times) < 3 else finished()

    async with serving(ByHand(look, created=task("working", poll=300))) as url, Client(url) as client:
        began = time.monotonic()
        await client.call("slow")

    # Waits are never shorter than what was asked for, however busy this machine is.
    assert times[0] - began >= 0.29
    assert times[1] - times[0] >= 0.39
    assert times[2] - times[1] >= 0.39


@pytest.mark.parametrize("first", ["completed", "input_required", "failed"])
async def test_what_a_new_task_does_not_carry_is_asked_for_at_once(first: str) -> None:
    ended: dict[str, Message] = {
        "completed": finished(),
        "input_required": asking("a"),
        "failed": task("failed", error={"code": -32603, "message": "broken"}),
    }
    hand = ByHand(ended[first], finished(), created=task(first, poll=3_600_000))
    async with serving(hand) as url, Client(url, elicit=lambda request: {}) as client:
        handle = await client.start("slow")
        async with asyncio.timeout(20):
            async for state in handle:
                assert state.status == first
                break


async def test_questions_are_answered_once_however_often_they_are_shown() -> None:
    asked: list[str] = []

    def elicit(request: ElicitRequest) -> dict[str, object]:
        asked.append(request.message)
        return {"n": len(asked)}

    # The first update is not applied yet, then in part, then something new is asked.
    hand = ByHand(asking("a", "b"), asking("a", "b"), asking("b"), asking("b", "c"), task("working"), finished())
    async with serving(hand) as url, Client(url, elicit=elicit) as client:
        assert (await client.call("ask")).text == "done"

    accepted = [{key: answer["content"] for key, answer in update.items()} for update in hand.answers()]  # type: ignore[index]
    assert accepted == [{"a": {"n": 1}, "b": {"n": 2}}, {"c": {"n": 3}}]


async def test_answers_survive_a_lost_connection() -> None:
    hand = ByHand(asking("a"), finished())
    lost: list[str] = []

    async def broken_once(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] == "tasks/update" and not lost:
            lost.append("update")
            cut(request, message)
            return web.Response()
        return await hand(request)

    asked: list[str] = []
    async with (
        serving(broken_once) as url,
        Client(url, elicit=lambda request: asked.append(request.message) or {}) as client,  # type: ignore[func-returns-value]
    ):
        assert (await client.call("ask")).text == "done"

    assert lost and len(asked) == 1
    assert len(hand.answers()) == 1


async def test_a_question_that_cannot_be_answered_ends_the_call_and_its_task() -> None:
    hand = ByHand(asking("a"))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer, match="cannot be given"):
            await client.call("ask")

    assert [params["taskId"] for params in hand.params("tasks/cancel")] == [ID]


async def test_a_task_that_never_has_enough_is_left() -> None:
    asked = iter(range(1000))
    hand = ByHand(lambda request, message: asking(f"key-{next(asked)}"))
    async with serving(hand) as url, Client(url, elicit=lambda request: {}, rounds=3) as client:
        with pytest.raises(InvalidAnswer, match="3 times"):
            await client.call("ask")

    assert len(hand.answers()) == 3


async def test_a_failed_task_raises_the_error_it_carries() -> None:
    hand = ByHand(task("failed", error={"code": -31005, "message": "upstream gone", "data": {"a": 1}}))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(RemoteError, match="upstream gone") as caught:
            await client.call("slow")

    assert (caught.value.remote_code, caught.value.data) == (-31005, {"a": 1})
    assert not hand.params("tasks/cancel")


async def test_a_tool_that_failed_is_a_completed_task() -> None:
    failed = {"content": [{"type": "text", "text": "the disk is full"}], "isError": True}
    async with serving(ByHand(task("completed", result=failed))) as url, Client(url) as client:
        with pytest.raises(ToolError, match="the disk is full"):
            await client.call("slow")
        assert (await client.call("slow", check=False)).is_error


async def test_a_task_that_somebody_cancelled_says_so() -> None:
    hand = ByHand(task("cancelled", statusMessage="by the operator"))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TaskCancelled, match="by the operator") as caught:
            await client.call("slow")

    assert caught.value.task == ID


EXPIRED = {"dev.trunkline/reason": "expired", "dev.trunkline/expiredAt": "2026-11-02T09:00:00Z"}


@pytest.mark.parametrize(
    "gone",
    [
        error(-32602, "expired at 9", EXPIRED),
        error(-32602, "unknown task"),
        task("failed", error={"code": -32603, "message": "expired", "data": EXPIRED}),
    ],
    ids=["said", "unknown though it was shown", "failed"],
)
async def test_an_expired_task_says_so(gone: object) -> None:
    hand = ByHand(task("working"), gone)  # type: ignore[arg-type]
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TaskExpired, match=ID) as caught:
            await client.call("slow")

    assert caught.value.task == ID


async def test_resuming_tells_unknown_from_expired() -> None:
    hand = ByHand(error(-32602, "expired at 9", EXPIRED), error(-32602, "unknown task"))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TaskExpired) as caught:
            await client.resume(ID)
        with pytest.raises(RemoteError, match="unknown task"):
            await client.resume(ID)

    assert caught.value.expired_at == "2026-11-02T09:00:00Z"


async def test_a_life_that_shrank_and_ended_is_not_waited_for() -> None:
    # As if its server's clock were years off: only its own times count.
    hand = ByHand(task("working"), task("working", ttl=1_000, age=3_600))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TaskExpired, match="published life"):
            await client.call("slow")


async def test_busy_and_broken_servers_are_asked_again() -> None:
    lost: list[Message] = []

    def busy(request: web.Request, message: Message) -> web.StreamResponse:
        lost.append(message)
        return web.Response(status=429, headers={"Retry-After": "1"})

    hand = ByHand(busy, cut, status(503), status(502), error(-31006, "no database"), finished())
    async with serving(hand) as url, Client(url) as client:
        began = time.monotonic()
        assert (await client.call("slow")).text == "done"

    assert time.monotonic() - began >= 1.0
    assert len(hand.params("tasks/get")) == 6


async def test_a_poll_that_is_refused_is_not_repeated() -> None:
    hand = ByHand(status(403))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TransportError, match="403"):
            await client.call("slow")

    assert len(hand.params("tasks/get")) == 1


async def test_an_unreachable_server_is_given_up_in_the_end() -> None:
    async with serving(ByHand(status(503))) as url, Client(url, maximum=1.0) as client:
        with pytest.raises(TransportError, match="503"):
            await client.call("slow")


async def test_cancelling_a_call_cancels_its_task() -> None:
    hand = ByHand(task("working"))
    async with serving(hand) as url, Client(url) as client:
        call = asyncio.ensure_future(client.call("slow"))
        while not hand.params("tasks/get"):
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [params["taskId"] for params in hand.params("tasks/cancel")] == [ID]


async def test_a_time_limit_of_the_caller_cancels_the_task_too() -> None:
    hand = ByHand(task("working"))
    async with serving(hand) as url, Client(url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.call("slow")

        assert len(hand.params("tasks/cancel")) == 1


async def test_who_stops_waiting_for_a_handle_cancels_nothing() -> None:
    hand = ByHand(task("working"))
    async with serving(hand) as url, Client(url) as client:
        handle = await client.start("slow")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await handle.result()
        assert not hand.params("tasks/cancel")
        hand.states = [finished()]
        assert (await handle.result()).text == "done"
        assert handle.done

        await handle.cancel()
        assert not hand.params("tasks/cancel")


async def test_a_handle_shows_its_states_and_cancels_when_told() -> None:
    hand = ByHand(task("working", statusMessage="one"), task("working", statusMessage="two"), task("cancelled"))
    async with serving(hand) as url, Client(url) as client:
        handle = await client.start("slow")
        assert (await handle.status()).message == "one"
        await handle.cancel()
        states = [(state.status, state.message) async for state in handle]
        with pytest.raises(TaskCancelled):
            await handle.result()

    assert states == [("working", "one"), ("working", "two"), ("cancelled", None)]
    assert len(hand.params("tasks/cancel")) == 1


async def test_a_task_is_taken_up_again_by_another_process() -> None:
    hand = ByHand(task("working"), finished())
    async with serving(hand) as url:
        async with Client(url) as client:
            id = (await client.start("slow")).id
        code = f"""
import asyncio
from trunkline import Client
async def main():
    async with Client({url!r}) as client:
        print((await (await client.resume({id!r})).result()).text)
asyncio.run(main())
"""
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
        out, _ = await process.communicate()

    assert out.decode().strip() == "done"


async def test_a_question_nobody_got_to_answer_is_asked_again() -> None:
    begun = asyncio.Event()
    patient = False

    async def elicit(request: ElicitRequest) -> dict[str, object]:
        begun.set()
        if not patient:
            await asyncio.sleep(60)
        return {"n": 1}

    hand = ByHand(asking("a"))
    async with serving(hand) as url, Client(url, elicit=elicit) as client:
        handle = await client.start("ask")
        waiting = asyncio.ensure_future(handle.result())
        await begun.wait()
        waiting.cancel()
        await asyncio.wait({waiting})
        patient, hand.states = True, [asking("a"), finished()]
        assert (await handle.result()).text == "done"

    assert len(hand.answers()) == 1


async def test_a_server_that_tells_is_hardly_polled() -> None:
    hand = ByHand(task("working", poll=100), listens="yes")
    async with serving(hand) as url, Client(url, elicit=lambda request: {}) as client:
        call = asyncio.ensure_future(client.call("slow"))
        while not hand.params("tasks/get"):  # once, since it may have changed before the subscription was active
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        polls = len(hand.params("tasks/get"))
        hand.news.put_nowait(asking("a"))
        while not hand.answers():
            await asyncio.sleep(0.01)
        hand.news.put_nowait(finished())
        assert (await call).text == "done"

    assert polls <= 2
    assert hand.streams == 1
    assert hand.params("subscriptions/listen")[0]["notifications"] == {"taskIds": [ID]}


async def test_news_without_the_outcome_makes_the_client_look() -> None:
    hand = ByHand(task("working"), finished(), listens="yes")
    async with serving(hand) as url, Client(url) as client:
        call = asyncio.ensure_future(client.call("slow"))
        while not hand.params("tasks/get"):
            await asyncio.sleep(0.01)
        hand.news.put_nowait(task("completed"))
        assert (await asyncio.wait_for(call, 20)).text == "done"


async def test_polling_goes_on_when_a_server_stops_telling() -> None:
    hand = ByHand(task("working"), task("working"), finished(), listens="yes")
    hand.news.put_nowait(None)
    async with serving(hand) as url, Client(url) as client:
        assert (await asyncio.wait_for(client.call("slow"), 20)).text == "done"

    assert len(hand.params("tasks/get")) == 3


async def test_a_client_that_was_told_of_changes_looks_as_soon_as_its_stream_breaks() -> None:
    hand = ByHand(task("working"), listens="yes")
    async with serving(hand) as url, Client(url) as client:
        call = asyncio.ensure_future(client.call("slow"))
        while not hand.params("tasks/get"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        looks = len(hand.params("tasks/get"))
        hand.states = [finished()]
        hand.news.put_nowait(BREAK)
        # While it is told it would not look for half a minute.
        assert (await asyncio.wait_for(call, 20)).text == "done"

    assert len(hand.params("tasks/get")) == looks + 1


async def test_a_stream_that_broke_is_opened_again_and_polls_fill_the_time_between() -> None:
    hand = ByHand(task("working", poll=500), listens="yes")
    async with serving(hand) as url, Client(url) as client:
        call = asyncio.ensure_future(client.call("slow"))
        while not hand.params("tasks/get"):
            await asyncio.sleep(0.01)
        hand.news.put_nowait(BREAK)
        async with asyncio.timeout(30):
            while hand.streams < 2:
                await asyncio.sleep(0.01)
        looks = len(hand.params("tasks/get"))
        hand.news.put_nowait(task("working", statusMessage="again"))
        hand.news.put_nowait(finished())
        assert (await asyncio.wait_for(call, 20)).text == "done"

    assert looks >= 4
    assert len(hand.params("tasks/get")) <= looks + 2


@pytest.mark.parametrize("listens", ["no", "ignores"])
async def test_a_server_that_does_not_tell_is_asked_once_to(listens: str) -> None:
    hand = ByHand(task("working"), task("working"), finished(), listens=listens)
    async with serving(hand) as url, Client(url) as client:
        await client.call("slow")
        hand.states = [task("working"), task("working"), finished()]
        await client.call("slow")

    assert len(hand.params("subscriptions/listen")) == 1
    assert len(hand.params("tasks/get")) == 6


async def test_many_tasks_share_a_few_streams() -> None:
    # Where looks are due all the time, as on a busy machine they are each tenth of a second, nobody begins to listen.
    hand = ByHand(task("working", poll=2000), created=task("working", poll=2000), listens="yes")
    async with serving(hand) as url, Client(url) as client:
        handles = [await client.start("slow") for _ in range(40)]
        waiting = [asyncio.ensure_future(handle.result()) for handle in handles]
        while len(hand.params("tasks/get")) < 40:
            await asyncio.sleep(0.01)
        assert 1 <= hand.streams <= 16
        hand.states = [finished()]
        for _ in range(hand.streams):
            hand.news.put_nowait(None)
        assert [result.text for result in await asyncio.gather(*waiting)] == ["done"] * 40


@pytest.mark.parametrize(
    "wrong",
    [
        {"taskId": None},
        {"status": "sleeping"},
    ],
)
async def test_what_is_no_task_is_an_invalid_answer(wrong: Message) -> None:
    async with serving(ByHand(finished(), created={**task("working"), **wrong})) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer):
            await client.call("slow")


@pytest.mark.parametrize(
    "wrong",
    [{**finished(), "taskId": "t-other"}, task("completed"), task("input_required"), task("failed"), {"taskId": ID}],
)
async def test_a_look_that_shows_no_task_is_an_invalid_answer(wrong: Message) -> None:
    async with serving(ByHand(wrong)) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer):
            await client.call("slow")


async def test_a_task_for_anything_but_a_call_is_an_invalid_answer() -> None:
    async def tasks_everywhere(request: web.Request) -> web.StreamResponse:
        message = await request.json()
        if message["method"] == "resources/read":
            return web.json_response(answer(message, {"resultType": "task", **task("working")}))
        return await hand(request)

    hand = ByHand(finished())
    async with serving(tasks_everywhere) as url, Client(url) as client:
        with pytest.raises(InvalidAnswer, match="resources/read"):
            await client.read("a://b")


async def test_a_legacy_server_has_no_tasks() -> None:
    async def legacy(request: web.Request) -> web.StreamResponse:
        message = await request.json() if request.method == "POST" else {}
        if message.get("method") == "initialize":
            return web.json_response(answer(message, initialized(tools={})))
        if message.get("method") == "tools/call":
            calls.append(message["params"])
            return web.json_response(answer(message, {"resultType": "task", **task("working")}))
        return web.Response(status=202 if request.method == "POST" else 405)

    calls: list[Message] = []
    async with serving(legacy) as url, Client(url, era="legacy") as client:
        with pytest.raises(InvalidAnswer, match="2025-11-25"):
            await client.call("slow")

    assert TASKS not in str(calls)


@pytest.mark.parametrize(("extensions", "sent"), [({"dev.trunkline/tasks": {}}, ["k1", "k1"]), ({}, [None])])
async def test_a_lost_call_is_sent_again_where_its_key_finds_the_task(extensions: Message, sent: list[object]) -> None:
    """A server that does not declare keys is sent none."""

    def lost_once(request: web.Request, message: Message) -> web.StreamResponse | Message:
        keys.append(message["params"]["_meta"].get("dev.trunkline/idempotencyKey"))  # type: ignore[index]
        return cut(request, message) if len(keys) == 1 else {**task("working"), "resultType": "task"}

    keys: list[object] = []
    hand = ByHand(finished(), created=lost_once, extensions=extensions)
    async with serving(hand) as url, Client(url) as client:
        if extensions:
            assert (await client.call("slow", idempotency_key="k1")).text == "done"
        else:
            with pytest.raises(TransportError):
                await client.start("slow", idempotency_key="k1")

    assert keys == sent


def test_a_server_imports_nothing_of_it() -> None:
    code = "import sys; from trunkline import Server; Server('x'); print([m for m in sys.modules if 'tasks' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
