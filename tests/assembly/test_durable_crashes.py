"""Gateways, and servers of official SDKs behind them, killed with SIGKILL in the middle of slow calls."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_commands import Up
from tests.deploy.load import write_keys
from tests.extensions.tasks.calling import Caller
from tests.extensions.tasks.storing import emptied
from tests.interop.running import EVERYTHING, NODE, PYTHON, environment, need
from trunkline import Client

PEERS = Path(__file__).parent / "peers"
LONG = "npm__trigger-long-running-operation"

pytestmark = pytest.mark.timeout(240)
need(PYTHON, EVERYTHING)


def write(folder, **more):
    servers = {
        "py": {
            "command": str(PYTHON),
            "args": [str(PEERS / "crawler.py"), str(folder / "ledger")],
            "tasks": {"wait": 1, "backoff": 0.1},
        },
        "npm": {
            "command": str(NODE),
            "args": [str(EVERYTHING), "stdio"],
            "tasks": {"idempotent": True, "backoff": 0.1},
        },
    }
    path = folder / "trunkline.yaml"
    path.write_text(json.dumps({"servers": servers, **more}))
    return str(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def noted(folder):
    ledger = folder / "ledger"
    return ledger.read_text().splitlines() if ledger.exists() else []


async def until(met, seconds=30):
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.05)


async def plain(url, *words):
    """What the official client prints."""
    run = await asyncio.create_subprocess_exec(
        str(PYTHON), str(PEERS / "plain_client.py"), url, *words, stdout=subprocess.PIPE, env=environment()
    )
    return json.loads((await run.communicate())[0])


def processes(parent, word):
    """The children of a process whose command line holds a word."""
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if word in line]


async def test_a_gateway_that_is_killed_comes_back_to_its_calls(tmp_path, monkeypatch):
    """Nothing is configured but `tasks`: what the gateway keeps is in the file that belongs to the configuration."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path, port = write(tmp_path), free_port()
    up = await asyncio.to_thread(Up, path, "--port", port)
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        async with Client(url) as client:
            short = await client.start("py__crawl", name="short", seconds=0.1)
            assert (await short.result()).text == "short took its time"
            kept = {
                "crawl": (await client.start("py__crawl", name="crawl", seconds=60)).id,
                "npm": (await client.start(LONG, duration=20, steps=3)).id,
                "pay": (await client.start("py__pay", name="pay", seconds=60)).id,
            }
        # A client that knows nothing of tasks is told where to look when it waited long enough.
        told = await plain(url, "call", "py__crawl", '{"name": "plain", "seconds": 60}')
        uri = told["content"][1]["uri"]
        await until(lambda: {"crawl began", "pay began", "plain began"} <= set(noted(tmp_path)))
        up.stop(signal.SIGKILL)
        assert "crawl ended" not in noted(tmp_path)
        (tmp_path / "go").touch()

        up = await asyncio.to_thread(Up, path, "--port", port)
        async with Client(url) as client:
            assert (await (await client.resume(short.id)).result()).text == "short took its time"
            results = await asyncio.gather(*(_resumed(client, kept[name]) for name in ("crawl", "npm")))
            assert results[0] == "crawl took its time" and "Long running operation completed" in results[1]
            with pytest.raises(Exception, match=r"is gone\. It may have run in part"):
                await _resumed(client, kept["pay"])
        async with asyncio.timeout(60):
            while (shown := json.loads((await plain(url, "read", uri))["contents"][0]["text"]))["status"] == "working":
                await asyncio.sleep(0.5)
        assert shown["result"]["content"][0]["text"] == "plain took its time"
        begun = [words for words in noted(tmp_path) if words.endswith("began")]
        assert (begun.count("crawl began"), begun.count("plain began"), begun.count("pay began")) == (2, 2, 1)
    finally:
        up.stop(signal.SIGKILL)


async def _resumed(client, id):
    return (await (await client.resume(id)).result()).text


async def test_a_server_that_is_killed_is_called_again_where_that_does_no_harm(tmp_path):
    up = await asyncio.to_thread(Up, write(tmp_path), "--storage", f"sqlite:///{tmp_path / 'state.db'}")
    try:
        async with aiohttp.ClientSession() as http:
            caller = Caller(up.url, http)
            crawl = await caller.start("py__crawl", name="crawl", seconds=60)
            pay = await caller.start("py__pay", name="pay", seconds=60)
            npm = await caller.start(LONG, duration=12, steps=3)
            await until(lambda: {"crawl began", "pay began"} <= set(noted(tmp_path)))
            await asyncio.sleep(0.5)
            doomed = [processes(up.process.pid, word) for word in ("crawler.py", "server-everything")]
            assert all(doomed)
            for pid in doomed[0] + doomed[1]:
                os.kill(pid, signal.SIGKILL)
            (tmp_path / "go").touch()

            again = await caller.ended(crawl, 60)
            assert again["result"]["content"][0]["text"] == "crawl took its time"
            lost = await caller.ended(pay, 60)
            assert lost["status"] == "failed" and lost["error"]["data"]["dev.trunkline/mayHaveRun"] is True
            assert "completed" in (await caller.ended(npm, 60))["result"]["content"][0]["text"]
            assert (noted(tmp_path).count("crawl began"), noted(tmp_path).count("pay began")) == (2, 1)
    finally:
        up.stop(signal.SIGKILL)


@pytest.fixture
def database(request):
    return emptied(request.getfixturevalue("postgresql"))


async def test_another_replica_finishes_what_a_killed_one_began(tmp_path, database):
    path, keys = write(tmp_path), write_keys(tmp_path)
    ups = [await asyncio.to_thread(Up, path, "--storage", database, "--keys", keys) for _ in range(2)]
    try:
        async with aiohttp.ClientSession() as http:
            first, second = (Caller(up.url, http) for up in ups)
            done = await first.start("py__crawl", name="done", seconds=0.1)
            assert (await second.ended(done))["result"]["content"][0]["text"] == "done took its time"
            crawl = await first.start("py__crawl", name="crawl", seconds=60)
            await until(lambda: "crawl began" in noted(tmp_path))
            ups[0].stop(signal.SIGKILL)
            (tmp_path / "go").touch()
            taken = await second.ended(crawl, 90)
            assert taken["result"]["content"][0]["text"] == "crawl took its time"
            assert taken["_meta"]["dev.trunkline/attempt"] == 2
    finally:
        for up in ups:
            if up.process.poll() is None:
                up.stop(signal.SIGKILL)
