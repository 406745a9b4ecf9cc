"""Measures storage on both databases: records, events, and messages between two processes.

    python -m bench.storage [--seconds 3]

PostgreSQL runs on the same machine, with fsync. Latencies are at the median and the 99th percentile.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from tests.storage.postgres import Server
from trunkline.storage.schema import upgrade
from trunkline.storage.storage import Storage, open_storage

PAYLOAD = b"x" * 500


async def rate(seconds: float, together: int, one: Callable[[int], Awaitable[object]]) -> str:
    """How often an operation is done, by so many at once."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def again(worker: int) -> None:
        while (began := time.perf_counter()) < end:
            await one(worker)
            latencies.append(time.perf_counter() - began)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(again, range(together)))
    return _told(len(latencies), time.perf_counter() - began, time.process_time() - used, latencies)


async def records(storage: Storage, seconds: float) -> None:
    """What one process puts and loads, alone and many at once."""
    store = storage.records("bench")
    for number in range(64):
        await store.put(f"o.{number}", PAYLOAD)
    for together in (1, 64):
        print(f"  put, {together} at once  ", await rate(seconds, together, lambda n: store.put(f"o.{n}", PAYLOAD)))
        print(f"  load, {together} at once ", await rate(seconds, together, lambda n: store.load(f"o.{n}")))


async def events(storage: Storage, seconds: float) -> None:
    """Appending to 100 streams, 500 events between two flushes."""
    log = storage.events
    for stream in range(100):
        await log.begin("o.s", str(stream), b"")
    began, used, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        for number in range(500):
            log.append("o.s", str(number % 100), PAYLOAD)
        await log.flush()
        done += 500
    print("  append          ", _told(done, time.perf_counter() - began, time.process_time() - used))


async def messages(storage: Storage, url: str, seconds: float) -> None:
    """What is told to another process, and mail there and back."""
    met: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    answers: list[asyncio.Future[bytes]] = []
    storage.replicas.receive("hello", lambda sender, _: None if met.done() else met.set_result(sender))
    storage.replicas.receive("answer", lambda _, message: answers.pop().set_result(message))
    process = subprocess.Popen([sys.executable, "-m", "bench.storage", "--echo", url])
    try:
        other = await met

        async def ask(topic: str) -> bytes:
            answers.append(asyncio.get_running_loop().create_future())
            answer = answers[-1]
            await storage.replicas.send(other, topic, b"")
            return await answer

        await asyncio.sleep(2.5)
        print("  mail and back   ", await rate(seconds, 1, lambda _: ask("ping")))
        for name, burst, pause in (("broadcast, 50/s ", 1, 0.02), ("broadcast, full ", 50, 0.001)):
            await ask("report")
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                for _ in range(burst):
                    storage.replicas.broadcast("time", repr(time.monotonic()).encode())
                await asyncio.sleep(pause)
            await asyncio.sleep(1)
            latencies = msgspec.json.decode(await ask("report"), type=list[float])
            print(f"  {name}", _told(len(latencies), seconds, None, latencies))
    finally:
        process.kill()
        process.wait()


async def echo(url: str) -> None:
    """The other process: answers mail, and notes how long broadcasts took; the clock is the machine's."""
    async with open_storage(url) as storage:
        took: list[float] = []
        waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

        def report(sender: str, _: bytes) -> None:
            waiting.put_nowait((sender, msgspec.json.encode(took)))
            took.clear()

        storage.replicas.receive("time", lambda _, sent: took.append(time.monotonic() - float(sent)))
        storage.replicas.receive("ping", lambda sender, _: waiting.put_nowait((sender, b"")))
        storage.replicas.receive("report", report)
        storage.replicas.broadcast("hello", b"")
        while True:
            sender, answer = await waiting.get()
            await storage.replicas.send(sender, "answer", answer)


def _told(done: int, seconds: float, used: float | None, latencies: list[float] | None = None) -> str:
    cuts = statistics.quantiles(latencies, n=100) if latencies else []
    spread = f"  p50 {cuts[49] * 1000:.2f} ms  p99 {cuts[98] * 1000:.2f} ms" if cuts else ""
    each = f"  {used / done * 1e6:.0f} us CPU each" if used is not None else ""
    return f"{done / seconds:8.0f}/s{spread}{each}"


async def measure(name: str, url: str, seconds: float) -> None:
    """All of it on one database."""
    print(name, flush=True)
    async with open_storage(url) as storage:
        await records(storage, seconds)
        await events(storage, seconds)
        await messages(storage, url, seconds)


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (%(default)s)")
    parser.add_argument("--echo", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.echo:
        asyncio.run(echo(options.echo))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure("SQLite", f"sqlite:///{Path(folder) / 'bench.db'}", options.seconds))
    server = Server(fsync=True)
    try:
        server.start()
        upgrade(server.url())
        asyncio.run(measure("PostgreSQL", server.url(), options.seconds))
    finally:
        server.destroy()


if __name__ == "__main__":
    main()
