"""Measures the store of tasks while it holds many: what each operation takes, and whether erasure keeps up.

    python -m bench.tasks [--rows 1000 100000 1000000] [--databases sqlite postgresql] [--output build/tasks.json]

One row in twenty is a task that waits for a person, the others have ended and are kept. PostgreSQL runs on the same
machine, with fsync. A million rows take some minutes for each database.
"""

import argparse
import asyncio
import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, text

from bench.disk import fsync
from bench.queues.ours import TOOL, new
from bench.report import Load, machine
from bench.subjects import ROOT
from tests.storage.postgres import Server
from trunkline.engine.doors import InputRequest
from trunkline.extensions.tasks.policy import TaskPolicy, encoded
from trunkline.extensions.tasks.records import Bounds, Task
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage.schema import BRANCHES, upgrade
from trunkline.storage.storage import open_storage

RESULT = ROOT / "build/tasks.json"
SAMPLES = 200
LARGE = 16 * 1024 * 1024
BOUNDS = Bounds(unfinished=10_000_000, per_owner=10_000_000)
QUESTION = InputRequest(
    "elicitation/create",
    {"message": "Who?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}},
)
REPLAY = b'{"chain":"c"}'
ANSWER = {"who": {"action": "accept", "content": {"name": "Ann"}}}
PAGE = 50_000
LONGEST = 30.0
"""Seconds for which erasure is watched."""

_COLUMNS = (
    "id, scope, owner, client, tool, status, created, updated, finished, ends, sweep, erased, run, attempt, cancelling,"
    " rank, policy, questions, asked, digest"
)
_VALUES = (
    "{id}, 'bench', 'owner' || (i % 1000), :filling, 'kept',"
    " CASE WHEN i % 20 = 0 THEN 'input_required' ELSE 'completed' END, {now} - 600, {now} - 500,"
    " CASE WHEN i % 20 = 0 THEN NULL ELSE {now} - 500 END, {now} + 86400, {now} + 86400,"
    " {false}, 1, 1, {false}, 0, :policy, CASE WHEN i % 20 = 0 THEN :questions END,"
    " CASE WHEN i % 20 = 0 THEN :asked END, :digest"
)
_SQLITE = {
    "id": "'t-' || lower(hex(randomblob(12)))",
    "now": "((julianday('now') - 2440587.5) * 86400.0)",
    "false": "0",
    "series": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)",
    "source": "n",
}
_POSTGRESQL = {
    "id": "'t-' || substr(md5(random()::text), 1, 24)",
    "now": "extract(epoch from clock_timestamp())::double precision",
    "false": "false",
    "series": "",
    "source": "generate_series(1, :rows) AS n(i)",
}

Figures = dict[str, float]


async def measure(url: str, rows: int) -> Figures:
    """Everything about a store with so many rows."""
    upgrade(url, [*BRANCHES, TASKS])
    found: Figures = {}
    async with open_storage(url, branches=[TASKS]) as storage:
        store = TaskStore(storage, "bench", BOUNDS)
        began = time.perf_counter()
        for page in _pages(rows):
            await store._database.write(lambda connection, page=page: _fill(connection, page))  # type: ignore[misc]
        print(f"  {rows:,} rows made in {time.perf_counter() - began:.0f} s", flush=True)
        found["fsync"] = fsync(ROOT / "build") * 1000
        found |= await _operations(store)
        found |= await _erasure(store)
    return found


def _pages(rows: int) -> list[int]:
    """No transaction takes longer than the database lets one."""
    return [min(PAGE, rows - done) for done in range(0, rows, PAGE)]


def _fill(connection: Connection, rows: int) -> None:
    filling = secrets.token_hex(4)
    words = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    statement = f"INSERT INTO trunkline_tasks ({_COLUMNS}) {words['series']} SELECT {_VALUES.format(**words)}"
    values = {
        "rows": rows,
        "filling": filling,
        "policy": encoded(TaskPolicy()),
        "questions": json.dumps({"who": QUESTION.wire()}).encode(),
        "asked": b'{"who":"who"}',
        "digest": b"",
    }
    connection.execute(text(f"{statement} FROM {words['source']}"), values)
    payloads = (
        "INSERT INTO trunkline_task_payloads (task, request, replay, outcome)"
        " SELECT id, :request, :replay, CASE WHEN finished IS NULL THEN NULL ELSE :outcome END FROM trunkline_tasks"
        " WHERE client = :filling"
    )
    stored = {"request": new(1).request, "replay": REPLAY, "outcome": b'{"number":2}' * 20, "filling": filling}
    connection.execute(text(payloads), stored)


async def _operations(store: TaskStore) -> Figures:
    """The life of a task, one operation after the other, each for some tasks."""
    found: Figures = {}

    async def timed(name: str, one: Callable[[int], Awaitable[object]]) -> None:
        took = []
        for number in range(SAMPLES):
            began = time.perf_counter()
            await one(number)
            took.append((time.perf_counter() - began) * 1000)
        found[name], found[f"{name}, p99"] = statistics.median(took), statistics.quantiles(took, n=100)[98]
        print(f"  {name:22} p50 {found[name]:8.2f} ms  p99 {found[f'{name}, p99']:8.2f} ms", flush=True)

    made: list[str] = []
    claimed: list[Task] = []

    async def create(number: int) -> None:
        made.append((await store.create(new(number)))[0].id)

    async def claim(_: int) -> None:
        claimed.extend(await store.claim("worker", 600, 1, [TOOL]))

    async def poll(number: int) -> None:
        await store.load(claimed[number].id)
        await store.outcome(claimed[number].id)

    async def park(number: int) -> None:
        task = claimed[number]
        assert await store.park(task.id, task.run, {"who": QUESTION}, REPLAY)

    async def answer(number: int) -> None:
        task = claimed[number]
        assert await store.answer(task.id, task.owner, ANSWER)

    async def complete(number: int) -> None:
        task = claimed[number]
        assert await store.finish(task.id, task.run, "completed", b'{"number":2}', None, 3600)

    await timed("create", create)
    await timed("claim", claim)
    await timed("park", park)
    await timed("answer", answer)
    claimed.clear()
    await timed("claim again", claim)
    await timed("complete", complete)
    await timed("poll", poll)
    return found


