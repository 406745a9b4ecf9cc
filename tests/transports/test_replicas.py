"""Legacy sessions that any replica serves: two applications on real sockets, one database of either kind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from tests.storage.conftest import QUICK, url  # noqa: F401
from tests.transports.fixture import Stage, call, request
from tests.transports.test_legacy import until
from tests.transports.web import Events, Web, served
from trunkline.engine.doors import Change
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.protocol import json
from trunkline.runtime.application import Application
from trunkline.storage.replicas import Timing
from trunkline.transports.http import HTTPTransport
from trunkline.transports.stored import Stored

KEY = b"k" * 32


@dataclass
class Replica:
    """One of the processes that serve an endpoint, and a client of it; all clients share a session."""

    stage: Stage
    application: Application
    web: Web

    def at(self, session: Web) -> Web:
        """This replica, as the client whose session began at another one sees it."""
        self.web.headers = session.headers
        return self.web


@contextlib.asynccontextmanager
async def replica(
    database: str, http: aiohttp.ClientSession, name: str = "stage", timing: Timing | None = None
) -> AsyncIterator[Replica]:
    stage = Stage()
    application = Application(Engine(stage, keys=Keys([KEY])), name=name, shared=Stored(database, timing))
    async with served(HTTPTransport(application)) as port:
        web = Web(port, http)
        yield Replica(stage, application, web)
        web.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def pair(url: str, http: aiohttp.ClientSession) -> AsyncIterator[tuple[Replica, Replica]]:  # noqa: F811
    async with replica(url, http) as a, replica(url, http) as b:
        yield a, b


Pair = tuple[Replica, Replica]


def stop_beating(replica: Replica) -> None:
    """As if its process had been killed: nothing is heard of it any more."""
    replica.application.shared.storage.replicas._beating.cancel()


async def text(response: aiohttp.ClientResponse) -> str:
    body = await response.json()
    return body["result"]["content"][0]["text"]


class TestSessions:
    async def test_one_that_began_here_is_served_there(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        assert await text(await b.at(a.web).post(call(1, "echo", {"text": "hello"}))) == "hello"

    async def test_one_that_ended_there_has_ended_here(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        running = Events(await a.web.post(call(1, "wait", token="t")))
        await running.message()
        assert (await b.at(a.web).delete()).status == 204
        assert (await a.web.post(request(2, "ping"))).status == 404
        assert await running.rest() == []
        await until(lambda: a.stage.cancelled == 1)

    async def test_its_log_level_is_the_same_everywhere(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        assert (await a.web.post(request(1, "logging/setLevel", {"level": "error"}))).status == 200
        told = await Events(await b.at(a.web).post(call(2, "chat"))).rest()
        assert [message["params"]["level"] for message in told if "method" in message] == ["error"]

    async def test_one_of_another_endpoint_is_unknown(self, url: str, http: aiohttp.ClientSession) -> None:  # noqa: F811
        async with replica(url, http, "one") as one, replica(url, http, "other") as other:
            await one.web.begin()
            assert (await other.at(one.web).post(request(1, "ping"))).status == 404

    async def test_it_outlives_every_process(self, url: str, http: aiohttp.ClientSession) -> None:  # noqa: F811
        async with replica(url, http) as first:
            await first.web.begin()
        async with replica(url, http) as second:
            assert await text(await second.at(first.web).post(call(1, "echo", {"text": "still"}))) == "still"


class TestMessages:
    async def test_an_answer_that_arrives_elsewhere_finds_the_call_that_waits(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "name")))
        question = await stream.message()
        assert question is not None
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Ann"}}}
        assert (await b.at(a.web).post(json.encode(answer))).status == 202
        (reply,) = await stream.rest()
        assert "Ann" in reply["result"]["content"][0]["text"]

    async def test_an_answer_for_nobody_is_taken_in_silence(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        for id in ("nobody-xyz", f"{a.application.shared.replicas.name}-xyz", "xyz", 7):
            answer = json.encode({"jsonrpc": "2.0", "id": id, "result": {}})
            assert (await b.at(a.web).post(answer)).status == 202

    async def test_another_session_cannot_answer(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "name")))
        question = await stream.message()
        assert question is not None
        await b.web.begin()
        forged = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Eve"}}}
        assert (await b.web.post(json.encode(forged))).status == 202
        right = {**forged, "result": {"action": "accept", "content": {"name": "Ann"}}}
        assert (await b.at(a.web).post(json.encode(right))).status == 202
        (reply,) = await stream.rest()
        assert "Ann" in reply["result"]["content"][0]["text"]

    async def test_a_cancellation_that_arrives_elsewhere_stops_the_call(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call("mine", "wait", token="t")))
        await stream.message()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}}
        assert (await b.at(a.web).post(json.encode(cancel))).status == 202
        assert await stream.rest() == []
        assert a.stage.cancelled == 1


class TestStreams:
    async def test_one_goes_on_elsewhere_with_nothing_lost_or_doubled(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "wait", token="t")))
        seen = await stream.message()
        assert seen is not None
        stream.response.close()
        resumed = Events(await b.at(a.web).get(Last_Event_ID=stream.last))
        a.stage.gate.set()
        rest = await resumed.rest()
        assert [message["params"]["progress"] for message in [seen, *rest[:-1]]] == [1, 2]
        assert rest[-1]["result"]["content"][0]["text"] == "waited"

    async def test_one_that_was_complete_is_read_elsewhere(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "wait", token="t")))
        await stream.message()
        stream.response.close()
        a.stage.gate.set()
        await until(lambda: a.stage.running == 0)
        rest = await Events(await b.at(a.web).get(Last_Event_ID=stream.last)).rest()
        assert rest[-1]["result"]["content"][0]["text"] == "waited"

    async def test_one_whose_replica_died_ends_with_what_was_said_and_one_clear_error(
        self,
        url: str,  # noqa: F811
        http: aiohttp.ClientSession,
    ) -> None:
        async with replica(url, http, timing=QUICK) as a, replica(url, http, timing=QUICK) as b:
            await a.web.begin()
            stream = Events(await a.web.post(call("mine", "wait", token="t")))
            first = await stream.event()
            assert first is not None and not first.data
            await stream.message()
            stream.response.close()
            stop_beating(a)
            told = await Events(await b.at(a.web).get(Last_Event_ID=first.id)).rest()
            assert told[0]["params"]["progress"] == 1
            assert (told[1]["id"], told[1]["error"]["code"]) == ("mine", -31007)
            assert told[1]["error"]["data"] == {"dev.trunkline/retry": True, "dev.trunkline/mayHaveRun": True}
            assert len(told) == 2

    async def test_one_that_breaks_again_before_anything_was_said_is_found_again(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "wait", token="t")))
        await stream.message()
        stream.response.close()
        resumed = Events(await b.at(a.web).get(Last_Event_ID=stream.last))
        assert ((await resumed.event()).data, resumed.last) == ("", stream.last)

    async def test_one_of_another_session_is_unknown(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        stream = Events(await a.web.post(call(1, "wait", token="t")))
        await stream.message()
        await b.web.begin()
        assert (await b.web.get(Last_Event_ID=stream.last)).status == 400


class TestChanges:
    async def test_who_hears_here_hears_what_was_subscribed_there(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        ear = Events(await a.web.get())
        assert (await b.at(a.web).post(request(1, "resources/subscribe", {"uri": "test://a"}))).status == 200
        assert a.stage.followed == ["test://a"]
        assert b.stage.followed == []
        b.stage.publish(Change("resource", "test://a"))
        message = await ear.message()
        assert message is not None
        assert (message["method"], message["params"]) == ("notifications/resources/updated", {"uri": "test://a"})
        assert (await b.web.post(request(2, "resources/unsubscribe", {"uri": "test://a"}))).status == 200
        assert a.stage.followed == []

    async def test_what_cannot_be_followed_is_refused_wherever_it_is_asked(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        Events(await a.web.get())
        body = await (await b.at(a.web).post(request(1, "resources/subscribe", {"uri": "test://unknown"}))).json()
        assert body["error"]["code"] == -32602
        assert a.stage.followed == b.stage.followed == []

    async def test_a_list_that_changed_anywhere_is_heard_everywhere(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        ear = Events(await a.web.get())
        b.stage.publish(Change("tools"))
        message = await ear.message()
        assert message is not None
        assert message["method"] == "notifications/tools/list_changed"

    async def test_what_is_for_one_replica_is_heard_there_alone(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        ear = Events(await a.web.get())
        b.stage.publish(Change("tools", here=True))
        a.stage.publish(Change("prompts", here=True))
        b.stage.publish(Change("resources"))
        for kind in ("prompts", "resources"):
            message = await ear.message()
            assert message is not None
            assert message["method"] == f"notifications/{kind}/list_changed"

    async def test_a_client_that_comes_back_elsewhere_looks_at_everything(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        first = Events(await a.web.get())
        await a.web.post(request(1, "resources/subscribe", {"uri": "test://a"}))
        a.stage.publish(Change("tools"))
        await first.message()
        first.response.close()
        a.stage.publish(Change("prompts"))
        second = Events(await b.at(a.web).get(Last_Event_ID=first.last))
        heard: set[object] = set()
        while len(heard) < 4:
            message = await second.message()
            assert message is not None
            heard.add(message["method"])
        assert "notifications/resources/updated" in heard
        await until(lambda: a.stage.followed == [] and b.stage.followed == ["test://a"])
        assert (await a.web.post(request(2, "ping"))).status == 200

    async def test_subscribing_where_the_listener_was_lost_collects_here(self, pair: Pair) -> None:
        a, b = pair
        await a.web.begin()
        Events(await a.web.get()).response.close()
        await a.application.stop()
        await b.at(a.web).post(request(1, "resources/subscribe", {"uri": "test://a"}))
        assert b.stage.followed == ["test://a"]
        b.stage.publish(Change("resource", "test://a"))
        ear = Events(await b.web.get())
        while (message := await asyncio.wait_for(ear.message(), 5)) is not None:
            if message["method"] == "notifications/resources/updated":
                break
