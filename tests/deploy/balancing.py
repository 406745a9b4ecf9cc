"""Real load balancers over real gateways, set up from the files in deploy/."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.cli.test_commands import TRUNKLINE
from tests.deploy.load import write_keys, write_server

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BUILD = ROOT / "build"
NAMES = ["replica-1:8808", "replica-2:8808", "replica-3:8808"]


def free_ports(count: int) -> list[int]:
    """Ports nobody uses at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def status(url: str) -> int:
    """What a server answers; 0 for nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 50) -> None:
    """Wait until a server answers 200."""
    deadline = time.monotonic() + seconds
    while status(url) != 200:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class Replica:
    """One gateway process, which can be ended in several ways and started again at the same address."""

    def __init__(self, folder: Path, port: int, keys: str) -> None:
        self.port = port
        self.log = folder / f"replica-{port}.log"
        self._command = [TRUNKLINE, "up", "--port", str(port), "--keys", keys, "--log-level", "warning"]
        self._command += ["--drain-delay", "5", "--drain-timeout", "20", str(folder / "mcp.json")]
        self.start()

    def start(self) -> None:
        """Start it; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Wait until a balancer may send requests."""
        until_ready(f"http://127.0.0.1:{self.port}/readyz", self.process, self.log)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it and wait for that."""
        self.process.send_signal(number)
        return self.process.wait(50)


class Stack:
    """Replicas and the balancer before them."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        keys = write_keys(folder)
        self.write_configuration()
        self.port, *ports = free_ports(4)
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.replicas = [Replica(folder, port, keys) for port in ports]
        self.log = folder / f"{kind}.log"
        self.balancer: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Wait for the replicas and start the balancer."""
        for replica in self.replicas:
            replica.wait_ready()
        addresses = [f"127.0.0.1:{replica.port}" for replica in self.replicas]
        command, environment = {"caddy": self._caddy, "nginx": self._nginx}[self.kind](addresses)
        with self.log.open("ab") as log:
            self.balancer = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        until_ready(f"http://127.0.0.1:{self.port}/livez", self.balancer, self.log)

    def write_configuration(self, *more: str) -> None:
        """The servers behind the gateways; replaced in one step."""
        entry = {"command": sys.executable, "args": [str(write_server(self.folder))]}
        fresh = self.folder / "mcp.new"
        fresh.write_text(json.dumps({"mcpServers": dict.fromkeys(("stage", *more), entry)}))
        fresh.replace(self.folder / "mcp.json")

    def close(self) -> None:
        """End everything."""
        for process in [self.balancer, *(replica.process for replica in self.replicas)]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()

    def _caddy(self, addresses: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        command = [str(BUILD / "balancers" / "bin" / "caddy"), "run", "--config", str(DEPLOY / "Caddyfile")]
        (admin,) = free_ports(1)
        names = {"SITE": f"http://127.0.0.1:{self.port}", "REPLICAS": " ".join(addresses)}
        homes = {name: str(self.folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        return command, {**names, **homes, "CADDY_ADMIN": f"127.0.0.1:{admin}"}

    def _nginx(self, addresses: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        text = (DEPLOY / "nginx.conf").read_text()
        # Shorter than in earnest, so that a test can see whether a quiet stream stays open.
        own = [("listen 80;", f"listen 127.0.0.1:{self.port};"), ("proxy_read_timeout 1h;", "proxy_read_timeout 20s;")]
        for name, address in [*zip(NAMES, addresses, strict=True), *own]:
            assert text.count(name) == 1
            text = text.replace(name, address)
        (self.folder / "trunkline.conf").write_text(text)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in kinds)
        # What the distribution's own nginx.conf does: it includes ours.
        (self.folder / "nginx.conf").write_text(
            f"daemon off; error_log stderr; pid {self.folder}/nginx.pid; events {{}}\n"
            f"http {{ access_log off; {paths} include {self.folder}/trunkline.conf; }}\n"
        )
        found = shutil.which("nginx") or str(BUILD / "nginx" / "usr" / "sbin" / "nginx")
        return [found, "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")], {}


@contextlib.contextmanager
def balanced(kind: str, folder: Path) -> Iterator[Stack]:
    """Three replicas behind a balancer, both of them ready."""
    stack = Stack(kind, folder)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()
