"""Whose a task is, and what hostile clients try with it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.extensions.tasks.calling import ENDED, Caller, Refused, calling
from trunkline import Context, Principal, Server, StaticTokens, TaskPolicy
from trunkline.extensions.tasks.store import TaskStore

FORM = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 100}, "age": {"type": "integer"}},
    "required": ["name"],
}
TOKENS = {
    "a": Principal("test", "ann"),
    "b": Principal("test", "bob"),
    "c": Principal("test", "cleo", tools=("quick",)),
}


def server_in(folder: Path, name: str = "tasks") -> Server:
    server = Server(name, storage=f"sqlite:///{folder / 'tasks.db'}", auth=StaticTokens(TOKENS))

    @server.tool(task=True)
    async def greet(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        return f"Hello, {answer.content['name']}!"

    @server.tool(task=True)
    async def quick(number: int) -> int:
        await asyncio.sleep(0.001 * number)
        return number

    @server.tool(task=TaskPolicy(ttl=4.0, retention=4.0))
    async def brief() -> str:
        return "secret"

    @server.tool(task=TaskPolicy(ttl=1.0, retention=1.0))
    async def endless() -> str:
        await asyncio.Event().wait()
        return "never"

    return server


@pytest.fixture
async def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Caller]:
    monkeypatch.setattr("trunkline.extensions.tasks.worker._EXPIRY", 0.1)
    async with calling(server_in(tmp_path), token="a") as caller:
        yield caller


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_somebody_elses_task_is_as_unknown_as_one_that_never_was(ann: Caller, method: str) -> None:
    id = await ann.start("greet")
    bob = ann.other(token="b")
    answers = []
    for guess in (id, "t-AAAAAAAAAAAAAAAAAAAAAA", "", "t-' OR 1=1 --", "t-\u0000", "x" * 100_000):
        params = {"taskId": guess, "inputResponses": {}}
        # A header carries every text, encoded where it has to be.
        headers = {**ann.headers(method, {}), "Mcp-Name": encoded(guess)}
        headers["Authorization"] = "Bearer b"
        if len(guess) > 8000:
            continue
        async with ann.http.post(ann.url, json=bob.body(method, params), headers=headers) as response:
            answers.append((response.status, json.loads(await response.read())["error"]))

    assert len({json.dumps(answer) for answer in answers}) == 1, answers
    assert (answers[0][0], answers[0][1]["code"]) == (400, -32602)
    assert (await ann.until(id, "input_required"))["status"] == "input_required"


def encoded(text: str) -> str:
    from trunkline.protocol.headers import encode_value

    return encode_value(text)


async def test_a_task_of_another_server_in_the_same_database_is_unknown(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(calling(server_in(tmp_path, "one"), token="a"))
        two = await stack.enter_async_context(calling(server_in(tmp_path, "two"), token="a"))
        id = await one.start("quick", number=1)
        with pytest.raises(Refused) as refused:
            await two.get(id)

    assert refused.value.code == -32602


async def test_ids_cannot_be_guessed_and_never_come_twice(ann: Caller) -> None:
    ids = [await ann.start("quick", number=0) for _ in range(20)]

    assert len(set(ids)) == 20
    assert all(len(id) >= 24 for id in ids)


async def test_an_expired_task_is_gone_and_its_owner_alone_is_told_so(ann: Caller) -> None:
    id = await ann.start("brief")
    task = await ann.ended(id)
    assert task["result"]["content"][0]["text"] == "secret"
    async with asyncio.timeout(20):
        while True:
            try:
                await ann.get(id)
            except Refused as refused:
                told = refused
                break
            await asyncio.sleep(0.05)
    with pytest.raises(Refused) as unknown:
        await ann.other(token="b").get(id)
    with pytest.raises(Refused) as guessed:
        await ann.get("t-AAAAAAAAAAAAAAAAAAAAAA")

    assert (told.code, told.data["dev.trunkline/reason"]) == (-32602, "expired")
    assert "expired at" in told.message
    assert "secret" not in str(told)
    assert (unknown.value.code, unknown.value.message) == (-32602, guessed.value.message)
    assert unknown.value.data == guessed.value.data


async def test_a_task_that_expires_while_it_is_shown_is_gone_too(ann: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = TaskStore.outcome

    async def after_its_end(store: TaskStore, id: str) -> bytes | None:
        while not (await store.load(id)).erased:
            await asyncio.sleep(0.05)
        return await outcome(store, id)

    id = await ann.start("brief")
    await ann.ended(id)
    monkeypatch.setattr(TaskStore, "outcome", after_its_end)
    async with asyncio.timeout(20):
        with pytest.raises(Refused) as told:
            await ann.get(id)

    assert (told.value.code, told.value.data["dev.trunkline/reason"]) == (-32602, "expired")


async def test_a_task_that_does_not_end_in_time_fails_and_its_listener_is_told(ann: Caller) -> None:
    id = await ann.start("endless")
    last: dict[str, object] = {}
    async with ann.listening(id) as events, asyncio.timeout(20):
        await events.message()
        while last.get("status") != "failed":
            message = await events.message()
            assert message is not None
            last = message["params"]  # type: ignore[assignment]

    assert last["error"]["code"] == -32603  # type: ignore[index]
    assert last["error"]["data"]["dev.trunkline/reason"] == "expired"  # type: ignore[index]


async def test_answers_to_nothing_are_acknowledged_and_ignored(ann: Caller) -> None:
    id = await ann.start("greet")
    [key] = (await ann.until(id, "input_required"))["inputRequests"]
    fine = {"action": "accept", "content": {"name": "Ann"}}

    for foreign in ("other", "__proto__", "", "constructor", f"{key} ", key * 50):
        await ann.update(id, {foreign: fine})
        assert list((await ann.get(id))["inputRequests"]) == [key]
    await ann.update(id, {key: fine})
    await ann.update(id, {key: {"action": "accept", "content": {"name": "Stale"}}})
    task = await ann.ended(id)
    await ann.update(id, {key: {"action": "accept", "content": {"name": "Late"}}})

    assert task["result"]["content"][0]["text"] == "Hello, Ann!"
    assert (await ann.get(id))["result"] == task["result"]


POISON = [
    None,
    7,
    "accept",
    [],
    [{"action": "accept"}],
    {},
    {"action": "accept"},
    {"action": "ACCEPT", "content": {"name": "x"}},
    {"action": "accept", "content": None},
    {"action": "accept", "content": []},
    {"action": "accept", "content": {"name": {"$ref": "file:///etc/passwd"}}},
    {"action": "accept", "content": {"name": "x" * 101}},
    {"action": "accept", "content": {"name": "Ann", "age": 1e400}},
    {"action": "accept", "content": {"name": "Ann", "age": 2.5}},
    {"action": {"action": "accept"}, "content": {"name": "Ann"}},
]


@pytest.mark.parametrize("poison", POISON, ids=str)
async def test_an_answer_that_is_none_harms_nobody_and_is_asked_for_again(ann: Caller, poison: object) -> None:
    id = await ann.start("greet")
    [key] = (await ann.until(id, "input_required"))["inputRequests"]
    # A client that writes numbers nobody can read gets an error; all others are acknowledged.
    body = json.dumps(ann.body("tasks/update", {"taskId": id, "inputResponses": {key: poison}}))
    headers = ann.headers("tasks/update", {"taskId": id})
    async with ann.http.post(ann.url, data=body.encode(), headers=headers) as response:
        assert response.status in (200, 400)
    async with asyncio.timeout(20):
        while True:
            task = await ann.get(id)
            assert task["status"] not in ENDED, task
            asked = task.get("inputRequests")
            if asked and (response.status == 400 or list(asked) != [key]):
                break
            await asyncio.sleep(0.02)
    [again] = asked
    await ann.update(id, {again: {"action": "accept", "content": {"name": "Ann"}}})

    assert (await ann.ended(id))["result"]["content"][0]["text"] == "Hello, Ann!"


@pytest.mark.parametrize("responses", [None, [], "all", 7])
async def test_answers_that_are_no_object_are_refused(ann: Caller, responses: object) -> None:
    id = await ann.start("greet")
    with pytest.raises(Refused) as refused:
        await ann.send("tasks/update", {"taskId": id, "inputResponses": responses})

    assert refused.value.code == -32602


async def test_too_much_input_is_refused_and_nothing_of_it_kept(ann: Caller) -> None:
    id = await ann.start("greet")
    [key] = (await ann.until(id, "input_required"))["inputRequests"]
    with pytest.raises(Refused) as many:
        await ann.update(id, {f"key-{number}": {"action": "cancel"} for number in range(1001)})
    body = ann.body("tasks/update", {"taskId": id, "inputResponses": {key: {"action": "accept", "x": "x" * 5_000_000}}})
    data = io.BytesIO(json.dumps(body).encode())
    async with ann.http.post(ann.url, data=data, headers=ann.headers("tasks/update", {"taskId": id})) as response:
        status = response.status

    assert (many.value.code, status) == (-32602, 413)
    assert list((await ann.get(id))["inputRequests"]) == [key]


@pytest.mark.parametrize("id", [None, 7, ["t-1"], {"$ne": ""}])
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_an_id_that_is_no_text_is_refused(ann: Caller, method: str, id: object) -> None:
    with pytest.raises(Refused) as refused:
        await ann.send(method, {"taskId": id, "inputResponses": {}})

    assert refused.value.code == -32602


async def test_a_tool_that_is_not_on_ones_list_becomes_no_task(ann: Caller) -> None:
    cleo = ann.other(token="c")
    with pytest.raises(Refused) as refused:
        await cleo.call("greet")

    assert refused.value.code == -31002
    assert (await cleo.ended(await cleo.start("quick", number=0)))["status"] == "completed"


async def test_cancelling_while_it_ends_gives_one_end_that_stays(ann: Caller) -> None:
    async def race(number: int) -> tuple[str, str]:
        id = await ann.start("quick", number=number)
        await asyncio.sleep(0.001 * (number % 7))
        await asyncio.gather(ann.cancel(id), ann.cancel(id))
        first = await ann.ended(id)
        await ann.cancel(id)
        second = await ann.get(id)
        return json.dumps(first, sort_keys=True), json.dumps(second, sort_keys=True)

    ends = await asyncio.gather(*map(race, range(30)))

    assert all(first == second for first, second in ends)


async def test_cancelling_while_it_is_answered_gives_one_end(ann: Caller) -> None:
    async def race() -> str:
        id = await ann.start("greet")
        [key] = (await ann.until(id, "input_required"))["inputRequests"]
        await asyncio.gather(
            ann.cancel(id), ann.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}}), ann.cancel(id)
        )
        return str((await ann.ended(id))["status"])

    assert set(await asyncio.gather(*(race() for _ in range(10)))) <= {"completed", "cancelled"}
