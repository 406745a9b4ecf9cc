"""Legacy Streamable HTTP on a real socket."""

import asyncio
from collections.abc import Sequence

import aiohttp
import pytest

from tests.transports.fixture import INITIALIZED, Stage, application_of, call, initialize, request
from tests.transports.test_duplex import words
from tests.transports.web import Events, Web, served
from trunkline.engine.context import Context
from trunkline.engine.doors import Change
from trunkline.protocol import json, messages, sse
from trunkline.runtime import inflight
from trunkline.runtime.application import Application
from trunkline.transports import http_session, streams
from trunkline.transports.http import HTTPTransport
from trunkline.transports.sessions import SessionLimits


async def until(condition: object) -> None:
    """Let the loop turn until something is so; the test's timeout is the bound."""
    while not condition():
        await asyncio.sleep(0.005)


class TestSessions:
    async def test_initialize_gives_a_session_id_of_visible_ascii(self, web: Web) -> None:
        result = await web.begin()
        assert result["protocolVersion"] == "2025-11-25"
        assert all(0x21 <= ord(character) <= 0x7E for character in web.headers["Mcp-Session-Id"])

    async def test_what_a_client_tells_of_itself_must_fit_into_a_header(self, web: Web) -> None:
        await web.begin(capabilities={"elicitation": {}, "experimental": {"x": "y" * 10_000}})
        assert len(web.headers["Mcp-Session-Id"]) < 1000
        assert (await Events(await web.post(call(1, "name"))).message())["method"] == "elicitation/create"
        refused = await web.post(initialize(capabilities={"extensions": {"x": "y" * 10_000}}))
        assert (await refused.json())["error"]["code"] == -32602

    async def test_calls_are_answered_with_json(self, web: Web) -> None:
        await web.begin()
        response = await web.post(call(1, "echo", {"text": "hi"}))
        assert response.headers["Content-Type"] == "application/json"
        answer = await response.json()
        assert words(answer) == "hi"
        assert set(answer["result"]) == {"content"}

    async def test_requests_without_a_session_are_told_to_begin(self, web: Web) -> None:
        for response in (await web.post(request(1, "tools/list")), await web.get(), await web.delete()):
            assert response.status == 400
            assert "initialize" in (await response.json())["error"]["message"]

    async def test_an_ended_session_is_gone(self, web: Web, application: Application) -> None:
        await web.begin()
        assert (await web.delete()).status == 204
        for response in (await web.post(request(1, "ping")), await web.get(), await web.delete()):
            assert response.status == 404

    @pytest.mark.parametrize("forged", ["x", "!" * 400, "AQ" * 60])
    async def test_a_forged_session_is_not_found(self, web: Web, forged: str) -> None:
        assert (await web.post(request(1, "ping"), Mcp_Session_Id=forged)).status == 404

    async def test_a_changed_session_id_is_not_found(self, web: Web) -> None:
        await web.begin()
        good = web.headers["Mcp-Session-Id"]
        for changed in (good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), good + "A", good[1:]):
            assert (await web.post(request(1, "ping"), Mcp_Session_Id=changed)).status == 404

    @pytest.mark.parametrize("version", ["2024-11-05", "1999-01-01", "junk"])
    async def test_versions_that_are_not_served_in_sessions_are_refused(self, web: Web, version: str) -> None:
        await web.begin()
        assert (await web.post(request(1, "ping"), MCP_Protocol_Version=version)).status == 400
        assert (await web.get(MCP_Protocol_Version=version)).status == 400

    async def test_the_version_header_may_be_absent(self, web: Web) -> None:
        await web.begin()
        del web.headers["MCP-Protocol-Version"]
        assert (await (await web.post(request(1, "ping"))).json())["result"] == {}

    async def test_ping_and_log_level_answer_an_empty_result(self, web: Web) -> None:
        await web.begin()
        assert (await (await web.post(request(1, "ping"))).json()) == {"jsonrpc": "2.0", "id": 1, "result": {}}
        response = await web.post(request(2, "logging/setLevel", {"level": "error"}))
        assert (await response.json())["result"] == {}
        logged = await Events(await web.post(call(3, "chat"))).rest()
        assert [message["params"]["level"] for message in logged if "method" in message] == ["error"]

    async def test_errors_of_requests_travel_with_200(self, web: Web) -> None:
        await web.begin()
        for body, code in (
            (request(1, "nothing"), -32601),
            (request(1, "server/discover"), -32601),
            (request(1, "logging/setLevel", {"level": "loud"}), -32602),
            (request(1, "tools/call", {"name": 7}), -32602),
            (call(1, "broken"), -32603),
            (call(1, "odd"), -32603),
        ):
            response = await web.post(body)
            answer = await response.json()
            assert (response.status, answer["error"]["code"], answer["id"]) == (200, code, 1)

    async def test_three_calls_at_once_are_all_answered(self, web: Web) -> None:
        await web.begin()
        responses = await asyncio.gather(*(web.post(call(id, "echo", {"text": id})) for id in (1, 2, 3)))
        assert [words(await response.json()) for response in responses] == ["1", "2", "3"]

    async def test_an_id_in_flight_is_refused(self, web: Web, stage: Stage) -> None:
        await web.begin()
        first = Events(await web.post(call(1, "wait", token="t")))
        await first.message()
        assert (await (await web.post(request(1, "ping"))).json())["error"]["code"] == -32600
        stage.gate.set()
        assert words((await first.rest())[-1]) == "waited"

    async def test_cancelling_ends_the_stream_without_an_answer(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "wait", token="t")))
        await events.message()
        assert (await web.post(messages.notification("notifications/cancelled", {"requestId": 1}))).status == 202
        assert await events.rest() == []
        assert stage.cancelled == 1

    async def test_ending_a_session_ends_its_calls_and_streams(self, web: Web, stage: Stage) -> None:
        await web.begin()
        listening = Events(await web.get())
        await web.post(request(7, "resources/subscribe", {"uri": "test://a"}))
        call_events = Events(await web.post(call(1, "wait", token="t")))
        await call_events.message()
        assert (await web.delete()).status == 204
        assert await call_events.rest() == []
        assert await listening.rest() == []
        await until(lambda: (stage.running, stage.followed) == (0, []))
        assert stage.cancelled == 1


