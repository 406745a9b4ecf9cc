"""What the chaos tests run: real processes on ports of their own, that end when the test does."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.interop.running import MODULES, NODE, ROOT, environment

_START = 60.0

CADDYFILE = """\
{{
	admin off
	auto_https off
	persist_config off
	log {{
		level ERROR
	}}
}}
http://127.0.0.1:{port} {{
	reverse_proxy {upstreams} {{
		lb_policy round_robin
		# A replica that refuses connections has been given nothing: whatever it is, the next one may have it.
		lb_try_duration 15s
		lb_try_interval 100ms
		# A broken connection is another matter: the request may have run. What only reads may run twice.
		lb_retry_match {{
			method GET
		}}
		lb_retry_match {{
			method POST
			header_regexp Mcp-Method ^(server/discover|tools/list|prompts/|resources/|completion/)
		}}
		lb_retry_match {{
			method POST
			header_regexp Mcp-Name ^[a-z]+__look$
		}}
		request_buffers 1MB
		fail_duration 500ms
		health_uri /readyz
		health_interval 300ms
		health_timeout 5s
		flush_interval -1
	}}
}}
"""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A process that can be started and ended as often as a test likes; what it says goes to a file."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = log
        self._env = {**environment(), **(env or {})}
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child is not None and self._child.poll() is None

    def kill(self) -> None:
        """End it without a word."""
        assert self._child is not None
        self._child.kill()
        self._child.wait()

    def terminate(self) -> None:
        """Ask it to end; returns at once."""
        assert self._child is not None
        self._child.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = _START) -> int:
        """Wait for its end; its exit status."""
        assert self._child is not None
        return self._child.wait(seconds)

    def destroy(self) -> None:
        """Leave nothing behind."""
        if self.running:
            self.kill()


class Web(Process):
    """A process that answers HTTP."""

    def __init__(
        self, command: Sequence[str], log: Path, port: int, ready: str, env: dict[str, str] | None = None
    ) -> None:
        super().__init__(command, log, env)
        self.port = port
        self.away = False
        """Whether it was ended, and is not back yet."""
        self._ready = f"http://127.0.0.1:{port}{ready}"

    @property
    def ready(self) -> bool:
        """Whether it answers, and says that it is well."""
        try:
            with urllib.request.urlopen(self._ready, timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            # Servers that are not ours answer something, at least.
            return error.code != 503 and error.code != 502
        except OSError:
            return False

    def wait_ready(self, seconds: float = _START) -> None:
        """Wait until it does."""
        deadline = time.monotonic() + seconds
        while not self.ready:
            assert self.running, f"{self.command} ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{self.command} is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)


def replica(config: Path, log: Path, *options: str) -> Web:
    """A replica of the gateway; it has its port for life."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("trunkline")), "up", str(config), "--port", str(port), "--no-table", *options
    ]  # fmt: skip
    return Web(command, log, port, "/readyz", {"PYTHONUNBUFFERED": "1"})


def balancer(ports: Sequence[int], home: Path) -> Web:
    """Caddy before them, each request to the next one."""
    port = free_port()
    file = home / "Caddyfile"
    file.write_text(CADDYFILE.format(port=port, upstreams=" ".join(f"127.0.0.1:{one}" for one in ports)))
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--config", str(file), "--adapter", "caddyfile"]
    return Web(command, home / "caddy.log", port, "/readyz", {"XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)})


def upstream(name: str, folder: Path, port: int) -> Web:
    """Our server over HTTP."""
    command = [sys.executable, "-m", "tests.chaos.upstream", name, str(folder), str(port)]
    return Web(command, folder / f"{name}.log", port, "/readyz")


def everything(folder: Path, port: int) -> Web:
    """The reference server of the legacy era, with sessions."""
    script = MODULES / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    return Web([str(NODE), str(script), "streamableHttp"], folder / "everything.log", port, "/", {"PORT": str(port)})


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A folder for a test's processes; kept where `CHAOS_HOME` names one, to look at what they said."""
    kept = os.environ.get("CHAOS_HOME")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="trunkline-chaos-") as made:
        yield Path(made)
