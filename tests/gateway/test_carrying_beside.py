"""Tasks that upstreams keep and tasks of the gateway's own, in one gateway."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.extensions.tasks.calling import Caller, Refused
from tests.extensions.tasks.test_listening import acknowledged, told
from tests.gateway import callers
from tests.gateway.callers import until
from tests.gateway.test_carrying import TOKENS, gateway, upstream_at, workshop
from tests.transports.web import served
from trunkline import StaticTokens, TaskPolicy
from trunkline.engine.engine import Engine
from trunkline.extensions.tasks.extension import Tasks
from trunkline.extensions.tasks.worker import Rule
from trunkline.gateway import Carrying, Federation
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

YES = {"action": "accept", "content": {"name": "Ann"}}


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[Caller]:
    """Ann before a gateway that makes tasks of some tools of an upstream that has tasks, too."""
    rules = {name: Rule(TaskPolicy(poll=0.05)) for name in ("up__point", "up__broken")}
    async with served(workshop().app) as upstream:
        federation = Federation([upstream_at(upstream)])
        engine = Engine(federation)
        carrying = Carrying(federation, engine.keys)
        tasks = Tasks(rules.get, lambda: list(rules), "", lambda: None)
        engine.extend(*tasks.extensions(carrier=carrying))
        app = HTTPTransport(Application(engine, authenticator=StaticTokens(TOKENS)))
        async with served(app) as port, aiohttp.ClientSession() as http:
            await until(lambda: federation.statuses()[0].tools is not None)
            yield Caller(f"http://127.0.0.1:{port}/mcp", http, token="a")


async def test_each_kind_of_task_is_found_and_listened_to_by_its_id() -> None:
    async with both() as ann:
        own, carried = await ann.start("up__point"), await ann.start("up__greet")
        assert own.startswith("t-") and not carried.startswith("t-")
        assert (await ann.ended(own))["result"]["content"][0]["type"] == "resource_link"
        assert list((await ann.until(carried, "input_required"))["inputRequests"]) == ["who"]

        async with ann.listening(own, carried) as events:
            agreed = await acknowledged(events)
            assert sorted(agreed["taskIds"]) == sorted([own, carried])  # type: ignore[call-overload]
            await ann.update(carried, {"who": YES})
            ended = set()
            while len(ended) < 2:
                task = await told(events)
                if task["status"] == "completed":
                    ended.add(task["taskId"])
            assert ended == {own, carried}

        answers = []
        for guess in (own, carried, "t-AAAAAAAAAAAAAAAAAAAAAA", "AAAA"):
            with pytest.raises(Refused) as refused:
                await ann.other(token="b").get(guess)
            answers.append((refused.value.status, refused.value.code, refused.value.message, refused.value.data))
        assert len(set(map(str, answers))) == 1 and answers[0][1] == -32602


async def test_a_task_of_the_gateway_waits_for_a_tool_that_is_only_a_task_at_its_server() -> None:
    async with both() as ann:
        task = await ann.ended(await ann.start("up__broken"))

        assert (task["status"], task["result"]["isError"]) == ("completed", True)
        assert task["result"]["content"][0]["text"] == "as it always does"


async def test_without_anybody_to_carry_them_no_tasks_are_asked_for() -> None:
    async with served(workshop().app) as upstream:
        federation = Federation([upstream_at(upstream)])
        async with callers.gateway(federation) as engine:
            await until(lambda: federation.statuses()[0].tools is not None)
            able = {"extensions": {"io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": {}}}
            result = await callers.Caller(engine, capabilities=able).call("up__plain")

    assert result["structuredContent"]["result"] == ["io.modelcontextprotocol/ui"]


async def test_a_gateway_that_keeps_no_tasks_starts_nothing_for_them() -> None:
    app = gateway()

    assert all(one.start is None and one.drain is None for one in app.application.engine.extensions)
    assert all(one.interceptor is None for one in app.application.engine.extensions)


def test_whoever_only_carries_tasks_loads_no_database() -> None:
    look = "import sys, trunkline.gateway; sys.exit('sqlalchemy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