class TestStreams:
    async def test_a_notification_turns_the_answer_into_a_stream_with_ids(self, web: Web) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "count", {"n": 3}, token="t")))
        first = await events.event()
        assert (first.data, bool(first.id)) == ("", True)
        seen = await events.rest()
        assert [message["params"]["progress"] for message in seen[:-1]] == [1, 2, 3]
        assert seen[-1]["id"] == 1

    @pytest.mark.parametrize("revision", ["2025-06-18", "2025-03-26"])
    async def test_older_revisions_get_no_event_without_data(self, web: Web, revision: str) -> None:
        await web.begin(revision)
        events = Events(await web.post(call(1, "count", {"n": 1}, token="t")))
        while (event := await events.event()) is not None:
            assert event.data
            assert event.id

    async def test_a_disconnect_is_no_cancellation_and_nothing_is_lost_or_doubled(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "wait", token="t")))
        assert (await events.message())["params"]["progress"] == 1
        events.response.close()
        stage.gate.set()
        await until(lambda: stage.running == 0)
        again = Events(await web.get(Last_Event_ID=events.last))
        seen = await again.rest()
        assert [message.get("params", {}).get("progress") for message in seen] == [2, None]
        assert words(seen[-1]) == "waited"
        assert stage.cancelled == 0

    async def test_resuming_while_the_call_runs_goes_on_live(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "wait", token="t")))
        await events.event()
        primed = events.last
        await events.message()
        resumed = Events(await web.get(Last_Event_ID=primed))
        assert (await resumed.message())["params"]["progress"] == 1
        assert await events.rest() == []
        stage.gate.set()
        assert words((await resumed.rest())[-1]) == "waited"

    async def test_every_place_of_a_broken_stream_resumes_exactly(self, web: Web) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "count", {"n": 20}, token="t")))
        ids = []
        while (event := await events.event()) is not None:
            ids.append(event.id)
        assert len(set(ids)) == len(ids) == 22
        for place, id in enumerate(ids):
            resumed = Events(await web.get(Last_Event_ID=id))
            first = await resumed.event()
            assert (first.id, first.data) == (id, "")
            seen = []
            while (event := await resumed.event()) is not None:
                seen.append(event.id)
            assert seen == ids[place + 1 :]

    async def test_a_client_that_forgets_what_it_resumed_after_can_resume_again(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "wait", token="t")))
        await events.message()
        again = Events(await web.get(Last_Event_ID=events.last))
        assert ((await again.event()).data, again.last) == ("", events.last)
        again.response.close()
        once_more = Events(await web.get(Last_Event_ID=again.last))
        stage.gate.set()
        assert words((await once_more.rest())[-1]) == "waited"

    async def test_older_revisions_get_no_event_without_data_when_they_resume(self, web: Web, stage: Stage) -> None:
        await web.begin("2025-06-18")
        events = Events(await web.post(call(1, "wait", token="t")))
        await events.message()
        again = Events(await web.get(Last_Event_ID=events.last))
        stage.gate.set()
        assert (await again.event()).data

    async def test_an_author_lets_the_client_hang_up_and_come_back(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "hang_up")))
        only = await events.event()
        assert (only.data, only.retry, bool(only.id)) == ("", 50, True)
        assert await events.event() is None
        stage.gate.set()
        assert words((await Events(await web.get(Last_Event_ID=only.id)).rest())[-1]) == "welcome back"

    async def test_older_revisions_do_not_hang_up(self, web: Web, stage: Stage) -> None:
        await web.begin("2025-06-18")
        stage.gate.set()
        response = await web.post(call(1, "hang_up"))
        assert words(await response.json()) == "welcome back"

    @pytest.mark.parametrize("event", ["x/1", "a/99999999999999999", "%00/1", "é/1", "a/b/c/-1"])
    async def test_an_unknown_event_is_refused(self, web: Web, event: str) -> None:
        await web.begin()
        assert (await web.get(Last_Event_ID=event)).status == 400

    async def test_a_slow_reader_gets_everything(self, web: Web) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "count", {"n": 3000}, token="t")))
        await asyncio.sleep(0.2)
        seen = await events.rest()
        assert [message["params"]["progress"] for message in seen[:-1]] == list(range(1, 3001))

    async def test_a_client_that_left_does_not_hold_up_the_call_and_gets_the_answer(
        self, web: Web, stage: Stage
    ) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "count", {"n": 50_000}, token="t")))
        await events.message()
        events.response.close()
        await until(lambda: stage.running == 0)
        resumed = Events(await web.get(Last_Event_ID=events.last))
        assert words((await resumed.rest())[-1]) == "50000"


