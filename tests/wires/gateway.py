"""A gateway as a process of its own over servers that are processes too, and what it costs in memory."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.interop.running import environment, trunkline

ROOT = Path(__file__).resolve().parents[2]


def app(module, wire, *more):
    """The command of a server of these tests."""
    return [sys.executable, "-m", f"tests.wires.{module}", wire, *map(str, more)]


class Gateway:
    """A running gateway.

    Attributes:
        url: its endpoint.
        pid: its process.
    """

    def __init__(self, url, pid, log):
        self.url = url
        self.pid = pid
        self._log = log

    def alone(self, server):
        """The endpoint of one server alone, where nothing is renamed."""
        return f"{self.url.removesuffix('/mcp')}/servers/{server}/mcp"

    def log(self):
        """What it logged."""
        return self._log.read_text()

    def resident(self):
        """Bytes of memory it occupies."""
        return self._memory("VmRSS")

    def peak(self):
        """The most it has occupied since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def processor(self):
        """Seconds of processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory(self, name):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024


@contextlib.contextmanager
def gateway(servers, *options):
    """Run `trunkline up` over servers, as in an mcp.json, on a free port."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "mcp.json"), Path(folder, "log")
        file.write_text(json.dumps({"mcpServers": servers}))
        with log.open("w") as errors:
            child = subprocess.Popen(
                trunkline("up", str(file), "--port", "0", "--no-table", *options),
                stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, cwd=ROOT, text=True, env=environment(),
            )  # fmt: skip
        try:
            url = child.stdout.readline().strip().rpartition(" ")[2]
            assert url.startswith("http"), log.read_text()
            yield Gateway(url, child.pid, log)
        finally:
            child.terminate()
            try:
                assert child.wait(20) == 0, log.read_text()[-3000:]
            finally:
                child.kill()
                child.wait()
                child.stdout.close()


class Upstream:
    """A server of these tests as a gateway is told of it. One on HTTP is ours to start, and to start again.

    Parameters:
        module: its app.
        wire: one of `server.WIRES`, or `per-session`: stdio with a process for each caller.
        more: further arguments.
        settings: further members of its entry.
    """

    def __init__(self, module, wire, *more, **settings):
        self.wire = wire
        self.web = wire not in ("modern-stdio", "stdio", "per-session")
        self._module = module
        self._more = more
        self._settings = settings
        self._child = None
        self._url = ""

    @property
    def entry(self):
        """Its member of `mcpServers`."""
        if self.web:
            return {"url": self._url, "type": "sse" if self.wire == "sse" else "http", **self._settings}
        wire = "stdio" if self.wire == "per-session" else self.wire
        command, *args = app(self._module, wire, 0, *self._more)
        own = {"trunkline": {"processes": "per-session"}} if self.wire == "per-session" else {}
        return {"command": command, "args": args, "cwd": str(ROOT), **own, **self._settings}

    def start(self):
        """Start it where it is ours to start, on the port it had before if it had one."""
        if not self.web or (self._child is not None and self._child.poll() is None):
            return
        self.stop()
        port = re.search(r":(\d+)/", self._url)[1] if self._url else 0
        self._child = subprocess.Popen(
            app(self._module, self.wire, port, *self._more),
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT, text=True, env=environment(),
        )  # fmt: skip
        self._url = self._child.stdout.readline().strip()
        assert self._url, "the server does not start"

    def stop(self):
        """End it."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child.stdout.close()
            self._child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.stop()


def signalled(pid, number):
    """Send a signal and wait until it took effect."""
    os.kill(pid, number)
    until = time.monotonic() + 10
    while number == signal.SIGKILL and _alive(pid) and time.monotonic() < until:
        time.sleep(0.01)


def processes(argument):
    """Those that were started with this argument."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(argument).encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def _alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