async def _erasure(store: TaskStore) -> Figures:
    """Everything expires at once, while clients go on making tasks: is it erased faster, and who waits for that?"""

    def end(connection: Connection, after: str) -> str:
        # By ids, each page from the end of the one before: what is changed already is not looked at again.
        query = text(
            "UPDATE trunkline_tasks SET sweep = 0, ends = 0 WHERE id IN (SELECT id FROM trunkline_tasks WHERE"
            " id > :after AND tool = 'kept' ORDER BY id LIMIT :page) RETURNING id"
        )
        return max(connection.execute(query, {"after": after, "page": PAGE // 5}).scalars(), default="")

    last = ""
    while last := await store._database.write(partial(end, after=last)):
        pass
    before = await store._database.read(_kept)
    took: list[float] = []
    over = asyncio.Event()

    async def go_on() -> None:
        number = 0
        while not over.is_set():
            began = time.perf_counter()
            await store.create(new(number))
            took.append((time.perf_counter() - began) * 1000)
            number += 1

    client = asyncio.create_task(go_on())
    began = time.perf_counter()
    while await store.expire() and time.perf_counter() - began < LONGEST:
        pass
    lasted = time.perf_counter() - began
    over.set()
    await client
    rows = before - await store._database.read(_kept)
    found = {
        "erased a second": rows / lasted,
        "created a second meanwhile": len(took) / lasted,
        "create meanwhile": statistics.median(took),
        "create meanwhile, most": max(took),
    }
    print(f"  erased {rows:,} of {before:,} in {lasted:.1f} s: {rows / lasted:,.0f} a second;")
    print(
        f"  meanwhile {len(took) / lasted:,.0f} created a second, p50 {found['create meanwhile']:.2f} ms, "
        f"at most {found['create meanwhile, most']:.0f} ms",
        flush=True,
    )
    return found


def _kept(connection: Connection) -> int:
    query = text("SELECT count(*) FROM trunkline_tasks WHERE tool = 'kept' AND NOT erased")
    return int(connection.execute(query).scalar_one())


async def large(url: str) -> None:
    """Store and read a result of 16 MiB; prints how much memory that took at most, in results."""
    upgrade(url, [*BRANCHES, TASKS])
    async with open_storage(url, branches=[TASKS]) as storage:
        store = TaskStore(storage, "bench", BOUNDS)
        task, _ = await store.create(new(1), worker="worker")
        payload = b'"' + b"x" * (LARGE - 2) + b'"'
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        assert await store.finish(task.id, 1, "completed", payload, None, 60)
        written = time.perf_counter() - began
        wrote = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        assert await store.outcome(task.id) == payload
        read = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = {"write": (wrote - before) * 1024 / LARGE, "read": (after - wrote) * 1024 / LARGE}
    print(json.dumps({**told, "write ms": written * 1000, "read ms": read * 1000}))


def _large(url: str) -> Figures:
    command = [sys.executable, "-m", "bench.tasks", "--large", url]
    told: Figures = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    print(
        f"  a result of 16 MiB: memory of {told['write']:.1f} results to write it, {told['read']:.1f} more to read it"
    )
    return {f"16 MiB, {name}": value for name, value in told.items()}


@contextmanager
def _databases(kinds: list[str]) -> Iterator[dict[str, Callable[[str], str]]]:
    """How a new database of each kind is made."""
    with tempfile.TemporaryDirectory(prefix="trunkline-tasks-", dir=ROOT / "build") as folder:
        made: dict[str, Callable[[str], str]] = {}
        if "sqlite" in kinds:
            made["sqlite"] = lambda name: f"sqlite:///{Path(folder) / name}.db"
        server = Server(fsync=True) if "postgresql" in kinds else None

        def in_server(name: str) -> str:
            assert server is not None
            server.execute(f"CREATE DATABASE {name}")
            return server.url(name)

        try:
            if server is not None:
                server.start()
                made["postgresql"] = in_server
            yield made
        finally:
            if server is not None:
                server.destroy()


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench.tasks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 100_000], help="%(default)s")
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgresql"], help="%(default)s")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the figures go (%(default)s)")
    parser.add_argument("--large", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large:
        asyncio.run(large(options.large))
        return
    load = Load()
    found: dict[str, Figures] = {}
    with _databases(options.databases) as databases:
        for kind, make in databases.items():
            print(kind, flush=True)
            found[f"{kind}, large"] = _large(make("large"))
            for rows in options.rows:
                found[f"{kind}, {rows} rows"] = asyncio.run(measure(make(f"rows{rows}"), rows))
    busy = load.elsewhere()
    options.output.write_text(json.dumps({"machine": machine(busy), "figures": found}, indent=2) + "\n")
    print(f"\nother programs used {busy:.0%} of the machine meanwhile; figures in {options.output}")


if __name__ == "__main__":
    main()
