"""Stores for tests: both databases, with the tables of tasks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.storage.postgres import Server
from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.records import Bounds, NewTask, Task
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.tables import metadata as of_tasks
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage.schema import BRANCHES, upgrade
from trunkline.storage.storage import open_storage
from trunkline.storage.tables import metadata, schema

DATABASE = "with_tasks"


def emptied(server: Server) -> str:
    """A database of a server with tables and nothing in them: a new one takes half a second."""
    if not server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
        server.execute(f"CREATE DATABASE {DATABASE}")
        upgrade(server.url(DATABASE), [*BRANCHES, TASKS])
    tables = [name for one in (of_tasks, metadata) for name in one.tables if name != schema.name]
    server.execute("; ".join(f"DELETE FROM {table}" for table in tables if table != "trunkline_tasks"), DATABASE)
    server.execute("DELETE FROM trunkline_tasks", DATABASE)
    return server.url(DATABASE)


@asynccontextmanager
async def opened(url: str, scope: str = "app", bounds: Bounds | None = None) -> AsyncIterator[TaskStore]:
    async with open_storage(url, branches=[TASKS]) as storage:
        yield TaskStore(storage, scope, bounds)


def new(
    owner: str = "ann",
    tool: str = "slow",
    policy: TaskPolicy | None = None,
    key: str | None = None,
    digest: bytes = b"",
) -> NewTask:
    return NewTask(owner, None, tool, policy or TaskPolicy(), b"request", b'{"chain":"c"}', key, digest)


async def run_one(store: TaskStore, worker: str = "w") -> Task:
    """Claim the one task that is due."""
    [task] = await store.claim(worker, 30, 1)
    return task
