"""Servers as people start them, through npx and uvx: their grandchildren end with us, however we end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.client.keeper import living
from trunkline.client.process import ChildProcess

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join([str(ROOT / "build/bin"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

LAUNCHED = {
    "npx": ["-y", "@modelcontextprotocol/server-everything", "stdio"],
    "uvx": ["mcp-server-time", "--local-timezone", "UTC"],
}
INITIALIZE = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "launchers", "version": "1"},
        },
    }
).encode()

PARENT = f"""
import asyncio, json, sys
from trunkline.client.process import ChildProcess
async def main():
    child = await ChildProcess.start(sys.argv[1], json.loads(sys.argv[2]))
    await child.send_line({INITIALIZE!r})
    line = await child.read_line()
    assert line and b"serverInfo" in line, (line, child.reason, child.stderr.last())
    print(child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""

pytestmark = pytest.mark.timeout(240)  # the first start downloads


@pytest.fixture(params=sorted(LAUNCHED))
def launcher(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param, path=PATH) is None:
        pytest.fail(f"{request.param} is not there: run `make test`, which installs it")
    return str(request.param)


@pytest.fixture
def parent(launcher: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-c", PARENT, launcher, json.dumps(LAUNCHED[launcher])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PATH": PATH}) as process:
        yield process
        process.kill()


def gone(pids: dict[int, int]) -> bool:
    return not living((), (), pids)


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_whole_family_ends_when_we_are_killed(parent: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    assert parent.stdout is not None
    leader = int(parent.stdout.readline() or b"0")
    family = living({leader}, (), {})
    assert len(family) >= 2, "a launcher and the server it launched"
    parent.send_signal(number)
    parent.wait()
    wait_until(lambda: gone(family))


async def test_close_ends_the_whole_family(launcher: str) -> None:
    child = await ChildProcess.start(launcher, LAUNCHED[launcher], env={"PATH": PATH})
    await child.send_line(INITIALIZE)
    assert b"serverInfo" in (await child.read_line() or b""), (child.reason, child.stderr.last())
    family = living({child.pid}, (), {})
    assert len(family) >= 2
    await child.close()
    assert gone(family)


async def test_closing_while_the_launcher_still_prepares_leaves_nothing(launcher: str) -> None:
    child = await ChildProcess.start(launcher, LAUNCHED[launcher], env={"PATH": PATH})
    deadline = time.monotonic() + 30
    family: dict[int, int] = {}
    while len(family) < 2 and child.returncode is None and time.monotonic() < deadline:
        family |= living({child.pid}, (), family)
    await child.close()
    assert gone(family)
