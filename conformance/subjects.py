"""What the suite is run against: the fixtures, each a process of its own on a free port of the loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.suite import ENVIRONMENT, ROOT

CLIENT = f"{sys.executable} -m conformance.client"
START_SECONDS = 60.0


MODERN = "2026-07-28"


@contextmanager
def direct(folder: Path, wire: str = MODERN, *, tasks: bool = True) -> Iterator[str]:
    """The fixture server, which speaks no newer wire than this; gives the URL of its endpoint.

    Parameters:
        tasks: calls of some of its tools become tasks.
    """
    app = "conformance.server:app" if wire == MODERN else "conformance.legacy:app"
    known = {"CONFORMANCE_WIRE": wire, "CONFORMANCE_TASKS": "on" if tasks else "off"}
    with serving(app, folder / "server.log", known) as url:
        yield url


@contextmanager
def through_gateway(folder: Path, upstream: str) -> Iterator[str]:
    """A gateway over the fixture server, which speaks no newer wire than `upstream`; gives the gateway's URL."""
    log = folder / "gateway.log"
    with (
        direct(folder, upstream) as url,
        serving("conformance.gateway:app", log, {"CONFORMANCE_UPSTREAM": url}) as own,
    ):
        yield own


@contextmanager
def supplied(folder: Path, upstream: str) -> Iterator[str]:
    """A gateway that makes tasks of calls of the fixture server, which has none of its own; gives the gateway's URL."""
    log = folder / "gateway.log"
    with (
        direct(folder, upstream, tasks=False) as url,
        serving("conformance.supplying:app", log, {"CONFORMANCE_UPSTREAM": url}) as own,
    ):
        yield own


@contextmanager
def serving(app: str, log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """An application under uvicorn with httptools and uvloop, listening before the body runs and gone after it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--http", "httptools", "--loop", "uvloop"]
    with running(command, port, log, environment):
        yield f"http://127.0.0.1:{port}/mcp"


@contextmanager
def running(command: list[str], port: int, log: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A process that listens on a port before the body runs, and is gone after it."""
    known = {**ENVIRONMENT, **(environment or {})}
    with log.open("w") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=known)
    try:
        _wait(child, port, log)
        yield
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(child: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{child.args!r} does not listen on port {port}:\n{log.read_text()[-4000:]}")
