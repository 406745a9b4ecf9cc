"""Both eras over one stream of messages, through the in-memory connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.transports.bad import BAD_META, BAD_PARAMS, NOT_MESSAGES, ODD_RESPONSES
from tests.transports.fixture import (
    INITIALIZED,
    VERSION,
    Pipe,
    Stage,
    application_of,
    call,
    initialize,
    meta,
    request,
)
from trunkline.engine.doors import Change
from trunkline.errors import TransportError
from trunkline.protocol import json, messages
from trunkline.transports.memory import connect

TAG = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def pipe(stage: Stage) -> AsyncIterator[Pipe]:
    application = application_of(stage)
    send, receive, close = await connect(application)
    pipe = Pipe(send, receive)
    pipe.application = application
    pipe.close = close
    yield pipe
    await close()
    await application.stop()


async def begin(pipe: Pipe, revision: str = "2025-11-25", **options: object) -> dict[str, object]:
    await pipe.send(initialize(revision, **options))
    answer = await pipe.answer(0)
    await pipe.send(INITIALIZED)
    return answer["result"]


def words(answer: dict[str, object]) -> str:
    return answer["result"]["content"][0]["text"]


class TestModern:
    async def test_calls_are_answered_without_a_handshake(self, pipe: Pipe) -> None:
        await pipe.send(call(1, "echo", {"text": "hi"}, modern=True))
        answer = await pipe.answer(1)
        assert words(answer) == "hi"
        assert answer["result"]["resultType"] == "complete"

    async def test_a_slow_call_delays_nobody(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(call("slow", "wait", modern=True))
        await pipe.send(call(2, "echo", {"text": "quick"}, modern=True))
        assert words(await pipe.answer(2)) == "quick"
        stage.gate.set()
        assert words(await pipe.answer("slow")) == "waited"

    async def test_a_cancelled_call_stops_and_is_not_answered(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(call(1, "wait", token="t", modern=True))
        await pipe.notified("notifications/progress")
        await pipe.send(messages.notification("notifications/cancelled", {"requestId": 1}))
        await pipe.send(call(2, "echo", {"text": "on"}, modern=True))
        await pipe.answer(2)
        assert stage.cancelled == 1
        assert not any(message.get("id") == 1 for message in pipe.seen)

    async def test_a_call_cancelled_before_it_began_leaves_nothing(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(call(1, "wait", modern=True))
        await pipe.send(messages.notification("notifications/cancelled", {"requestId": 1}))
        await pipe.send(call(2, "echo", {"text": "on"}, modern=True))
        await pipe.answer(2)
        assert not pipe.application.inflight.calls
        assert len(pipe.seen) == 1

    async def test_cancelling_the_unknown_or_nonsense_is_ignored(self, pipe: Pipe) -> None:
        for params in ({"requestId": 77}, {"requestId": []}, {}, {"requestId": None}):
            await pipe.send(messages.notification("notifications/cancelled", params))
        await pipe.send(call(1, "echo", {"text": "alive"}, modern=True))
        assert words(await pipe.answer(1)) == "alive"
        assert len(pipe.seen) == 1

    async def test_an_id_in_flight_is_refused_and_the_first_call_undisturbed(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(call(1, "wait", modern=True))
        await pipe.send(call(1, "echo", {"text": "x"}, modern=True))
        assert (await pipe.answer(1))["error"]["code"] == -32600
        stage.gate.set()
        assert words(await pipe.answer(1)) == "waited"

    async def test_input_is_asked_in_rounds_never_by_request(self, pipe: Pipe) -> None:
        await pipe.send(call(1, "name", modern=True))
        first = (await pipe.answer(1))["result"]
        assert first["resultType"] == "input_required"
        params = {
            "name": "name",
            "arguments": {},
            "_meta": meta(),
            "requestState": first["requestState"],
            "inputResponses": {"user": {"action": "accept", "content": {"name": "Ada"}}},
        }
        await pipe.send(request(2, "tools/call", params))
        assert "Ada" in words(await pipe.answer(2))
        assert all("method" not in message for message in pipe.seen)

    @pytest.mark.parametrize("method", ["ping", "logging/setLevel", "initialize", "resources/subscribe", "nothing"])
    async def test_methods_of_the_other_era_are_not_found(self, pipe: Pipe, method: str) -> None:
        await pipe.send(request(1, method, {"_meta": meta()}))
        assert (await pipe.answer(1))["error"]["code"] == -32601

    async def test_an_unknown_revision_is_told_what_is_supported(self, pipe: Pipe) -> None:
        await pipe.send(request(1, "tools/list", {"_meta": {**meta(), VERSION: "2031-01-01"}}))
        error = (await pipe.answer(1))["error"]
        assert error["code"] == -32022
        assert "2026-07-28" in error["data"]["supported"]

    async def test_a_legacy_client_that_skips_initialize_learns_what_is_missing(self, pipe: Pipe) -> None:
        await pipe.send(request(1, "tools/list"))
        error = (await pipe.answer(1))["error"]
        assert error["code"] == -32602
        assert VERSION in error["message"]


FILTER = {"_meta": meta(), "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["test://a"]}}


class TestListen:
    async def test_acknowledged_first_then_tagged_changes_of_the_filter_alone(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(request("sub", "subscriptions/listen", FILTER))
        first = await pipe.next()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"]["_meta"][TAG] == "sub"
        assert first["params"]["notifications"] == FILTER["notifications"]
        stage.publish(Change("prompts"))
        stage.publish(Change("resource", uri="test://b"))
        stage.publish(Change("resource", uri="test://a"))
        updated = await pipe.next()
        assert updated["method"] == "notifications/resources/updated"
        assert updated["params"] == {"_meta": {TAG: "sub"}, "uri": "test://a"}

    async def test_the_client_ends_it_in_silence(self, pipe: Pipe, stage: Stage) -> None:
        await pipe.send(request(1, "subscriptions/listen", FILTER))
        await pipe.next()
        assert stage.followed == ["test://a"]
        await pipe.send(messages.notification("notifications/cancelled", {"requestId": 1}))
        await pipe.send(call(2, "echo", {"text": "x"}, modern=True))
        await pipe.answer(2)
        assert stage.followed == []
        assert len(pipe.seen) == 2

    async def test_the_server_says_that_it_tears_it_down_and_completes_it(self, pipe: Pipe) -> None:
        await pipe.send(request(1, "subscriptions/listen", FILTER))
        await pipe.next()
        await pipe.application.inflight.drain(2)
        cancelled = await pipe.next()
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == 1
        completion = await pipe.answer(1)
        assert completion["result"] == {"resultType": "complete", "_meta": {TAG: 1}}


class TestLegacy:
    @pytest.mark.parametrize(
        ("asked", "agreed"),
        [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2025-03-26", "2025-03-26"),
            ("2024-11-05", "2025-11-25"),
            ("1999-01-01", "2025-11-25"),
        ],
    )
    async def test_initialize_negotiates(self, pipe: Pipe, asked: str, agreed: str) -> None:
        result = await begin(pipe, asked)
        assert result["protocolVersion"] == agreed
        assert result["serverInfo"]["name"] == "stage"

    @pytest.mark.parametrize(
        "params", [None, [], {}, {"protocolVersion": 1}, {"protocolVersion": "x", "capabilities": 3}]
    )
    async def test_a_malformed_initialize_is_invalid_params(self, pipe: Pipe, params: object) -> None:
        await pipe.send(request(0, "initialize", params))
        assert (await pipe.answer(0))["error"]["code"] == -32602

    async def test_initialize_twice_is_refused(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(initialize())
        assert (await pipe.answer(0))["error"]["code"] == -32600

    async def test_results_have_no_modern_members(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(call(1, "echo", {"text": "hi"}))
        assert set((await pipe.answer(1))["result"]) == {"content"}

    async def test_ping_and_modern_requests_work_beside(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(request(1, "ping"))
        assert (await pipe.answer(1))["result"] == {}
        await pipe.send(call(2, "echo", {"text": "modern"}, modern=True))
        assert (await pipe.answer(2))["result"]["resultType"] == "complete"

    async def test_ping_is_answered_before_the_handshake(self, pipe: Pipe) -> None:
        await pipe.send(request(1, "ping"))
        assert (await pipe.answer(1))["result"] == {}
        assert (await begin(pipe))["protocolVersion"] == "2025-11-25"

    async def test_the_log_level_is_info_until_set(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(call(1, "chat"))
        await pipe.answer(1)
        assert [m["params"]["level"] for m in pipe.seen if "method" in m] == ["info", "error"]
        await pipe.send(request(2, "logging/setLevel", {"level": "error"}))
        assert (await pipe.answer(2))["result"] == {}
        await pipe.send(call(3, "chat"))
        await pipe.answer(3)
        assert [m["params"]["level"] for m in pipe.seen if "method" in m] == ["info", "error", "error"]

    @pytest.mark.parametrize("params", [None, {}, {"level": "loud"}, {"level": 3}, []])
    async def test_an_unknown_log_level_is_invalid(self, pipe: Pipe, params: object) -> None:
        await begin(pipe)
        await pipe.send(request(2, "logging/setLevel", params))
        assert (await pipe.answer(2))["error"]["code"] == -32602

    async def test_a_question_is_a_request_that_the_client_answers(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(call(1, "name"))
        asked = await pipe.notified("elicitation/create")
        assert asked["params"]["mode"] == "form"
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"name": "Ada"}}}
        await pipe.send(json.encode({**answer, "id": "nobody's"}))
        await pipe.send(json.encode(answer))
        assert "Ada" in words(await pipe.answer(1))

    async def test_older_revisions_know_no_elicitation_mode(self, pipe: Pipe) -> None:
        await begin(pipe, "2025-06-18")
        await pipe.send(call(1, "name"))
        assert "mode" not in (await pipe.notified("elicitation/create"))["params"]

    async def test_an_error_for_an_answer_reaches_the_author(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(call(1, "name"))
        asked = await pipe.notified("elicitation/create")
        error = {"code": -1, "message": "no screen"}
        await pipe.send(json.encode({"jsonrpc": "2.0", "id": asked["id"], "error": error}))
        answer = await pipe.answer(1)
        assert answer["result"]["isError"]
        assert "no screen" in words(answer)

    async def test_cancelling_a_call_cancels_its_question(self, pipe: Pipe, stage: Stage) -> None:
        await begin(pipe)
        await pipe.send(call(1, "name"))
        asked = await pipe.notified("elicitation/create")
        await pipe.send(messages.notification("notifications/cancelled", {"requestId": 1}))
        cancelled = await pipe.notified("notifications/cancelled")
        assert cancelled["params"]["requestId"] == asked["id"]
        assert stage.cancelled == 1

    async def test_changes_come_unasked(self, pipe: Pipe, stage: Stage) -> None:
        await begin(pipe)
        await pipe.send(request(1, "resources/subscribe", {"uri": "test://a"}))
        assert (await pipe.answer(1))["result"] == {}
        stage.publish(Change("tools"))
        assert await pipe.next() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        stage.publish(Change("resource", uri="test://a"))
        assert (await pipe.next())["params"] == {"uri": "test://a"}
        await pipe.send(request(2, "resources/unsubscribe", {"uri": "test://a"}))
        await pipe.answer(2)
        assert stage.followed == []

    async def test_what_cannot_be_followed_is_an_error(self, pipe: Pipe) -> None:
        await begin(pipe)
        await pipe.send(request(1, "resources/subscribe", {"uri": "test://unknown"}))
        assert (await pipe.answer(1))["error"]["code"] == -32602


class TestBatches:
    async def test_2025_03_26_answers_an_array_with_an_array(self, pipe: Pipe) -> None:
        await begin(pipe, "2025-03-26")
        parts = [request(1, "ping"), INITIALIZED, call(2, "echo", {"text": "b"}), b'{"id": 3}']
        await pipe.send(b"[" + b",".join(parts) + b"]")
        answers = await pipe.next()
        assert {answer["id"] for answer in answers} == {1, 2, 3}

    @pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
    async def test_later_revisions_refuse_them(self, pipe: Pipe, revision: str) -> None:
        await begin(pipe, revision)
        await pipe.send(b"[" + request(1, "ping") + b"]")
        answer = await pipe.next()
        assert answer["error"]["code"] == -32600
        assert "id" not in answer

    @pytest.mark.parametrize("body", [b"[]", b"[" + b",".join([request(1, "ping")] * 101) + b"]"])
    async def test_empty_and_huge_ones_are_refused(self, pipe: Pipe, body: bytes) -> None:
        await begin(pipe, "2025-03-26")
        await pipe.send(body)
        assert (await pipe.next())["error"]["code"] == -32600

    async def test_initialize_in_a_batch_is_refused(self, pipe: Pipe) -> None:
        await begin(pipe, "2025-03-26")
        await pipe.send(b"[" + initialize() + b"]")
        assert (await pipe.next())[0]["error"]["code"] == -32600


class TestTrouble:
    @pytest.mark.parametrize("raw", [*NOT_MESSAGES, b"", b"x" * (17 * 1024 * 1024)], ids=lambda raw: repr(raw[:50]))
    @pytest.mark.parametrize("legacy", [False, True])
    async def test_a_bad_message_is_answered_and_disturbs_nobody(self, pipe: Pipe, raw: bytes, legacy: bool) -> None:
        if legacy:
            await begin(pipe)
        await pipe.send(raw)
        error = await pipe.next()
        assert "error" in error
        await pipe.send(call("after", "echo", {"text": "fine"}, modern=not legacy))
        assert words(await pipe.answer("after")) == "fine"

    @pytest.mark.parametrize("raw", [*BAD_PARAMS, *BAD_META, *ODD_RESPONSES], ids=lambda raw: repr(raw[:80]))
    @pytest.mark.parametrize("revision", [None, "2025-03-26", "2025-11-25"])
    async def test_odd_parameters_disturb_nobody(self, pipe: Pipe, raw: bytes, revision: str | None) -> None:
        if revision is not None:
            await begin(pipe, revision)
        await pipe.send(raw)
        await pipe.send(call("after", "echo", {"text": "fine"}, modern=revision is None))
        assert words(await pipe.answer("after")) == "fine"

    @pytest.mark.parametrize("tool", ["broken", "odd"])
    async def test_a_failing_tool_is_an_internal_error_without_details(self, pipe: Pipe, tool: str) -> None:
        await pipe.send(call(1, tool, modern=True))
        error = (await pipe.answer(1))["error"]
        assert error["code"] == -32603
        assert "secret" not in error["message"]

    async def test_the_end_cancels_what_runs(self, pipe: Pipe, stage: Stage) -> None:
        await begin(pipe)
        await pipe.send(request(1, "resources/subscribe", {"uri": "test://a"}))
        await pipe.send(call(2, "wait"))
        await pipe.send(call(3, "wait", modern=True))
        await pipe.send(call(4, "name"))
        await pipe.notified("elicitation/create")
        await pipe.close()
        assert (stage.running, stage.cancelled, stage.followed) == (0, 3, [])
        assert not pipe.application.inflight.calls
        with pytest.raises(TransportError):
            await pipe.send(request(9, "ping"))

    async def test_a_deadline_ends_a_call_but_not_one_that_waits_for_a_person(self, stage: Stage) -> None:
        application = application_of(stage, call_timeout=0.3)
        send, receive, close = await connect(application)
        pipe = Pipe(send, receive)
        await begin(pipe)
        await pipe.send(call(1, "name"))
        asked = await pipe.notified("elicitation/create")
        await pipe.send(call(2, "wait"))
        assert (await pipe.answer(2))["error"]["code"] == -31004
        await pipe.send(json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}))
        assert "decline" in words(await pipe.answer(1))
        await close()
        await application.stop()

    async def test_too_many_requests_are_refused_one_by_one(self, pipe: Pipe, stage: Stage) -> None:
        for id in range(1001):
            await pipe.send(call(id, "wait", modern=True))
        assert (await pipe.answer(1000))["error"]["code"] == -31003
        while stage.running < 1000:
            await asyncio.sleep(0)
        await pipe.send(messages.notification("notifications/cancelled", {"requestId": 7}))
        while not stage.cancelled:
            await asyncio.sleep(0)
        await pipe.send(call("again", "echo", {"text": "room"}, modern=True))
        assert words(await pipe.answer("again")) == "room"
