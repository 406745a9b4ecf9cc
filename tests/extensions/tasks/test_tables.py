"""The tables of tasks: made by their own migrations, beside those of everyone else."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.extensions.tasks.storing import emptied, new
from tests.storage.postgres import Server
from trunkline.errors import ConfigError
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.tables import metadata as of_tasks
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage import schema
from trunkline.storage.location import locate
from trunkline.storage.storage import open_storage
from trunkline.storage.tables import metadata


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_make_the_tables_that_statements_use(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'x.db'}"
        assert schema.upgrade(url, [*schema.BRANCHES, TASKS]) == ["core_0001", "tasks_0001"]
    else:
        url = emptied(request.getfixturevalue("postgresql"))
    engine = schema._engine(locate(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "trunkline_migrations"})
        assert compare_metadata(context, [metadata, of_tasks]) == []
    engine.dispose()


def test_the_code_knows_its_newest_migration() -> None:
    script = ScriptDirectory(str(TASKS.folder), version_locations=[str(TASKS.folder)])
    assert script.get_heads() == [f"{TASKS.name}_{TASKS.number:04}"]


async def test_a_file_gets_the_tables_when_something_first_needs_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    async with open_storage(url) as storage:
        await storage.records("note").put("k", b"kept")
    async with open_storage(url, branches=[TASKS]) as storage:
        task, _ = await TaskStore(storage, "app").create(new())
        assert await storage.records("note").load("k") == b"kept"
    async with open_storage(url) as storage:
        assert await storage.records("note").load("k") == b"kept"
    async with open_storage(url, branches=[TASKS]) as storage:
        assert await TaskStore(storage, "app").load(task.id) is not None


async def test_on_a_server_they_are_left_to_its_operator(postgresql: Server) -> None:
    postgresql.execute("DROP DATABASE IF EXISTS no_tasks WITH (FORCE)")
    postgresql.execute("CREATE DATABASE no_tasks")
    url = postgresql.url("no_tasks")
    schema.upgrade(url)
    async with open_storage(url):
        pass
    with pytest.raises(ConfigError, match="run: trunkline db upgrade"):
        async with open_storage(url, branches=[TASKS]):
            pass
    assert schema.upgrade(url, [*schema.BRANCHES, TASKS]) == ["tasks_0001"]
    async with open_storage(url, branches=[TASKS]) as storage:
        await TaskStore(storage, "app").create(new())
