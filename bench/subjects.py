"""What is measured: each subject is an ASGI application under the same uvicorn, in a process of its own.

Adding one takes a function in `bench/apps/` and a line here.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = ROOT / ".venv/bin/python"
PEERS = ROOT / "build/peers/bin/python"
LOGS = ROOT / "build/bench"
RIGHT = '"text":%s*"5"'
# The same for every subject: the fast parser and loop, and nothing per request that no subject needs.
UVICORN = ["--http", "httptools", "--loop", "uvloop", "--log-level", "warning", "--no-access-log"]
UVICORN += ["--no-proxy-headers", "--no-server-header"]
CORES = sorted(os.sched_getaffinity(0))
MODERN, LEGACY = "2026-07-28", "2025-11-25"


class Unavailable(Exception):
    """A peer that cannot be measured here, and why; the rest of the measurement goes on without it."""


@dataclass(frozen=True)
class Subject:
    """An application to load: `app` as uvicorn takes it; `expected` is a Lua pattern of a right answer's body.

    `tool` is the name it is called by; `least` the seconds a pass must take for calls to end at all.
    """

    name: str
    app: str
    python: Path = OURS
    factory: bool = True
    expected: str = RIGHT
    tool: str = "add"
    least: int = 1


ECHO = Subject("echo", "bench.apps.echo:standard", factory=False, expected='"a":%s*2')
FAST_ECHO = Subject("echo, msgspec", "bench.apps.echo:fast", factory=False, expected='"a":%s*2')
SIGNED = Subject("trunkline, signed in", "bench.apps.signed:signed_in")
ASYNC = Subject("trunkline, async tool", "bench.apps.ours:async_tool")
SYNC = Subject("trunkline, sync tool", "bench.apps.ours:sync_tool")
CHANGING = Subject("trunkline, changing list", "bench.apps.ours:changing")
HOOKS = Subject("trunkline, hooks, async tool", "bench.apps.ours:hooks")
HOOKS_SYNC = Subject("trunkline, hooks, sync tool", "bench.apps.ours:hooks_sync")
HOOKS_MANY = Subject("trunkline, hooks, 1,000 tools", "bench.apps.ours:hooks_many")
SDK = Subject("SDK, default", "bench.apps.sdk:default", PEERS)
SDK_BEST = Subject("SDK, best", "bench.apps.sdk:best", PEERS)
FASTMCP = Subject("FastMCP, default", "bench.apps.fast:default", PEERS)
GATEWAY = Subject("trunkline gateway", "trunkline.up", tool="bench__add")
UPSTREAM = Subject("upstream", "bench.apps.upstream:one", factory=False)
UPSTREAM_MANY = Subject("upstream, 1,000 tools", "bench.apps.upstream:thousand", factory=False)
FORWARDER = Subject("forwarder, aiohttp", "bench.apps.forwarder:create")
FASTMCP_PROXY = Subject("FastMCP proxy", "bench.apps.fast:proxy", PEERS, least=4)
FASTMCP_BEST = Subject("FastMCP, best", "bench.apps.fast:best", PEERS)


@dataclass
class Running:
    """A subject's process: where it answers, how it is spoken to, and what it has used."""

    subject: Subject
    port: int
    pid: int
    path: str = "/mcp"
    token: str = "bench-token"
    wire: str = MODERN

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def cpu(self) -> float:
        """Seconds of CPU time used so far, by all threads, those that ended included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Bytes of resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(
    subject: Subject,
    upstream: "Running | None" = None,
    core: int = CORES[0],
    told: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a subject pinned to a core, and end it afterwards; a proxy is told its upstream.

    `told` adds to its environment.
    """
    port = free_port()
    command = [str(subject.python), "-m", "uvicorn", subject.app, "--port", str(port), *UVICORN]
    command += ["--factory"] if subject.factory else []
    told = {**(told or {}), **({} if upstream is None else {"BENCH_UPSTREAM": upstream.url})}
    with process(subject, command, port, told, core) as server:
        yield server


@contextmanager
def gateway(*upstreams: Running, entries: int = 1, subject: Subject = GATEWAY) -> Iterator[Running]:
    """`trunkline up` over upstreams that are running; it logs no calls, as no other subject does.

    Where there are more entries than upstreams, they share them in turn; the first is called `bench`.
    """
    port = free_port()
    config = LOGS / f"{subject.app}-{port}.mcp.json"
    names = ["bench", *(f"bench{number}" for number in range(2, entries + 1))]
    servers = {
        name: {"type": "http", "url": upstreams[number % len(upstreams)].url} for number, name in enumerate(names)
    }
    config.write_text(json.dumps({"mcpServers": servers}))
    command = [str(OURS.with_name("trunkline")), "up", "--port", str(port), "--no-table"]
    command += ["--log-level", "warning", str(config)]
    try:
        with process(subject, command, port) as server:
            yield server
    finally:
        config.unlink()


@contextmanager
def process(
    subject: Subject,
    command: list[str],
    port: int,
    told: Mapping[str, str] | None = None,
    core: int = CORES[0],
    folder: Path = ROOT,
    patience: float = 30,
) -> Iterator[Running]:
    """A process that listens on a port before the body runs, and is gone after it.

    `told` adds to its environment, it runs in `folder`, and has `patience` seconds to start; raises `Unavailable`.
    """
    log = LOGS / f"{subject.app.replace(':', '.')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(told or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    os.sched_setaffinity(child.pid, {core})
    try:
        _wait(child, port, subject, log, patience)
        yield Running(subject, port, child.pid)
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(child: subprocess.Popen[bytes], port: int, subject: Subject, log: Path, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Unavailable(f"{subject.name} ({subject.app}) does not start:\n{log.read_text()[-2000:]}")
