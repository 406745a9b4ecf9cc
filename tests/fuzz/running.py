"""The server under test as a process, and the neighbour whose calls must all be right meanwhile."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fuzz.exchange import Connection
from tests.fuzz.messages import MODERN, PREFIX
from tests.fuzz.requests import BASE, mirrored, post

ROOT = Path(__file__).parents[2]
_TRACEBACK = re.compile(r"^Traceback .*\n(?:[ +|].*\n|\n)*\S.*", re.MULTILINE)
_NOT_OURS = "the handler is closed"
"""uvicorn closes a connection on which garbage follows a request, and then writes that request's answer to it."""

COMMAND = (sys.executable, "-m", "tests.fuzz.target")


class Process:
    """A running server and its log.

    Parameters:
        process: its process.
        log: where its standard error goes.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log
        self._seen = 0

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def trouble(self) -> list[str]:
        """Tracebacks in the log since the last time."""
        with self._log.open("rb") as log:
            log.seek(self._seen)
            text = log.read()
        self._seen += len(text)
        found = _TRACEBACK.findall(text.decode("utf-8", "replace"))
        return [f"in the log: {one}" for one in found if _NOT_OURS not in one]

    def resident(self) -> int:
        """Bytes of memory the process occupies."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def descriptors(self) -> int:
        """Open file descriptors of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Target(Process):
    """A server on HTTP; `port` is where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        super().__init__(process, log)
        self.port = port


@asynccontextmanager
async def http_target(*arguments: str) -> AsyncIterator[Target]:
    """Start the server over HTTP, or what `arguments` say; it must end by itself when told to."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, *(arguments or ("http",)), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, log.read_text(encoding="utf-8")
        target = Target(process, int(line), log)
        try:
            yield target
            assert target.alive, f"the server ended: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
            process.send_signal(signal.SIGTERM)
            rest = await asyncio.wait_for(process.stdout.read(), 30)
            assert rest == b"", f"on standard output: {rest[:300]!r}"
            await asyncio.wait_for(process.wait(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Neighbour:
    """A well-behaved client on its own connection, calling all along.

    Attributes:
        calls: how many of its calls were answered rightly.
        wrong: what was wrong with the others.
    """

    def __init__(self, port: int, tool: str = "add", pause: float = 0.005) -> None:
        self._port = port
        self._tool = tool
        self._pause = pause
        self.calls = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Call until cancelled."""
        async with Connection(self._port) as connection:
            while True:
                try:
                    await self._call(connection, self.calls)
                except Exception as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                self.calls += 1
                await asyncio.sleep(self._pause)

    async def _call(self, connection: Connection, number: int) -> None:
        message = good_call(f"neighbour-{number}", number, self._tool)
        answer = await connection.ask(post(json.dumps(message).encode(), [*BASE, *mirrored(message)]))
        told = json.loads(answer.body)
        if answer.status != 200 or not is_right(told, f"neighbour-{number}", number):
            self.wrong.append(f"call {number}: {answer.status} {str(told)[:300]}")


def good_call(id: str | int, number: int, tool: str = "add") -> dict:
    """A modern call that adds one to a number; the tools of `upstream` take it as `n`."""
    arguments = {"n": number} if tool.endswith("bad") else {"a": number, "b": 1}
    meta = {PREFIX + "protocolVersion": MODERN, PREFIX + "clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def is_right(message: object, id: str | int, number: int) -> bool:
    """Whether this is the answer to `good_call(id, number)`."""
    if not isinstance(message, dict) or message.get("id") != id:
        return False
    result = message.get("result")
    content = result.get("content") if isinstance(result, dict) else None
    return bool(content) and content[0].get("text") == str(number + 1)
