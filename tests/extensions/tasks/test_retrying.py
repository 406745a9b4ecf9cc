"""What fails for a while is tried again inside the task: who says so, how often, and what it keeps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.extensions.tasks.calling import Caller, Refused, calling
from trunkline import Context, ProtocolError, Retry, Server, TaskPolicy, ToolError, UpstreamUnavailable

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
QUICK = Retry(attempts=3, backoff=0.01)


class Flaky(Exception):
    """Goes away by itself."""


class Lab:
    """A caller, and what the tools did."""

    def __init__(self, caller: Caller, notes: list[str]) -> None:
        self.caller = caller
        self.notes = notes


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    server = Server("tasks", storage=f"sqlite:///{tmp_path / 'tasks.db'}")
    notes: list[str] = []
    add_tools(server, notes)
    async with calling(server) as caller:
        yield Lab(caller, notes)


def add_tools(server: Server, notes: list[str]) -> None:
    @server.tool(task=TaskPolicy(retry=Retry(attempts=3, backoff=0.01, on=(Flaky,))))
    async def flaky(failures: int, context: Context) -> str:
        key = await context.step("order", lambda key: notes.append(f"ordered {key}") or key)
        assert key == context.idempotency_key("order")
        notes.append(f"attempt {context.attempt}")
        if context.attempt <= failures:
            raise Flaky("the line is bad")
        return f"done at {context.attempt}"

    @server.tool(task=TaskPolicy(retry=Retry(attempts=3, backoff=0.01, on=(Flaky,))))
    async def asking(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        notes.append(f"attempt {context.attempt}")
        if context.attempt == 1:
            raise Flaky
        return f"Hello, {answer.content['name']}!"

    @server.tool(task=TaskPolicy(retry=Retry(attempts=2, backoff=0.01, on=(ToolError,))))
    def refusing(context: Context) -> str:
        notes.append(f"attempt {context.attempt}")
        raise ToolError("not now")

    @server.tool(task=TaskPolicy(retry=QUICK))
    async def failing(kind: str, context: Context) -> str:
        notes.append(f"attempt {context.attempt}")
        if kind == "upstream" and context.attempt == 1:
            raise UpstreamUnavailable("it broke off")
        if kind == "said" and context.attempt == 1:
            raise ProtocolError("busy", {"dev.trunkline/retry": True, "dev.trunkline/retryAfterMs": 300})
        if kind == "permanent":
            raise ProtocolError("wrong")
        if kind == "bug":
            raise RuntimeError("secret detail")
        return "fine"

    @server.tool(task=TaskPolicy(retry=Retry(attempts=2, backoff=30, on=(Flaky,))))
    async def patient() -> str:
        raise Flaky("the password is hunter2")


def text(task: dict[str, object]) -> str:
    return task["result"]["content"][0]["text"]  # type: ignore[index, no-any-return]


async def test_what_its_author_calls_transient_is_tried_again_and_steps_are_kept(lab: Lab) -> None:
    task = await lab.caller.ended(await lab.caller.start("flaky", failures=2))

    assert text(task) == "done at 3"
    assert [note.split()[0] for note in lab.notes] == ["ordered", "attempt", "attempt", "attempt"]
    assert lab.notes[1:] == ["attempt 1", "attempt 2", "attempt 3"]


async def test_the_last_attempt_ends_as_a_call_would(lab: Lab) -> None:
    task = await lab.caller.ended(await lab.caller.start("flaky", failures=9))

    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    assert text(task) == "Tool 'flaky' failed"
    assert lab.notes[-1] == "attempt 3"


async def test_answers_are_kept_for_the_next_attempt(lab: Lab) -> None:
    id = await lab.caller.start("asking")
    [key] = (await lab.caller.until(id, "input_required"))["inputRequests"]
    await lab.caller.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}})
    task = await lab.caller.ended(id)

    assert text(task) == "Hello, Ann!"
    assert lab.notes == ["attempt 1", "attempt 2"]


async def test_a_tool_that_says_no_is_tried_again_only_where_its_author_names_it(lab: Lab) -> None:
    task = await lab.caller.ended(await lab.caller.start("refusing"))

    assert (text(task), task["result"]["isError"]) == ("not now", True)
    assert lab.notes == ["attempt 1", "attempt 2"]


@pytest.mark.parametrize("kind", ["upstream", "said"])
async def test_errors_that_pass_are_tried_again(lab: Lab, kind: str) -> None:
    began = asyncio.get_running_loop().time()
    task = await lab.caller.ended(await lab.caller.start("failing", kind=kind))

    assert text(task) == "fine"
    assert lab.notes == ["attempt 1", "attempt 2"]
    assert kind != "said" or asyncio.get_running_loop().time() - began >= 0.3, "sooner than the error asked for"


async def test_errors_that_stay_are_not(lab: Lab) -> None:
    wrong = await lab.caller.ended(await lab.caller.start("failing", kind="permanent"))
    bug = await lab.caller.ended(await lab.caller.start("failing", kind="bug"))

    assert (wrong["status"], wrong["error"]["message"]) == ("failed", "wrong")
    assert bug["result"]["isError"] is True
    assert "secret" not in str(bug)
    assert lab.notes == ["attempt 1", "attempt 1"]


async def test_between_attempts_it_works_says_why_and_can_be_cancelled(lab: Lab) -> None:
    id = await lab.caller.start("patient")
    async with asyncio.timeout(20):
        while "statusMessage" not in (task := await lab.caller.get(id)):
            await asyncio.sleep(0.02)
    await lab.caller.cancel(id)

    assert task["status"] == "working"
    assert "1" in task["statusMessage"]
    assert "hunter2" not in str(task), "texts of exceptions are for the log"
    assert (await lab.caller.get(id))["status"] == "cancelled"


async def test_a_client_may_narrow_the_policy_and_not_widen_it(lab: Lab) -> None:
    once = {"dev.trunkline/task": {"attempts": 1}}
    many = {"dev.trunkline/task": {"attempts": 100}}
    narrowed = await lab.caller.ended(await lab.caller.start("flaky", once, failures=1))
    widened = await lab.caller.ended(await lab.caller.start("flaky", many, failures=9))

    assert narrowed["result"]["isError"] is True
    assert widened["result"]["isError"] is True
    assert [note for note in lab.notes if note.startswith("attempt")] == [
        "attempt 1",
        *(f"attempt {number}" for number in (1, 2, 3)),
    ]


async def test_an_idempotency_key_finds_its_task_again(lab: Lab) -> None:
    key = {"dev.trunkline/idempotencyKey": "one"}
    first = await lab.caller.start("flaky", key, failures=0)
    again = await lab.caller.start("flaky", key, failures=0)
    other = await lab.caller.start("flaky", {"dev.trunkline/idempotencyKey": "two"}, failures=0)
    await lab.caller.ended(first)
    ended = await lab.caller.call("flaky", key, failures=0)
    with pytest.raises(Refused) as refused:
        await lab.caller.call("flaky", key, failures=1)

    assert (again, ended["taskId"], ended["status"]) == (first, first, "completed")
    assert other != first
    assert refused.value.code == -32602


async def test_a_key_that_is_no_text_is_refused(lab: Lab) -> None:
    with pytest.raises(Refused) as refused:
        await lab.caller.call("flaky", {"dev.trunkline/idempotencyKey": 7}, failures=0)

    assert refused.value.code == -32602
