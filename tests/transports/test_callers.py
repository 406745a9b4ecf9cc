"""Two callers: what belongs to one is useless to the other, on every path."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.transports.fixture import Stage, application_of, call, meta, request
from tests.transports.test_duplex import FILTER, words
from tests.transports.web import Events, Web, served
from trunkline.engine.doors import Change, RequestFacts
from trunkline.engine.principal import Principal
from trunkline.errors import Forbidden, Unauthenticated
from trunkline.protocol import json, messages
from trunkline.protocol.headers import HeaderParam
from trunkline.transports.http import HTTPTransport

MODERN = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call"}


class Names:
    """Whoever says `Bearer NAME` is NAME; `evil` may not come in."""

    async def authenticate(self, facts: RequestFacts) -> Principal:
        kind, _, name = facts.headers.get(b"authorization", b"").decode().partition(" ")
        if kind != "Bearer" or not name:
            raise Unauthenticated("Say who you are", (("WWW-Authenticate", "Bearer"),))
        if name == "evil":
            raise Forbidden("Not you")
        return Principal("test", name, tools=("who", "name", "wait", "echo", "count"))


Pair = tuple[Web, Web]


@pytest.fixture
async def pair(stage: Stage) -> AsyncIterator[Pair]:
    app = HTTPTransport(application_of(stage, authenticator=Names()))
    async with served(app) as port, aiohttp.ClientSession() as http:
        ada, bob = Web(port, http), Web(port, http)
        ada.always, bob.always = {"Authorization": "Bearer ada"}, {"Authorization": "Bearer bob"}
        yield ada, bob
        ada.close()
        bob.close()


async def test_nobody_is_sent_to_sign_in(pair: Pair) -> None:
    ada, _ = pair
    ada.always = {}
    for response in (await ada.post(call(1, "who", modern=True), **MODERN), await ada.get(), await ada.delete()):
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    ada.always = {"Authorization": "Bearer evil"}
    assert (await ada.post(call(1, "who", modern=True), **MODERN)).status == 403


async def test_each_call_runs_as_its_caller(pair: Pair) -> None:
    for web, name in zip(pair, ("ada", "bob"), strict=True):
        response = await web.post(call(1, "who", modern=True), **MODERN, Mcp_Name="who")
        assert words(await response.json()) == name
        await web.begin()
        assert words(await (await web.post(call(1, "who"))).json()) == name


async def test_tools_beyond_the_list_are_forbidden_and_unlisted(pair: Pair) -> None:
    ada, _ = pair
    await ada.begin()
    listed = (await (await ada.post(request(1, "tools/list"))).json())["result"]["tools"]
    assert "broken" not in {tool["name"] for tool in listed}
    assert (await (await ada.post(call(1, "broken"))).json())["error"]["code"] == -31002
    response = await ada.post(call(1, "broken", modern=True), **MODERN, Mcp_Name="broken")
    assert response.status == 403


async def test_a_session_of_another_is_not_found(pair: Pair, stage: Stage) -> None:
    ada, bob = pair
    await ada.begin()
    bob.headers = dict(ada.headers)
    assert (await bob.post(call(1, "who"))).status == 404
    assert (await bob.post(messages.notification("notifications/cancelled", {"requestId": 1}))).status == 404
    assert (await bob.get()).status == 404
    assert (await bob.delete()).status == 404
    assert words(await (await ada.post(call(1, "who"))).json()) == "ada"


async def test_events_of_another_are_unknown(pair: Pair) -> None:
    ada, bob = pair
    await ada.begin()
    events = Events(await ada.post(call(1, "count", {"n": 2}, token="t")))
    await events.event()
    first = events.last
    await events.rest()
    await bob.begin()
    assert (await bob.get(Last_Event_ID=first)).status == 400
    assert len(await Events(await ada.get(Last_Event_ID=first)).rest()) == 3


async def test_another_cannot_answer_a_question(pair: Pair) -> None:
    ada, bob = pair
    await ada.begin()
    await bob.begin()
    events = Events(await ada.post(call(1, "name")))
    asked = await events.message()
    answer = json.encode(
        {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"name": "Eve"}}}
    )
    assert (await bob.post(answer)).status == 202
    decline = json.encode({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}})
    await ada.post(decline)
    assert "Eve" not in words((await events.rest())[-1])


async def test_another_cannot_cancel(pair: Pair, stage: Stage) -> None:
    ada, bob = pair
    await ada.begin()
    await bob.begin()
    events = Events(await ada.post(call(1, "wait", token="t")))
    await events.message()
    await bob.post(messages.notification("notifications/cancelled", {"requestId": 1}))
    stage.gate.set()
    assert words((await events.rest())[-1]) == "waited"


async def test_request_state_of_another_is_refused(pair: Pair) -> None:
    ada, bob = pair
    headers = {**MODERN, "Mcp_Name": "name"}
    state = (await (await ada.post(call(1, "name", modern=True), **headers)).json())["result"]["requestState"]
    params = {
        "name": "name",
        "arguments": {},
        "_meta": meta(),
        "requestState": state,
        "inputResponses": {"user": {"action": "accept", "content": {"name": "x"}}},
    }
    refused = await bob.post(request(2, "tools/call", params), **headers)
    assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32602)
    assert (await ada.post(request(2, "tools/call", params), **headers)).status == 200


async def test_changes_for_one_reach_no_other(pair: Pair, stage: Stage) -> None:
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "subscriptions/listen"}
    streams = []
    for web in pair:
        streams.append(Events(await web.post(request(1, "subscriptions/listen", FILTER), **headers)))
        await streams[-1].message()
        await web.begin()
        streams.append(Events(await web.get()))
        await streams[-1].event()
    stage.publish(Change("tools", owner=Principal("test", "ada").owner))
    stage.publish(Change("prompts"))
    for mine in streams[:2]:
        assert (await mine.message())["method"] == "notifications/tools/list_changed"
    assert (await streams[3].message())["method"] == "notifications/prompts/list_changed"
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(streams[2].message(), 0.05)


async def test_a_tool_that_is_not_on_the_list_is_forbidden_before_its_headers_are_looked_at(
    pair: Pair, stage: Stage
) -> None:
    stage.header_params = lambda tool: (HeaderParam("region", ("region",), "string", b"mcp-param-region"),)  # type: ignore[method-assign]
    ada, _ = pair
    for name in ("chat", "no_such_tool"):
        message = request(1, "tools/call", {"name": name, "arguments": {"region": "eu"}, "_meta": meta()})
        response = await ada.post(message, **MODERN, Mcp_Name=name)
        assert response.status == 403
        assert "not on this caller's list" in (await response.json())["error"]["message"]
