"""Durable calls of tools behind HTTP: the two-endpoint transport of 2024-11-05, and servers that stop in a call."""

import asyncio
import contextlib
import signal
import socket
import subprocess

import pytest

from tests.assembly.test_durable import behind, text_of
from tests.assembly.test_durable_crashes import PEERS, until
from tests.cli.test_commands import Up
from tests.extensions.tasks.calling import Caller
from tests.interop.running import EVERYTHING, NODE, PYTHON, environment, need
from trunkline.protocol.messages import CAPABILITIES_KEY

LONG = "up__trigger-long-running-operation"

pytestmark = pytest.mark.timeout(150)


class Plain(Caller):
    """A client without roots, for which the server would ask first."""

    def body(self, method, params, meta=None):
        made = super().body(method, params, meta)
        del made["params"]["_meta"][CAPABILITIES_KEY]["roots"]
        return made


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A server over HTTP+SSE, at the same port each time it is started."""

    def __init__(self, port, *command):
        self.port = port
        self._command = command
        self._process = None

    async def start(self):
        self._process = subprocess.Popen(
            self._command,
            env={**environment(), "PORT": str(self.port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await until(self._reached)

    def _reached(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self._process.kill()
        self._process.wait(20)


@contextlib.asynccontextmanager
async def over_sse(folder, port, *command, **tasks):
    """A server, and a caller of a durable gateway before it."""
    need(EVERYTHING, PYTHON)
    server = Process(port, *command)
    await server.start()
    try:
        entry = {"url": f"http://127.0.0.1:{server.port}/sse", "transport": "sse", "tasks": tasks or True}
        async with behind(folder, {"up": entry}) as (gateway, _, caller):
            await until(lambda: gateway.statuses()[0].tools is not None)
            yield server, Plain(caller.url, caller.http)
    finally:
        server.kill()


async def test_a_server_over_sse_becomes_durable_and_its_progress_the_status(tmp_path):
    async with over_sse(tmp_path, free_port(), str(NODE), str(EVERYTHING), "sse") as (_, caller):
        id = await caller.start(LONG, duration=2, steps=4)
        async with asyncio.timeout(20):
            while "of 4" not in (await caller.get(id)).get("statusMessage", ""):
                await asyncio.sleep(0.05)
        assert text_of(await caller.ended(id)) == "Long running operation completed. Duration: 2 seconds, Steps: 4."
        undeclared = Plain(caller.url, caller.http, declared=False)
        plain = await undeclared.call(LONG, duration=0.2, steps=1)
        assert plain["content"][0]["text"].startswith("Long running operation completed.")


async def test_a_question_of_a_server_over_sse_parks_the_task(tmp_path):
    async with over_sse(tmp_path, free_port(), str(NODE), str(EVERYTHING), "sse") as (_, caller):
        id = await caller.start("up__trigger-elicitation-request")
        task = await caller.until(id, "input_required")
        ((key, request),) = task["inputRequests"].items()
        assert request["method"] == "elicitation/create"
        await caller.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}})
        assert "Ann" in str((await caller.ended(id))["result"]["content"])


async def test_a_server_over_sse_that_dies_in_a_call_is_called_again_where_that_does_no_harm(tmp_path):
    port, ledger = free_port(), tmp_path / "ledger"
    command = (str(PYTHON), str(PEERS / "crawler.py"), str(ledger), str(port))
    async with over_sse(tmp_path, port, *command, backoff=0.2, attempts=20) as (server, caller):
        ids = [await caller.start(tool, name=tool, seconds=3) for tool in ("up__crawl", "up__pay")]
        await until(lambda: ledger.exists() and ledger.read_text().count("began") == 2)
        server.kill()
        await server.start()
        crawl, pay = [await caller.ended(id, 60) for id in ids]

        assert text_of(crawl) == "up__crawl took its time"
        assert pay["status"] == "failed" and pay["error"]["data"]["dev.trunkline/mayHaveRun"] is True
        begun = ledger.read_text().splitlines()
        assert (begun.count("up__crawl began"), begun.count("up__pay began")) == (2, 1)


STOPPING = """
import asyncio, os
from trunkline import Server
server = Server("works")


async def take(what):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(f"{what}\\n")
    await asyncio.sleep(60)
    return "done"


@server.tool
async def pay() -> str:
    return await take("pay")


@server.tool(annotations={"idempotentHint": True})
async def crawl() -> str:
    return await take("crawl")
"""


async def test_a_call_that_a_stopping_server_interrupts_is_made_again_only_where_that_does_no_harm(
    tmp_path, monkeypatch
):
    """It may have run in part, whatever the server says of trying again."""
    ledger = tmp_path / "ledger"
    monkeypatch.setenv("LEDGER", str(ledger))
    (tmp_path / "works.py").write_text(STOPPING)
    port = str(free_port())

    def up():
        return Up("--port", port, "--drain-timeout", "0.2", str(tmp_path / "works.py"))

    first = await asyncio.to_thread(up)
    server = first
    try:
        servers = {"works": {"url": first.url, "tasks": {"attempts": 20, "backoff": 0.2}}}
        async with behind(tmp_path, servers) as (_, _, caller):
            pay, crawl = await caller.start("works__pay"), await caller.start("works__crawl")
            await until(lambda: ledger.exists() and ledger.read_text().count("\n") == 2)
            first.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(first.process.wait, 30)
            server = await asyncio.to_thread(up)
            task = await caller.ended(pay)
            assert task["status"] == "failed" and task["error"]["data"]["dev.trunkline/mayHaveRun"] is True
            await until(lambda: ledger.read_text().split().count("crawl") == 2)
            assert ledger.read_text().split().count("pay") == 1
            await caller.cancel(crawl)
            assert (await caller.ended(crawl))["status"] == "cancelled"
    finally:
        for one in {first, server}:
            if one.process.poll() is None:
                one.stop(signal.SIGKILL)
