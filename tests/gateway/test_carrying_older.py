"""Tools that only run as tasks, for callers of older revisions: the gateway waits in their place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.gateway import callers
from tests.gateway.callers import gateway, until
from tests.gateway.test_carrying import FORM, upstream_at
from tests.transports.web import served
from trunkline import Context, ProtocolError, Server, TaskPolicy, ToolError
from trunkline.engine.engine import Engine
from trunkline.gateway import Federation

YES = {"elicitation/create": {"action": "accept", "content": {"name": "Ann"}}}
ABLE: dict[str, object] = {"elicitation": {"form": {}}}
REQUIRED = TaskPolicy(mode="required", poll=0.05)


def workshop(stopped: list[str]) -> Server:
    server = Server("workshop")

    @server.tool(task=REQUIRED)
    async def greet(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM)
        return f"Hello, {answer.content['name']}!"

    @server.tool(task=TaskPolicy(mode="required", trigger="after_input", poll=0.05))
    async def asked_first(context: Context) -> str:
        one = await context.elicit("Your name?", FORM, key="first")
        two = await context.elicit("Again?", FORM, key="second")
        return f"{one.content['name']} and {two.content['name']}"

    @server.tool(task=REQUIRED)
    async def broken() -> str:
        raise ToolError("no disk")

    @server.tool(task=REQUIRED)
    async def failing() -> str:
        raise ProtocolError("it cannot be")

    @server.tool(task=REQUIRED)
    async def endless() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("endless")
        return "never"

    return server


@contextlib.asynccontextmanager
async def over(stopped: list[str]) -> AsyncIterator[Engine]:
    async with served(workshop(stopped).app) as port:
        federation = Federation([upstream_at(port)])
        async with gateway(federation) as engine:
            await until(lambda: federation.statuses()[0].tools is not None)
            yield engine


@pytest.fixture
def stopped() -> list[str]:
    return []


@pytest.fixture
async def engine(stopped: list[str]) -> AsyncIterator[Engine]:
    async with over(stopped) as engine:
        yield engine


def caller(engine: Engine, revision: str, **options: object) -> callers.Caller:
    return callers.Caller(engine, revision, **{"capabilities": ABLE, "answers": YES, **options})


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-06-18", "2025-03-26"])
async def test_a_caller_of_an_older_revision_gets_the_result_and_is_asked_in_its_way(
    engine: Engine, revision: str
) -> None:
    one = caller(engine, revision)
    assert (await one.call("up__greet"))["content"][0]["text"] == "Hello, Ann!"
    assert [request.method for request in one.asked] == ["elicitation/create"]

    assert (await one.call("up__asked_first"))["content"][0]["text"] == "Ann and Ann"


async def test_how_the_task_ended_is_how_the_call_ends(engine: Engine) -> None:
    one = caller(engine, "2025-11-25")
    result = await one.call("up__broken")
    assert (result["isError"], result["content"][0]["text"]) == (True, "no disk")

    with pytest.raises(ProtocolError, match="it cannot be"):
        await one.call("up__failing")


async def test_a_caller_of_the_newest_revision_is_told_what_to_declare(engine: Engine) -> None:
    with pytest.raises(ProtocolError) as refused:
        await caller(engine, "2026-07-28").call("up__greet")

    assert refused.value.wire()["code"] == -32021


async def test_the_tool_is_told_what_the_caller_cannot_answer(engine: Engine) -> None:
    with pytest.raises(ProtocolError, match="elicitation"):
        await caller(engine, "2025-11-25", capabilities={}).call("up__greet")


async def test_when_the_caller_leaves_its_task_is_cancelled(engine: Engine, stopped: list[str]) -> None:
    call = asyncio.create_task(caller(engine, "2025-11-25").call("up__endless"))
    await asyncio.sleep(0.5)
    assert not call.done()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call

    await until(lambda: stopped == ["endless"])