class TestQuestions:
    async def ask(self, web: Web) -> tuple[Events, dict[str, object]]:
        await web.begin()
        events = Events(await web.post(call(1, "name")))
        return events, await events.message()

    async def test_the_request_comes_on_the_stream_of_its_call(self, web: Web) -> None:
        events, asked = await self.ask(web)
        assert asked["method"] == "elicitation/create"
        result = {"action": "accept", "content": {"name": "Ada"}}
        response = await web.post(json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
        assert (response.status, await response.read()) == (202, b"")
        assert "Ada" in words((await events.rest())[-1])

    async def test_only_the_session_that_was_asked_can_answer(self, web: Web) -> None:
        events, asked = await self.ask(web)
        ours = dict(web.headers)
        answer = json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {}}})
        await web.begin()
        assert (await web.post(answer)).status == 202
        web.headers = ours
        decline = json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
        await web.post(decline)
        assert "decline" in words((await events.rest())[-1])

    async def test_the_answer_may_come_after_a_reconnection(self, web: Web) -> None:
        events, asked = await self.ask(web)
        events.response.close()
        resumed = Events(await web.get(Last_Event_ID=events.last))
        await web.post(json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "cancel"}}))
        assert "cancel" in words((await resumed.rest())[-1])

    async def test_a_client_without_the_capability_is_not_asked(self, web: Web) -> None:
        await web.begin(capabilities={})
        answer = await (await web.post(call(1, "name"))).json()
        assert answer["error"]["code"] == -32021

    async def test_a_person_has_only_so_much_time(self, stage: Stage) -> None:
        app = HTTPTransport(application_of(stage), sessions=SessionLimits(answer_seconds=0.1))
        async with served(app) as port, aiohttp.ClientSession() as http:
            web = Web(port, http)
            events, asked = await self.ask(web)
            told, answer = await events.rest()
            assert told["method"] == "notifications/cancelled"
            assert told["params"]["requestId"] == asked["id"]
            assert answer["result"]["isError"]
            assert "0.1 seconds" in words(answer)

    async def test_a_session_has_only_so_many_questions_and_calls(self, stage: Stage) -> None:
        app = HTTPTransport(application_of(stage), sessions=SessionLimits(questions=1, calls=2))
        async with served(app) as port, aiohttp.ClientSession() as http:
            web = Web(port, http)
            await self.ask(web)
            second = await (await web.post(call(2, "name"))).json()
            assert second["error"]["code"] == -31003
            await Events(await web.post(call(3, "wait", token="t"))).message()
            third = await web.post(request(4, "ping"))
            assert (third.status, (await third.json())["error"]["code"]) == (200, -31003)
            web.close()

    @pytest.mark.parametrize("answer", [{"result": 5}, {"error": "no"}, {"error": {}}, {"result": {}, "error": None}])
    async def test_a_malformed_answer_ends_the_wait(self, web: Web, answer: dict[str, object]) -> None:
        events, asked = await self.ask(web)
        await web.post(json.encode({"jsonrpc": "2.0", "id": asked["id"], **answer}))
        last = (await events.rest())[-1]
        assert "error" in last or last["result"]


