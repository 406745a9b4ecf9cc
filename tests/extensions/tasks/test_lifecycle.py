"""A call becomes a task, and its client fetches what came of it; every message is checked against the schema."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.extensions.tasks.calling import TASKS, Caller, Refused, calling
from trunkline import Context, ProtocolError, Server, TaskPolicy, ToolError

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def server_in(folder: Path) -> Server:
    server = Server("tasks", storage=f"sqlite:///{folder / 'tasks.db'}")
    gate = asyncio.Event()

    @server.tool
    async def plain(word: str) -> str:
        return word.upper()

    @server.tool(task=True)
    async def shout(word: str, context: Context) -> str:
        await context.progress(1, total=2, message="inhaling")
        return word.upper()

    @server.tool(task=True)
    async def wait(context: Context) -> str:
        await gate.wait()
        return "waited"

    @server.tool(task=True)
    async def refuse() -> str:
        raise ToolError("no")

    @server.tool(task=True)
    async def crash() -> str:
        raise ProtocolError("broken", {"why": "it had to"})

    @server.tool(task=True)
    async def greet(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        return f"Hello, {answer.content['name']}!"

    @server.tool(task=TaskPolicy(trigger="after", after=0.2))
    async def perhaps(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return f"slept {seconds:g}"

    @server.tool(task=TaskPolicy(mode="required"))
    async def only() -> str:
        return "as a task"

    return server


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with calling(server_in(tmp_path)) as caller:
        yield caller


def text(result: dict[str, object]) -> str:
    return result["content"][0]["text"]  # type: ignore[index, no-any-return]


async def test_the_extension_is_declared_to_modern_clients_alone(caller: Caller) -> None:
    modern = await caller.send("server/discover", {})
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    accept = {"Accept": "application/json, text/event-stream"}
    async with caller.http.post(caller.url, json=body, headers=accept) as response:
        legacy = json.loads(await response.read())["result"]

    assert modern["capabilities"]["extensions"][TASKS] == {}
    assert "tasks" not in modern["capabilities"]
    assert "extensions" not in legacy["capabilities"]
    assert "tasks" not in legacy["capabilities"]


async def test_a_call_becomes_a_task_with_its_result(caller: Caller) -> None:
    created = await caller.call("shout", word="hey")
    task = await caller.ended(created["taskId"])

    assert created["status"] == "working"
    assert not {"result", "error", "inputRequests", "task", "requestState"} & created.keys()
    assert task["status"] == "completed"
    assert text(task["result"]) == "HEY"
    assert task["ttlMs"] >= created["ttlMs"]


async def test_a_tool_without_the_option_never_is_one(caller: Caller) -> None:
    assert text(await caller.call("plain", word="hey")) == "HEY"


async def test_a_tool_that_says_no_completes_and_an_error_fails(caller: Caller) -> None:
    refused = await caller.ended(await caller.start("refuse"))
    crashed = await caller.ended(await caller.start("crash"))

    assert (refused["status"], refused["result"]["isError"], text(refused["result"])) == ("completed", True, "no")
    assert crashed["status"] == "failed"
    assert crashed["error"] == {"code": -32603, "message": "broken", "data": {"why": "it had to"}}
    assert crashed["statusMessage"] == "broken"


async def test_a_task_that_asks_parks_until_it_is_answered(caller: Caller) -> None:
    id = await caller.start("greet")
    parked = await caller.until(id, "input_required")
    [(key, question)] = parked["inputRequests"].items()
    assert question["params"]["message"] == "Your name?"

    acknowledged = await caller.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}})
    task = await caller.ended(id)

    assert {name for name in acknowledged if name != "_meta"} == {"resultType"}
    assert text(task["result"]) == "Hello, Ann!"
    assert "inputRequests" not in task


async def test_an_answer_that_does_not_fit_is_asked_for_again_under_another_key(caller: Caller) -> None:
    id = await caller.start("greet")
    [key] = (await caller.until(id, "input_required"))["inputRequests"]
    await caller.update(id, {key: {"action": "accept", "content": {"name": 7}}})

    async with asyncio.timeout(10):
        while list((await caller.get(id)).get("inputRequests", [key])) == [key]:
            await asyncio.sleep(0.02)
    [again] = (await caller.until(id, "input_required"))["inputRequests"]
    await caller.update(id, {key: {"action": "accept", "content": {"name": "Stale"}}})
    await caller.update(id, {again: {"action": "accept", "content": {"name": "Ann"}}})

    assert text((await caller.ended(id))["result"]) == "Hello, Ann!"


async def test_cancelling_stops_the_function_and_is_acknowledged_again_afterwards(caller: Caller) -> None:
    id = await caller.start("wait")
    await caller.cancel(id)
    task = await caller.ended(id)
    again = await caller.cancel(id)

    assert task["status"] == "cancelled"
    assert not {"result", "error"} & task.keys()
    assert {name for name in again if name != "_meta"} == {"resultType"}


async def test_a_parked_task_is_cancelled_at_once(caller: Caller) -> None:
    id = await caller.start("greet")
    await caller.until(id, "input_required")
    await caller.cancel(id)

    assert (await caller.get(id))["status"] == "cancelled"


async def test_a_call_that_is_quick_stays_a_call_and_a_slow_one_goes_on_as_a_task(caller: Caller) -> None:
    quick = await caller.call("perhaps", seconds=0)
    slow = await caller.call("perhaps", seconds=0.6)

    assert (quick["resultType"], text(quick)) == ("complete", "slept 0")
    assert slow["resultType"] == "task"
    assert text((await caller.ended(slow["taskId"]))["result"]) == "slept 0.6"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_methods_need_the_declaration_with_each_request(caller: Caller, method: str) -> None:
    id = await caller.start("shout", word="hey")

    with pytest.raises(Refused) as refused:
        await caller.other(declared=False).send(method, {"taskId": id, "inputResponses": {}})

    assert (refused.value.status, refused.value.code) == (400, -32021)
    assert refused.value.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
@pytest.mark.parametrize("header", ["t-other", None])
async def test_the_name_header_has_to_be_the_task(caller: Caller, method: str, header: str | None) -> None:
    id = await caller.start("shout", word="hey")
    body = caller.body(method, {"taskId": id, "inputResponses": {}})
    headers = caller.headers(method, {"taskId": id})
    del headers["Mcp-Name"]
    if header is not None:
        headers["Mcp-Name"] = header

    async with caller.http.post(caller.url, json=body, headers=headers) as response:
        answer = json.loads(await response.read())

    assert (response.status, answer["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("method", ["tasks/result", "tasks/list"])
async def test_methods_of_the_older_form_are_unknown(caller: Caller, method: str) -> None:
    with pytest.raises(Refused) as refused:
        await caller.send(method, {"taskId": "t-1"})

    assert (refused.value.status, refused.value.code) == (404, -32601)


async def test_a_tool_that_only_is_a_task_refuses_clients_without_them(caller: Caller) -> None:
    with pytest.raises(Refused) as refused:
        await caller.other(declared=False).call("only")

    assert refused.value.code == -32021
    assert refused.value.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_an_unknown_tool_and_one_that_is_gone_are_errors_of_the_call(tmp_path: Path) -> None:
    server = server_in(tmp_path)
    async with calling(server) as caller:
        server.remove_tool("shout")
        for name in ("shout", "nothing"):
            with pytest.raises(Refused) as refused:
                await caller.call(name)
            assert refused.value.code == -32602


async def test_without_a_storage_tasks_work_and_their_end_is_told(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("brief")

    @server.tool(task=True)
    async def shout(word: str) -> str:
        return word.upper()

    async with calling(server) as caller:
        task = await caller.ended(await caller.start("shout", word="hey"))

    assert text(task["result"]) == "HEY"
    assert [record.message for record in caplog.records if record.name == "trunkline.tasks"] == [
        "tasks end with this process: give the server a storage and they outlive it"
    ]
