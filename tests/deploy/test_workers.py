"""Several workers on one socket, as processes under load: they are exchanged, killed, stopped, and no call is lost."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_commands import TRUNKLINE, Up
from tests.deploy.load import Load, load, tool, write_keys, write_server
from tests.transports.connections import hurried, spoken


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return write_keys(tmp_path)


@contextlib.contextmanager
def up(*arguments: str) -> Iterator[Up]:
    """A running `trunkline up` whose two workers both take requests."""
    started = Up("--workers", "2", "--log-format", "json", *arguments)
    try:
        started.wait_for("all workers are ready")
        yield started
    finally:
        if started.process.poll() is None:
            started.stop(signal.SIGKILL)


def children(pid: int) -> set[int]:
    """The processes somebody started and that still run."""
    listed = subprocess.run(["ps", "-o", "pid=,stat=", "--ppid", str(pid)], capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid) for pid, state in rows if not state.startswith("Z")}


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(met: "object", seconds: float = 40) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not met():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gateway(folder: Path, label: str = "one") -> str:
    """A configuration with one server, and a title by which clients see which one it is."""
    server = write_server(folder, label)
    path, fresh = folder / "mcp.json", folder / "mcp.new"
    entry = {"command": sys.executable, "args": [str(server)], "env": {"LABEL": label}}
    fresh.write_text(json.dumps({"mcpServers": {"stage": entry}}))
    fresh.replace(path)
    return str(path)


async def both_answer(url: str, seconds: float = 40) -> set[str]:
    """Who answers, asked on fresh connections until two have."""
    found: set[str] = set()
    deadline = time.monotonic() + seconds
    while len(found) < 2:
        assert time.monotonic() < deadline, found
        async with load(url, callers=4) as seen:
            await seen.reaches(8)
        assert not seen.failures
        found |= set(seen.answers)
    return found


async def test_all_workers_serve_one_address_and_logs_say_which(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, str(write_server(tmp_path))) as running:
        answering = await both_answer(running.url)
        assert {int(answer.split()[1]) for answer in answering} == children(running.process.pid)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            seen = Load()
            await asyncio.gather(*(seen.call(http, running.url, "who") for _ in range(40)))
        shares = Counter(seen.answers)
        assert min(shares.values()) >= 5, "connections that are kept must not end up with one worker"
        running.wait_for(r'"worker": 1\b')
        running.wait_for(r'"worker": 2\b')
        assert running.seen.count("in a client") == 1


@pytest.mark.timeout(150)
async def test_new_code_takes_over_without_a_lost_call(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, gateway(tmp_path)) as running:
        before = children(running.process.pid)
        async with load(running.url, "stage__who") as seen:
            await seen.reaches(20)
            write_server(tmp_path, "two")
            running.process.send_signal(signal.SIGUSR2)
            async with aiohttp.ClientSession() as http:
                while "all workers were replaced" not in running.seen and not seen.failures:
                    # A replica of which one worker gives way to another is as ready as ever.
                    async with http.get(running.url.replace("/mcp", "/readyz")) as response:
                        assert response.status == 200
                    await seen.reaches(5)
            await seen.reaches(20)
        assert seen.failures == []
        assert {answer.split()[0] for answer in seen.answers[-15:]} == {"two"}
        assert not before & children(running.process.pid)
        assert len(children(running.process.pid)) == 2


async def test_new_code_that_does_not_start_takes_over_nothing(tmp_path: Path, keys: str) -> None:
    script = write_server(tmp_path)
    with up("--keys", keys, str(script)) as running:
        script.write_text("raise RuntimeError('no')")
        # A server has no configuration to read again.
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("a new worker does not get ready; the old ones go on")
        assert {answer.split()[0] for answer in await both_answer(running.url)} == {"one"}


async def test_a_killed_worker_is_replaced_and_the_others_go_on(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, str(write_server(tmp_path))) as running:
        (victim, *_) = before = sorted(children(running.process.pid))
        async with load(running.url) as seen:
            await seen.reaches(20)
            os.kill(victim, signal.SIGKILL)
            running.wait_for("a worker ended and is started again")
            await seen.reaches(20) if not seen.failures else None
        # Those whose connection it held and who were being answered, at most once each.
        assert len(seen.failures) <= 6
        answering = {int(answer.split()[1]) for answer in await both_answer(running.url)}
        assert victim not in answering
        assert len(answering & set(before)) == 1


async def test_an_answer_to_a_question_may_come_to_another_worker(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, str(write_server(tmp_path))) as running:
        for _ in range(10):
            state: dict[str, object] = {}
            for text in ("input_required", "Hello Ann"):
                data, headers = tool("greet", more=state)
                async with aiohttp.request("POST", running.url, data=data, headers=headers) as response:
                    result = (await response.json())["result"]
                assert text in json.dumps(result)
                if "requestState" in result:
                    answer = {"action": "accept", "content": {"name": "Ann"}}
                    responses = dict.fromkeys(result["inputRequests"], answer)
                    state = {"requestState": result["requestState"], "inputResponses": responses}


@pytest.mark.timeout(150)
async def test_a_crash_loop_is_told(tmp_path: Path, keys: str) -> None:
    script = write_server(tmp_path)
    with up("--keys", keys, str(script)) as running:
        script.write_text("import os; os._exit(7)")
        os.kill(min(children(running.process.pid)), signal.SIGKILL)
        running.wait_for("a worker ends again and again soon after its start")
        async with load(running.url, callers=1) as seen:
            await seen.reaches(5)
        assert not seen.failures


async def test_a_signal_is_passed_on_and_calls_are_waited_for(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, str(write_server(tmp_path))) as running:
        data, headers = tool("wait", {"seconds": 3}, progressToken="t")
        async with aiohttp.ClientSession() as http:
            calls = [await http.post(running.url, data=data, headers=headers) for _ in range(6)]
            running.process.send_signal(signal.SIGTERM)
            answers = [await call.text() for call in calls]
        assert all("waited 3 s" in answer for answer in answers)
        assert running.process.wait(30) == 0
        port = int(re.findall(r":(\d+)/", running.url)[0])
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port)):
            pass


async def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path, keys: str) -> None:
    with up("--keys", keys, gateway(tmp_path)) as running:
        workers = children(running.process.pid)
        upstreams = {pid for worker in workers for pid in children(worker)}
        assert len(workers) == 2
        assert len(upstreams) >= 2
        data, headers = tool("stage__wait", {"seconds": 2}, progressToken="t")
        async with aiohttp.ClientSession() as http:
            call = await http.post(running.url, data=data, headers=headers)
            running.process.kill()
            assert "waited 2 s" in await call.text()
        until(lambda: not any(alive(pid) for pid in workers | upstreams))


@pytest.mark.parametrize("hang_up", [False, True])
async def test_a_changed_configuration_takes_effect_in_all_workers_without_a_lost_call(
    tmp_path: Path, keys: str, hang_up: bool
) -> None:
    with up("--keys", keys, gateway(tmp_path)) as running:
        async with load(running.url, "stage__who") as seen:
            await seen.reaches(20)
            gateway(tmp_path, "two")
            if hang_up:
                running.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 40
            while running.seen.count("configuration reloaded") < 2 and not seen.failures:
                assert time.monotonic() < deadline
                await seen.reaches(1)
            while {answer.split()[0] for answer in seen.answers[-20:]} != {"two"} and not seen.failures:
                assert time.monotonic() < deadline
                await seen.reaches(1)
        assert seen.failures == []
        assert len(running.seen.split("endpoint http")) == 2, "one worker alone tells what there is"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2"], "More than one worker needs a sealing key that all of them have"),
        (["--workers", "2", "--stdio", "--keys", "k"], "--workers needs HTTP"),
        (["--workers", "0"], "'0' is no whole number above 0"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    command = [TRUNKLINE, "up", "--port", "0", *arguments, str(write_server(tmp_path))]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=50, stdin=subprocess.DEVNULL)

    assert refused.returncode == 2
    assert refused.stderr.count(said) == 1


async def test_workers_that_are_stopped_answer_on_every_connection_that_could_be_made(
    tmp_path: Path, keys: str
) -> None:
    """A balancer without health checks sends until it cannot connect; what it sent before that is answered."""
    data, headers = tool("who")
    with up("--keys", keys, "--drain-delay", "1", str(write_server(tmp_path))) as running:
        await both_answer(running.url)
        port = int(running.url.rpartition(":")[2].partition("/")[0])
        quick = spoken(data, headers)
        callers = [asyncio.create_task(asyncio.to_thread(hurried, port, quick)) for _ in range(4)]
        running.process.send_signal(signal.SIGTERM)
        seen = [what for caller in callers for what in await caller]
        assert await asyncio.to_thread(running.process.wait, 30) == 0
    assert seen.count("answered") > 10
    assert seen.count("lost") == 0