class TestListening:
    async def test_changes_come_on_the_get_stream(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.get())
        assert (await events.event()).id
        await web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        stage.publish(Change("tools"))
        stage.publish(Change("resource", uri="test://a"))
        stage.publish(Change("resource", uri="test://b"))
        stage.publish(Change("prompts"))
        seen = [await events.message() for _ in range(3)]
        assert [message["method"].rpartition("/")[0] for message in seen] == [
            "notifications/tools",
            "notifications/resources",
            "notifications/prompts",
        ]

    async def test_a_broken_listener_comes_back_and_misses_nothing(self, web: Web, stage: Stage) -> None:
        await web.begin()
        events = Events(await web.get())
        await web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        stage.publish(Change("tools"))
        await events.message()
        events.response.close()
        await asyncio.sleep(0.05)
        stage.publish(Change("prompts"))
        stage.publish(Change("resource", uri="test://a"))
        again = Events(await web.get(Last_Event_ID=events.last))
        seen = [(await again.message())["method"] for _ in range(2)]
        assert seen == ["notifications/prompts/list_changed", "notifications/resources/updated"]

    async def test_the_newest_listener_is_the_one(self, web: Web, stage: Stage) -> None:
        await web.begin()
        first = Events(await web.get())
        second = Events(await web.get())
        assert await first.rest() == []
        stage.publish(Change("tools"))
        assert (await second.message())["method"] == "notifications/tools/list_changed"

    async def test_a_subscription_made_before_listening_counts(self, web: Web, stage: Stage) -> None:
        await web.begin()
        await web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        stage.publish(Change("resource", uri="test://a"))
        assert (await Events(await web.get()).message())["params"] == {"uri": "test://a"}

    async def test_two_subscriptions_at_once_end_with_one_unsubscription(self, web: Web, stage: Stage) -> None:
        follow = stage.follow

        async def slow(context: Context, uris: Sequence[str]) -> None:
            await asyncio.sleep(0.1)
            await follow(context, uris)

        stage.follow = slow  # type: ignore[method-assign]
        await web.begin()
        wanted = {"uri": "test://a"}
        await asyncio.gather(*(web.post(request(id, "resources/subscribe", wanted)) for id in (1, 2)))
        await web.post(request(3, "resources/unsubscribe", wanted))
        assert stage.followed == []

    async def test_a_client_that_was_given_up_on_gets_what_was_left_and_goes_on(
        self, web: Web, stage: Stage, application: Application, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_session, "LINGER", 0.0)
        await web.begin()
        await web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        await until(lambda: not stage.followed)
        events = Events(await web.get())
        assert stage.followed == ["test://a"]
        await events.event()
        primed = events.last
        stage.publish(Change("resource", uri="test://a"))
        await events.message()
        events.response.close()
        await until(lambda: not stage.followed)
        again = Events(await web.get(Last_Event_ID=primed))
        assert (await again.message())["params"] == {"uri": "test://a"}
        stage.publish(Change("tools"))
        assert (await again.message())["method"] == "notifications/tools/list_changed"

    @pytest.mark.parametrize("last", ["", "x", "/", "ear.x/1", "ear./", "é"])
    async def test_an_event_it_never_had_begins_anew(self, web: Web, stage: Stage, last: str) -> None:
        await web.begin()
        events = Events(await web.get(Last_Event_ID=last))
        await events.event()
        stage.publish(Change("tools"))
        assert (await events.message())["method"] == "notifications/tools/list_changed"

    async def test_a_quiet_stream_is_kept_alive(self, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "KEEP_ALIVE_AFTER", 0.05)
        monkeypatch.setattr(inflight, "PERIOD", 0.02)
        await web.begin()
        response = await web.get()
        seen = b""
        while seen.count(sse.KEEP_ALIVE) < 2:
            seen += await response.content.readany()

    async def test_a_drain_ends_it(self, web: Web, application: Application) -> None:
        await web.begin()
        events = Events(await web.get())
        await events.event()
        await application.inflight.drain(2)
        assert await events.rest() == []

    @pytest.mark.parametrize("left", [False, True])
    async def test_it_does_not_hold_up_a_stop(self, web: Web, application: Application, left: bool) -> None:
        await web.begin()
        await Events(await web.get()).event()
        if left:
            web.close()
        await application.inflight.drain(600)
        assert not application.inflight.calls

    async def test_it_needs_an_accept_header(self, web: Web) -> None:
        await web.begin()
        assert (await web.get(Accept="application/json")).status == 406

    async def test_modern_clients_are_told_that_there_is_none(self, web: Web) -> None:
        for response in (
            await web.get(MCP_Protocol_Version="2026-07-28"),
            await web.delete(MCP_Protocol_Version="2026-07-28"),
        ):
            assert response.status == 405


