"""Carried tasks with real processes: killed gateways, upstreams others wrote, upstreams over stdio, a chain."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.client.test_interop import command, listening
from tests.deploy.balancing import Replica, free_ports
from tests.deploy.load import write_keys
from tests.extensions.tasks.calling import TASKS, Answer, Caller, Refused
from tests.extensions.tasks.test_durability import YES, Stage
from tests.gateway.test_carrying import before, gateway, upstream_at, workshop
from tests.storage.conftest import QUICK
from tests.transports.web import served
from trunkline import Client, RemoteError, TaskCancelled, ToolError, accept_defaults
from trunkline.portable.model import Entry
from trunkline.protocol import messages
from trunkline.transports.stored import Stored

pytestmark = pytest.mark.timeout(120)


class Replicas:
    """Two gateway processes over one upstream process, with nothing in common but their keys."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(f"sqlite:///{folder / 'tasks.db'}", folder / "ledger")
        servers = {"stage": {"type": "http", "url": self.stage.url}}
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
        keys = write_keys(folder)
        self.both = [Replica(folder, port, keys) for port in free_ports(2)]
        for replica in self.both:
            replica.wait_ready()

    def end(self) -> None:
        for replica in self.both:
            if replica.process.poll() is None:
                replica.end(signal.SIGKILL)
        self.stage.end()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    both = Replicas(tmp_path)
    yield both
    both.end()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def at(replica: Replica, http: aiohttp.ClientSession) -> Caller:
    return Caller(f"http://127.0.0.1:{replica.port}/mcp", http)


async def test_a_gateway_killed_between_creation_and_result_loses_nothing(
    replicas: Replicas, http: aiohttp.ClientSession
) -> None:
    one, other = replicas.both
    id = await at(one, http).start("stage__safe")
    await asyncio.to_thread(one.end, signal.SIGKILL)
    [key] = (await at(other, http).until(id, "input_required"))["inputRequests"]
    await at(other, http).update(id, {key: YES})
    await asyncio.to_thread(other.end, signal.SIGKILL)

    one.start()
    await asyncio.to_thread(one.wait_ready)
    task = await at(one, http).ended(id)
    assert task["result"]["content"][0]["text"] == "Ann after three steps"


async def test_a_listener_hears_the_end_although_the_upstream_was_replaced(
    replicas: Replicas, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    ann = at(replicas.both[1], http)
    id = await at(replicas.both[0], http).start("stage__safe")
    await ann.until(id, "input_required")
    async with ann.listening(id) as events:
        await events.message()
        port = int(replicas.stage.url.rpartition(":")[2].partition("/")[0])
        replicas.stage.end()
        replicas.stage = await asyncio.to_thread(
            Stage, f"sqlite:///{tmp_path / 'tasks.db'}", tmp_path / "ledger", port=port
        )
        [key] = (await once_it_is_back(ann, id))["inputRequests"]
        await ann.update(id, {key: YES})
        seen: list[Any] = []
        async with asyncio.timeout(60):
            while not seen or seen[-1]["params"]["status"] != "completed":
                seen.append(await events.message())

    assert {one["params"]["taskId"] for one in seen} == {id}


async def once_it_is_back(caller: Caller, id: str) -> Answer:
    """The task, once its upstream can be reached again: until then each answer says that it may be tried again."""
    async with asyncio.timeout(40):
        while True:
            try:
                return await caller.get(id)
            except Refused as refused:
                assert (refused.code, refused.data["dev.trunkline/retry"]) == (-31005, True)
            await asyncio.sleep(0.1)


async def test_tasks_of_fastmcp_through_the_gateway() -> None:
    with listening([*command("fastmcp_tasks"), "http"], "/mcp") as url:
        async with before(Entry("fast", "http", url=url)) as ann:
            headers = {"Authorization": "Bearer a"}
            async with Client(ann.url, headers=headers, elicit=accept_defaults) as client:
                assert (await client.call("fast__add", a=1, b=2)).data == 3
                assert (await client.call("fast__slow", seconds=0.5)).data == "slept"
                assert (await client.call("fast__greet")).data == "Hello Ann"
                with pytest.raises(ToolError, match="the disk is full"):
                    await client.call("fast__fail")
                handle = await client.start("fast__slow", seconds=60)
                async with Client(ann.url, headers={"Authorization": "Bearer b"}) as bob:
                    with pytest.raises(RemoteError, match="unknown task"):
                        await bob.resume(handle.id)
                await handle.cancel()
                with pytest.raises(TaskCancelled):
                    await handle.result()
            async with Client(ann.url, headers=headers, elicit=accept_defaults, era="legacy") as older:
                assert (await older.call("fast__slow", seconds=0.3)).data == "slept"
                assert (await older.call("fast__greet")).data == "Hello Ann"


async def test_ids_are_wrapped_again_by_each_gateway_on_the_way() -> None:
    async with served(workshop().app) as port, served(gateway_alone(port)) as inner, before(upstream_at(inner)) as ann:
        headers = {"Authorization": "Bearer a"}
        async with Client(ann.url, headers=headers, elicit=lambda *_: {"name": "Ann"}) as client:
            handle = await client.start("up__up__greet")
            assert (await handle.result()).text == "Hello, Ann!"
            assert len(handle.id) < 500


def gateway_alone(port: int) -> Any:
    app = gateway(upstream_at(port))
    app.application.authenticator = None
    return app


SCRIPT = "from tests.gateway.test_carrying import workshop; workshop().run()"


@pytest.mark.parametrize("processes", ["shared", "per-session"])
async def test_tasks_of_a_process_are_found_in_it(processes: str) -> None:
    entry = Entry("up", "stdio", command=sys.executable, args=("-c", SCRIPT), processes=processes)  # type: ignore[arg-type]
    async with before(entry) as ann:
        id = await ann.start("up__greet")
        task = await ann.until(id, "input_required")
        async with ann.listening(id) as events:
            await events.message()
            # What a client can do may differ from request to request; the process is the one of the call.
            less = {messages.CAPABILITIES_KEY: {"extensions": {TASKS: {}}}}
            assert (await ann.send("tasks/get", {"taskId": id}, less))["status"] == "input_required"
            await ann.update(id, dict.fromkeys(task["inputRequests"], YES))
            async with asyncio.timeout(30):
                while (await events.message())["params"]["status"] != "completed":  # type: ignore[index]
                    pass
        assert (await ann.get(id))["result"]["content"][0]["text"] == "Hello, Ann!"


@pytest.mark.parametrize("processes", ["shared", "per-session"])
async def test_a_process_at_another_replica_is_asked_there(processes: str, tmp_path: Path) -> None:
    entry = Entry("up", "stdio", command=sys.executable, args=("-c", SCRIPT), processes=processes)  # type: ignore[arg-type]
    database = f"sqlite:///{tmp_path / 'shared.db'}"
    async with (
        before(entry, shared=Stored(database, QUICK)) as one,
        before(entry, shared=Stored(database, QUICK)) as other,
    ):
        id = await one.start("up__greet")
        task = await other.until(id, "input_required")
        await other.update(id, dict.fromkeys(task["inputRequests"], YES))
        assert (await other.ended(id))["result"]["content"][0]["text"] == "Hello, Ann!"


async def test_a_process_for_one_call_alone_is_not_asked_for_tasks() -> None:
    entry = Entry("up", "stdio", command=sys.executable, args=("-c", SCRIPT), processes="per-call")
    async with before(entry) as ann:
        assert (await ann.call("up__quick", number=3))["content"][0]["text"] == "3"
