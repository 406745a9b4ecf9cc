"""Tasks of upstreams that have their own, through the gateway: over real HTTP, every answer held to the schema."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.extensions.tasks.calling import TASKS, Caller, Refused
from tests.extensions.tasks.test_listening import acknowledged, told
from tests.gateway.callers import until
from tests.transports.web import served
from trunkline import Context, Principal, ResourceLink, Server, StaticTokens, TaskPolicy, ToolError
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.gateway import Carrying, Federation
from trunkline.portable.model import Entry
from trunkline.protocol import json
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
TOKENS = {"a": Principal("test", "ann"), "b": Principal("test", "bob")}
KEY = b"k" * 32
NEWER = b"n" * 32


def workshop(database: str | None = None) -> Server:
    """A server that makes tasks of its own."""
    server = Server("workshop", storage=database)

    @server.tool(task=True)
    async def greet(context: Context) -> str:
        answer = await context.elicit("Your name?", FORM, key="who")
        return f"Hello, {answer.content['name']}!"

    @server.tool(task=True)
    async def quick(number: int = 1) -> int:
        return number

    @server.tool(task=TaskPolicy(mode="required"))
    async def broken() -> str:
        raise ToolError("as it always does")

    @server.tool(task=True)
    async def point() -> list[ResourceLink]:
        return [ResourceLink("shop://catalogue", "catalogue")]

    @server.tool(task=True)
    async def endless() -> str:
        await asyncio.Event().wait()
        return "never"

    @server.tool
    async def plain(context: Context) -> list[str]:
        return sorted(context.capabilities.get("extensions", {}))  # type: ignore[call-overload]

    @server.resource("shop://catalogue")
    def catalogue() -> str:
        return "everything"

    return server


def gateway(*entries: Entry, keys: Keys | None = None, scope: str = "", shared: object = None) -> HTTPTransport:
    federation = Federation(entries, shared=shared)  # type: ignore[arg-type]
    engine = Engine(federation, keys=keys or Keys([KEY]))
    engine.extend(Carrying(federation, engine.keys, scope).extension())
    return HTTPTransport(Application(engine, authenticator=StaticTokens(TOKENS), shared=shared))  # type: ignore[arg-type]


def upstream_at(port: int, name: str = "up") -> Entry:
    return Entry(name, "http", url=f"http://127.0.0.1:{port}/mcp")


@contextlib.asynccontextmanager
async def before(*entries: Entry, known: bool = True, **options: object) -> AsyncIterator[Caller]:
    """A gateway, and ann before it, once it knows what its upstreams have."""
    app = gateway(*entries, **options)  # type: ignore[arg-type]
    async with served(app) as port, aiohttp.ClientSession() as http:
        federation = app.application.engine.provider
        await until(lambda: not known or all(row.tools is not None for row in federation.statuses()))  # type: ignore[attr-defined]
        yield Caller(f"http://127.0.0.1:{port}/mcp", http, token="a")


@pytest.fixture
async def ann() -> AsyncIterator[Caller]:
    async with served(workshop().app) as port, before(upstream_at(port)) as caller:
        yield caller


async def test_a_call_becomes_a_task_of_the_upstream_and_ends_through_the_gateway(ann: Caller) -> None:
    id = await ann.start("up__greet")
    task = await ann.until(id, "input_required")
    assert task["taskId"] == id
    assert list(task["inputRequests"]) == ["who"]
    await ann.update(id, {"who": {"action": "accept", "content": {"name": "Ann"}}})
    task = await ann.ended(id)

    assert task["result"]["content"][0]["text"] == "Hello, Ann!"
    assert task["taskId"] == id


async def test_a_task_is_cancelled_through_the_gateway(ann: Caller) -> None:
    id = await ann.start("up__endless")
    await ann.cancel(id)

    assert (await ann.ended(id))["status"] == "cancelled"
    await ann.cancel(id)


async def test_a_listener_hears_of_each_state_under_the_id_it_knows(ann: Caller) -> None:
    id = await ann.start("up__greet")
    async with ann.listening(id, "t-none-of-ours") as events:
        assert await acknowledged(events) == {"taskIds": [id]}
        while (task := await told(events))["status"] != "input_required":
            assert task["taskId"] == id
        await ann.update(id, {"who": {"action": "accept", "content": {"name": "Ann"}}})
        while (task := await told(events))["status"] != "completed":
            assert task["taskId"] == id

        assert task["result"]["content"][0]["text"] == "Hello, Ann!"  # type: ignore[index]


async def test_a_client_without_the_extension_is_never_answered_with_a_task(ann: Caller) -> None:
    other = ann.other(declared=False, token="a")

    assert (await other.call("up__quick", number=7))["content"][0]["text"] == "7"
    assert (await other.call("up__plain"))["structuredContent"]["result"] == []
    assert (await ann.call("up__plain"))["structuredContent"]["result"] == [TASKS]
    with pytest.raises(Refused) as refused:
        await other.call("up__broken")
    assert refused.value.code == -32021
    assert refused.value.data["requiredCapabilities"]["extensions"] == {TASKS: {}}


async def test_the_gateway_declares_the_extension_while_an_upstream_has_it(ann: Caller) -> None:
    assert TASKS in (await ann.send("server/discover", {}))["capabilities"]["extensions"]

    plain = Server("plain")
    async with served(plain.app) as port, before(upstream_at(port)) as other:
        assert "extensions" not in (await other.send("server/discover", {}))["capabilities"]
        with pytest.raises(Refused) as refused:
            await other.get("t-none")
        assert refused.value.code == -32601


async def test_links_in_the_result_lead_back_through_the_gateway() -> None:
    async with (
        served(workshop().app) as one,
        served(workshop().app) as two,
        before(upstream_at(one, "one"), upstream_at(two, "two")) as ann,
    ):
        uris = []
        for name in ("one", "two"):
            task = await ann.ended(await ann.start(f"{name}__point"))
            uris.append(task["result"]["content"][0]["uri"])

        assert len(set(uris)) == 2
        for uri in uris:
            assert (await ann.send("resources/read", {"uri": uri}))["contents"][0]["text"] == "everything"


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_somebody_elses_id_is_as_unknown_as_one_that_never_was(ann: Caller, method: str) -> None:
    id = await ann.start("up__greet")
    bob = ann.other(token="b")
    forged = id[:-3] + ("AAA" if not id.endswith("AAA") else "BBB")
    # The own id of the upstream's task, however it came to be known, is none here.
    answers = []
    for guess in (id, forged, id[:40], id[:-4], id + "AAAA", "t-AAAAAAAAAAAAAAAAAAAAAA", "A" * 5000):
        with pytest.raises(Refused) as refused:
            await bob.send(method, {"taskId": guess, "inputResponses": {}})
        answers.append((refused.value.status, refused.value.code, refused.value.message, refused.value.data))

    assert len(set(map(str, answers))) == 1, answers
    assert answers[0][:2] == (400, -32602)
    for guess in (forged, id[:40], id[:-4]):
        with pytest.raises(Refused) as refused:
            await ann.send(method, {"taskId": guess, "inputResponses": {}})
        assert (400, -32602, refused.value.message, None) == answers[0]
    assert (await ann.until(id, "input_required"))["status"] == "input_required"


async def test_nobody_listens_to_somebody_elses_task(ann: Caller) -> None:
    id = await ann.start("up__quick")
    async with ann.other(token="b").listening(id) as events:
        assert await acknowledged(events) == {"taskIds": []}


async def test_an_id_opens_at_any_replica_and_after_the_keys_were_rotated_and_in_no_other_application() -> None:
    async with served(workshop().app) as port:
        async with before(upstream_at(port)) as ann, before(upstream_at(port)) as other:
            id = await ann.start("up__quick", number=3)
            assert (await other.ended(id))["result"]["content"][0]["text"] == "3"
        async with before(upstream_at(port), keys=Keys([NEWER, KEY])) as ann:
            assert (await ann.ended(id))["result"]["content"][0]["text"] == "3"
        async with before(upstream_at(port), keys=Keys([NEWER])) as ann:
            with pytest.raises(Refused, match="unknown task"):
                await ann.get(id)
        async with before(upstream_at(port), scope="/endpoints/other/mcp") as ann:
            with pytest.raises(Refused, match="unknown task"):
                await ann.get(id)


async def test_who_is_gone_from_the_configuration_is_named() -> None:
    async with served(workshop().app) as port:
        async with before(upstream_at(port)) as ann:
            id = await ann.start("up__quick")
        async with before(upstream_at(port, "renamed")) as ann:
            with pytest.raises(Refused) as refused:
                await ann.get(id)

    assert refused.value.code == -31005
    assert "upstream up is no longer configured" in refused.value.message
    assert refused.value.data == {"dev.trunkline/upstream": "up", "dev.trunkline/retry": False}


async def test_an_upstream_out_of_reach_is_named_and_the_task_is_there_when_it_is_back(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'tasks.db'}"
    async with served(workshop(database).app) as port, before(upstream_at(port)) as ann:
        id = await ann.start("up__quick", number=5)
        await ann.ended(id)
    async with before(Entry("up", "http", url="http://127.0.0.1:9/mcp", startup_timeout=1.0), known=False) as ann:
        with pytest.raises(Refused) as refused:
            await ann.get(id)
        assert refused.value.code == -31005 and refused.value.data["dev.trunkline/retry"] is True
    async with served(workshop(database).app) as port, before(upstream_at(port)) as ann:
        assert (await ann.get(id))["result"]["content"][0]["text"] == "5"


async def test_errors_speak_of_the_task_by_the_id_the_client_knows(ann: Caller, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'other.db'}"
    async with served(workshop(database).app) as port, before(upstream_at(port)) as ann:
        id = await ann.start("up__quick")
        assert json.encode(await ann.ended(id)).count(b'"t-') == 0
