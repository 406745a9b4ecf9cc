"""Clients that know nothing of tasks, of both eras: they call a tool and get its result, or a link to it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.extensions.tasks.calling import Caller, Refused, calling
from tests.transports.fixture import request
from tests.transports.web import Events, Web
from trunkline import Context, Principal, ProtocolError, Server, StaticTokens, TaskPolicy

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOKENS = {"a": Principal("test", "ann"), "b": Principal("test", "bob")}


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Caller, list[str]]]:
    """A caller without the extension, and what the tools noted."""
    server = Server("tasks", storage=f"sqlite:///{folder / 'tasks.db'}", auth=StaticTokens(TOKENS))
    notes: list[str] = []

    @server.tool(task=True)
    async def add(a: int, b: int, context: Context) -> int:
        await context.progress(1, total=2, message="adding")
        return a + b

    @server.tool(task=True)
    async def greet(context: Context) -> str:
        await context.step("note", lambda: notes.append("began"))
        answer = await context.elicit("Your name?", FORM)
        return f"Hello, {answer.content.get('name')}!"

    @server.tool(task=True)
    async def crash() -> str:
        raise ProtocolError("broken")

    @server.tool(task=TaskPolicy(wait=0.2))
    async def slow(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise
        notes.append("finished")
        return f"slept {seconds:g}"

    @server.tool(task=TaskPolicy(wait=0.2))
    async def slow_sum(a: int) -> int:
        await asyncio.sleep(1)
        return a

    async with calling(server, token="a") as caller:
        yield caller.other(declared=False, token="a"), notes


@pytest.fixture
async def ann(tmp_path: Path) -> AsyncIterator[tuple[Caller, list[str]]]:
    async with serving(tmp_path) as both:
        yield both


async def test_a_modern_client_gets_an_ordinary_result(ann: tuple[Caller, list[str]]) -> None:
    result = await ann[0].call("add", a=1, b=2)

    assert result["resultType"] == "complete"
    assert result["structuredContent"] == {"result": 3}


async def test_progress_comes_where_a_token_came(ann: tuple[Caller, list[str]]) -> None:
    caller = ann[0]
    body = caller.body("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, {"progressToken": "p"})
    async with caller.http.post(caller.url, json=body, headers=caller.headers("tools/call", {"name": "add"})) as answer:
        *progress, last = await Events(answer).rest()

    assert [message["params"]["message"] for message in progress] == ["adding"]
    assert last["result"]["structuredContent"] == {"result": 3}


async def test_a_question_is_an_input_round_of_the_call(ann: tuple[Caller, list[str]]) -> None:
    caller, notes = ann
    asked = await caller.call("greet")
    assert asked["resultType"] == "input_required"
    [key] = asked["inputRequests"]
    answers = {key: {"action": "accept", "content": {"name": "Ann"}}}
    again = {"name": "greet", "arguments": {}, "requestState": asked["requestState"], "inputResponses": answers}
    result = await caller.send("tools/call", again)
    repeated = await caller.send("tools/call", again)

    assert result["content"][0]["text"] == "Hello, Ann!"
    assert repeated["content"] == result["content"]
    assert notes == ["began"]


async def test_the_state_of_a_round_is_of_no_use_to_anyone_else(ann: tuple[Caller, list[str]]) -> None:
    asked = await ann[0].call("greet")
    again = {"name": "greet", "arguments": {}, "requestState": asked["requestState"], "inputResponses": {}}

    with pytest.raises(Refused) as refused:
        await ann[0].other(declared=False, token="b").send("tools/call", again)

    assert refused.value.code == -32602


async def test_an_error_is_the_error_of_the_call(ann: tuple[Caller, list[str]]) -> None:
    with pytest.raises(Refused) as refused:
        await ann[0].call("crash")

    assert (refused.value.code, refused.value.message) == (-32603, "broken")


async def test_what_takes_longer_is_linked_to_and_read_by_its_owner_alone(ann: tuple[Caller, list[str]]) -> None:
    caller, _ = ann
    result = await caller.call("slow", seconds=0.6)
    [link] = [block for block in result["content"] if block["type"] == "resource_link"]
    assert not result.get("isError")

    async def read(by: Caller) -> dict[str, object]:
        contents = (await by.send("resources/read", {"uri": link["uri"]}))["contents"]
        assert contents[0]["uri"] == link["uri"]
        return json.loads(contents[0]["text"])  # type: ignore[no-any-return]

    async with asyncio.timeout(20):
        while (task := await read(caller))["status"] == "working":
            await asyncio.sleep(0.05)
    with pytest.raises(Refused) as refused:
        await read(caller.other(declared=False, token="b"))

    assert task["result"]["content"][0]["text"] == "slept 0.6"  # type: ignore[index]
    assert refused.value.code == -32602


async def test_a_link_in_place_of_promised_structure_says_that_it_is_none(ann: tuple[Caller, list[str]]) -> None:
    assert (await ann[0].call("slow_sum", a=1))["isError"] is True


async def test_closing_the_stream_does_not_cancel_a_task(ann: tuple[Caller, list[str]]) -> None:
    caller, notes = ann
    body = caller.body("tools/call", {"name": "slow", "arguments": {"seconds": 0.7}})
    with pytest.raises(asyncio.TimeoutError):
        await caller.http.post(
            caller.url,
            json=body,
            headers=caller.headers("tools/call", {"name": "slow"}),
            timeout=aiohttp.ClientTimeout(total=0.1),
        )
    async with asyncio.timeout(20):
        while not notes:
            await asyncio.sleep(0.05)

    assert notes == ["finished"]


@pytest.fixture
async def old(ann: tuple[Caller, list[str]]) -> AsyncIterator[Web]:
    """A legacy client in a session of its own."""
    caller = ann[0]
    web = Web(0, caller.http)
    web.url = caller.url
    web.always = {"Authorization": "Bearer a"}
    await web.begin("2025-11-25", capabilities={"elicitation": {}})
    yield web
    web.close()


async def test_a_legacy_client_gets_an_ordinary_result(old: Web) -> None:
    answer = await old.post(
        request(7, "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}, "task": {"ttl": 1}})
    )
    messages = (
        await Events(answer).rest() if "event-stream" in answer.headers["Content-Type"] else [await answer.json()]
    )

    assert messages[-1]["result"]["structuredContent"] == {"result": 3}
    assert "resultType" not in messages[-1]["result"]


async def test_a_legacy_client_is_asked_while_its_call_is_open(old: Web, ann: tuple[Caller, list[str]]) -> None:
    events = Events(await old.post(request(7, "tools/call", {"name": "greet", "arguments": {}})))
    question = await events.message()
    assert question is not None and question["method"] == "elicitation/create"
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Ann"}}}
    assert (await old.post(json.dumps(answer).encode())).status == 202

    [last] = await events.rest()
    assert last["result"]["content"][0]["text"] == "Hello, Ann!"
    assert ann[1] == ["began"]


async def test_a_legacy_client_that_cannot_answer_gets_the_tools_failure(old: Web) -> None:
    events = Events(await old.post(request(7, "tools/call", {"name": "greet", "arguments": {}})))
    question = await events.message()
    assert question is not None
    error = {"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "nobody is here"}}
    assert (await old.post(json.dumps(error).encode())).status == 202

    [last] = await events.rest()
    assert last["result"]["isError"] is True
    assert "nobody is here" in last["result"]["content"][0]["text"]


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel", "tasks/list", "tasks/result"])
async def test_methods_do_not_exist_for_legacy_clients(old: Web, method: str) -> None:
    answer = await (await old.post(request(7, method, {"taskId": "t-1"}))).json()

    assert answer["error"]["code"] == -32601