class TestBatches:
    async def test_json_for_calls_that_say_nothing(self, web: Web) -> None:
        await web.begin("2025-03-26")
        parts = [request(1, "ping"), INITIALIZED, call(2, "echo", {"text": "b"}), b'{"id":3}']
        response = await web.post(b" [" + b",".join(parts) + b"]")
        assert {answer["id"] for answer in await response.json()} == {1, 2, 3}

    async def test_one_stream_for_all_calls(self, web: Web) -> None:
        await web.begin("2025-03-26")
        parts = [request(1, "ping"), call(2, "count", {"n": 2}, token="t")]
        seen = await Events(await web.post(b"[" + b",".join(parts) + b"]")).rest()
        assert {message["id"] for message in seen if "id" in message} == {1, 2}
        assert len(seen) == 4

    async def test_no_requests_are_accepted_without_a_body(self, web: Web) -> None:
        await web.begin("2025-03-26")
        response = await web.post(b"[" + INITIALIZED + b"]")
        assert (response.status, await response.read()) == (202, b"")

    @pytest.mark.parametrize("body", [b"[]", b"[1", b"[" + b",".join([request(1, "ping")] * 101) + b"]"])
    async def test_unacceptable_ones_are_400(self, web: Web, body: bytes) -> None:
        await web.begin("2025-03-26")
        assert (await web.post(body)).status == 400

    async def test_a_nested_or_initializing_one_is_an_error_inside(self, web: Web) -> None:
        await web.begin("2025-03-26")
        response = await web.post(b"[[" + request(1, "ping") + b"]," + initialize() + b"]")
        assert [answer["error"]["code"] for answer in await response.json()] == [-32600, -32600]

    @pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
    async def test_later_revisions_know_none(self, web: Web, revision: str) -> None:
        await web.begin(revision)
        assert (await web.post(b"[" + request(1, "ping") + b"]")).status == 400

    async def test_nor_does_a_client_without_a_session(self, web: Web) -> None:
        assert (await web.post(b"[" + initialize("2025-03-26") + b"]")).status == 400


class TestStopping:
    async def test_stopping_the_application_stops_its_calls_with_a_word(
        self, web: Web, stage: Stage, application: Application
    ) -> None:
        await web.begin()
        events = Events(await web.post(call(1, "wait", token="t")))
        await events.message()
        await application.stop(0)
        (answer,) = await events.rest()
        assert (answer["id"], answer["error"]["code"]) == (1, -31008)
        assert stage.cancelled == 1


class TestMemory:
    async def test_nothing_of_a_session_stays(self, web: Web, stage: Stage, application: Application) -> None:
        await web.begin()
        Events(await web.get())
        await web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        await Events(await web.post(call(2, "count", {"n": 3}, token="t"))).rest()
        await web.delete()
        await until(lambda: not stage.followed)
        shared = application.shared
        assert not shared.events._streams
        assert not shared.events._of_session
        assert not shared.sessions._sessions
