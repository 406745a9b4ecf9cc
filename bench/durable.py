"""Budget 6: a durable task on the embedded store, beside what the disk of this machine takes for one page.

Over HTTP, and in the store by itself. Each creation stands beside an fsync of the same moment, in the same file system.
"""

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench import subjects
from bench.disk import fsync
from bench.report import Budget, Spread
from bench.subjects import OURS, ROOT, Subject

SUBJECT = Subject("trunkline, durable tool", "bench.apps.ours:durable")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}
TOGETHER = 256
_HEAD = b"\r\n\r\n"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = dict[str, object]


def measure(passes: int, samples: int, seconds: float) -> Budget:
    """So many passes of so many tasks one at a time, and of so many seconds with 256 at once."""
    budget = Budget("6", "a durable task on SQLite, safe against power loss")
    folder = Path(tempfile.mkdtemp(prefix="trunkline-durable-", dir=ROOT / "build"))
    try:
        with subjects.running(SUBJECT, told={"BENCH_STORAGE": f"sqlite:///{folder / 'served.db'}"}) as server:
            taken = [asyncio.run(_pass(server.port, folder, samples, seconds)) for _ in range(passes)]
        stored = [_in_store(folder, number, seconds) for number in range(passes)]
    finally:
        shutil.rmtree(folder)
    for name in taken[0]:
        budget.add(name, Spread.of([one[name] for one in taken]))
    for name in stored[0]:
        budget.add(name, Spread.of([one[name] for one in stored]))
    figures = budget.figures
    budget.hold("creation answered, p50 in fsyncs", figures["over HTTP, creation p50 in fsyncs"], most=2)
    budget.hold("result read, p50 in fsyncs", figures["over HTTP, result p50 in fsyncs"], most=4)
    budget.hold("creations a second, 256 at once", figures["over HTTP, creations a second, 256 at once"], least=1000)
    return budget


async def _pass(port: int, folder: Path, samples: int, seconds: float) -> dict[str, float]:
    caller = await _Caller.open(port)
    disk, created, ended = [], [], []
    for number in range(samples):
        disk.append(fsync(folder, 1))
        began = time.perf_counter()
        id = await caller.create(number)
        created.append(time.perf_counter() - began)
        await caller.result(id)
        ended.append(time.perf_counter() - began)
    caller.close()
    one = statistics.median(disk)
    rate = await _rate(port, seconds)
    return {
        "fsync p50 ms": one * 1000,
        "over HTTP, creation p50 ms": statistics.median(created) * 1000,
        "over HTTP, creation p50 in fsyncs": statistics.median(created) / one,
        "over HTTP, result p50 ms": statistics.median(ended) * 1000,
        "over HTTP, result p50 in fsyncs": statistics.median(ended) / one,
        "over HTTP, creations a second, 256 at once": rate,
    }


async def _rate(port: int, seconds: float) -> float:
    """Creations a second, each client with one under way; the tasks are run and kept meanwhile."""
    callers = await asyncio.gather(*(_Caller.open(port) for _ in range(TOGETHER)))
    began = time.perf_counter()

    async def again(caller: "_Caller") -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            await caller.create(done)
            done += 1
        return done

    counts = await asyncio.gather(*map(again, callers))
    lasted = time.perf_counter() - began
    for caller in callers:
        caller.close()
    return sum(counts) / lasted


def _in_store(folder: Path, number: int, seconds: float) -> dict[str, float]:
    """What is left when there is no HTTP: creations in the store of a process that runs none."""
    found = {}
    for together in (1, TOGETHER):
        disk = fsync(folder)
        url = f"sqlite:///{folder / f'stored-{number}-{together}.db'}"
        command = [str(OURS), "-m", "bench.queues.ours", "create", url, "--seconds", str(seconds)]
        command += ["--together", str(together)]
        told = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        found[f"in the store, creations a second, {together} at once"] = told["rate"]
        if together == 1:
            found["in the store, creation p50 ms"] = told["p50"] * 1000
            found["in the store, creation p50 in fsyncs"] = told["p50"] / disk
            found["in the store, creation CPU us"] = told["cpu"] * 1e6
    return found


class _Caller:
    """One connection, one request at a time."""

    def __init__(self, port: int, stream: Stream) -> None:
        self._port = port
        self._reader, self._writer = stream

    @classmethod
    async def open(cls, port: int) -> "_Caller":
        """Connected."""
        return cls(port, await asyncio.open_connection("127.0.0.1", port))

    async def create(self, number: int) -> str:
        """A new task; its id."""
        answer = await self._send("tools/call", "add", {"name": "add", "arguments": {"a": number, "b": 1}})
        return str(answer["taskId"])

    async def result(self, id: str) -> None:
        """Ask until it is there: as soon as a client can know."""
        while (await self._send("tasks/get", id, {"taskId": id}))["status"] != "completed":
            pass

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def _send(self, method: str, name: str, params: Mapping[str, object]) -> Answer:
        whole = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
        body = json.dumps(whole).encode()
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
            f"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\nMcp-Name: {name}\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answered = (await self._reader.readuntil(_HEAD)).lower()
        length = int(answered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = json.loads(await self._reader.readexactly(length))
        if "result" not in answer:
            raise RuntimeError(f"{method} was answered with {answer}")
        result: Answer = answer["result"]
        return result
