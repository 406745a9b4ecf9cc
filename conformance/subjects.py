"""What the suite is run against: our fixture server as a process of its own, on a free port of the loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.suite import ENVIRONMENT, ROOT

CLIENT = f"{sys.executable} -m conformance.client"
START_SECONDS = 20.0


@contextmanager
def fixture(folder: Path) -> Iterator[str]:
    """The fixture server under uvicorn with httptools and uvloop; gives the URL of its endpoint."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "conformance.server:app", "--port", str(port), "--log-level", "info"]
    with process([*command, "--http", "httptools", "--loop", "uvloop"], port, folder / "server.log"):
        yield f"http://127.0.0.1:{port}/mcp"


@contextmanager
def process(command: list[str], port: int, log: Path) -> Iterator[None]:
    """A server process which listens on a port before the body runs, and is gone after it."""
    with log.open("w") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, env=ENVIRONMENT
        )
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
