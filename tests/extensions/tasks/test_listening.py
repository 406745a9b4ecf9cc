"""`taskIds` of `subscriptions/listen`: who is told what, and when."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.extensions.tasks.calling import Caller, Refused, calling, validator
from tests.transports.web import Events
from trunkline import Context, Principal, Server, StaticTokens
from trunkline.protocol import messages

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.fixture
async def ann(tmp_path: Path) -> AsyncIterator[Caller]:
    known = {"a": Principal("test", "ann"), "b": Principal("test", "bob")}
    server = Server("tasks", storage=f"sqlite:///{tmp_path / 'tasks.db'}", auth=StaticTokens(known))

    @server.tool(task=True)
    async def greet(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        await context.progress(1, message="warming up")
        return f"Hello, {answer.content['name']}!"

    async with calling(server, token="a") as caller:
        yield caller


async def acknowledged(events: Events) -> dict[str, object]:
    message = await events.message()
    assert message is not None and message["method"] == "notifications/subscriptions/acknowledged", message
    return message["params"]["notifications"]  # type: ignore[index, no-any-return]


async def told(events: Events) -> dict[str, object]:
    """The next notification about a task, which says all that `tasks/get` would."""
    async with asyncio.timeout(20):
        message = await events.message()
    assert message is not None
    validator("TaskStatusNotification").validate(message)
    return message["params"]  # type: ignore[return-value]


async def test_a_listener_hears_of_each_state_in_full_and_needs_no_poll(ann: Caller) -> None:
    id = await ann.start("greet")
    async with ann.listening(id) as events:
        assert await acknowledged(events) == {"taskIds": [id]}
        while (task := await told(events))["status"] != "input_required":
            pass
        [key] = task["inputRequests"]  # type: ignore[misc, attr-defined]
        await ann.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}})
        while (task := await told(events))["status"] != "completed":
            pass

        assert task["result"]["content"][0]["text"] == "Hello, Ann!"  # type: ignore[index]
        assert messages.SUBSCRIPTION_KEY in task["_meta"]  # type: ignore[operator]


async def test_who_listens_late_is_told_how_it_is(ann: Caller) -> None:
    id = await ann.start("greet")
    await ann.cancel(id)
    await ann.ended(id)

    async with ann.listening(id) as events:
        await acknowledged(events)
        assert (await told(events))["status"] == "cancelled"


async def test_only_ones_own_tasks_are_honoured(ann: Caller) -> None:
    mine = await ann.start("greet")
    theirs = await ann.other(token="b").start("greet")

    async with ann.listening(theirs, mine, "t-guessed", mine) as events:
        assert await acknowledged(events) == {"taskIds": [mine]}
        assert (await told(events))["taskId"] == mine
        await ann.other(token="b").cancel(theirs)
        await ann.cancel(mine)
        while (task := await told(events))["status"] != "cancelled":
            assert task["taskId"] == mine
        assert task["taskId"] == mine


async def test_other_kinds_of_changes_come_on_the_same_stream(ann: Caller) -> None:
    id = await ann.start("greet")
    async with ann.listening(id, toolsListChanged=True) as events:
        assert await acknowledged(events) == {"toolsListChanged": True, "taskIds": [id]}


async def test_listening_needs_the_declaration(ann: Caller) -> None:
    with pytest.raises(Refused) as refused:
        await ann.other(token="a", declared=False).send("subscriptions/listen", {"notifications": {"taskIds": ["t-1"]}})

    assert (refused.value.status, refused.value.code) == (400, -32021)


@pytest.mark.parametrize("ids", ["t-1", [7], None, {"t-1": True}])
async def test_what_is_no_list_of_ids_is_refused(ann: Caller, ids: object) -> None:
    with pytest.raises(Refused) as refused:
        await ann.send("subscriptions/listen", {"notifications": {"taskIds": ids}})

    assert refused.value.code == -32602
