"""Tables: made once however many ask, never behind an operator's back, and old code goes on where it can."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.storage.postgres import Server
from trunkline.errors import ConfigError
from trunkline.storage import schema
from trunkline.storage.location import locate
from trunkline.storage.storage import open_storage
from trunkline.storage.tables import metadata
from trunkline.storage.versions import CORE, Branch

NEWER = """
import sqlalchemy as sa
from alembic import op

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None
compatible_since = {since}


def upgrade() -> None:
    op.add_column("trunkline_records", sa.Column("colour", sa.Text))
"""


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.db'}"
    server: Server = request.getfixturevalue("postgresql")
    server.execute("DROP DATABASE IF EXISTS fresh WITH (FORCE)")
    server.execute("CREATE DATABASE fresh")
    return server.url("fresh")


def newer(tmp_path: Path, since: int) -> Branch:
    """What a later version of trunkline would bring."""
    folder = tmp_path / "newer"
    shutil.copytree(CORE.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "core_0002.py").write_text(NEWER.format(since=since))
    return Branch("core", 2, folder)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_make_the_tables_that_statements_use(fresh: str) -> None:
    assert schema.upgrade(fresh) == ["core_0001"]

    engine = schema._engine(locate(fresh))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "trunkline_migrations"})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_code_knows_its_newest_migration() -> None:
    script = ScriptDirectory(str(CORE.folder), version_locations=[str(CORE.folder)])

    assert script.get_heads() == [f"{CORE.name}_{CORE.number:04}"]
    for revision in script.walk_revisions():
        assert 1 <= revision.module.compatible_since <= int(revision.revision.rpartition("_")[2])


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_an_empty_database_on_a_server_is_left_to_its_operator(fresh: str) -> None:
    with pytest.raises(ConfigError, match="no tables of trunkline yet; run: trunkline db upgrade postgresql://"):
        async with open_storage(fresh):
            pass


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_outdated_tables_on_a_server_are_left_to_their_operator(
    fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(fresh)
    monkeypatch.setattr("trunkline.storage.storage.ensure", lambda url, _: schema.ensure(url, [newer(tmp_path, 1)]))

    with pytest.raises(ConfigError, match=r"older tables than .* needs; run: trunkline db upgrade postgresql://"):
        async with open_storage(fresh):
            pass


def test_an_outdated_file_is_brought_up_to_date(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    schema.upgrade(url)
    later = newer(tmp_path, 1)

    schema.ensure(url, [later])

    [(_, version)] = schema.status(url, [later])
    assert version is not None and version.number == 2


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_old_code_works_with_newer_tables_that_are_compatible(fresh: str, tmp_path: Path) -> None:
    schema.upgrade(fresh)
    async with open_storage(fresh) as running:
        schema.upgrade(fresh, [newer(tmp_path, since=1)])
        await running.records("session").put("before", b"1")
        async with open_storage(fresh) as started:
            assert await started.records("session").load("before") == b"1"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_old_code_refuses_newer_tables_that_are_not(fresh: str, tmp_path: Path) -> None:
    schema.upgrade(fresh, [newer(tmp_path, since=2)])

    with pytest.raises(ConfigError, match="changed by a newer version of trunkline"):
        async with open_storage(fresh):
            pass
    with pytest.raises(ConfigError, match="upgrade trunkline on this machine"):
        schema.upgrade(fresh)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_start_at_once_make_the_tables_once(fresh: str) -> None:
    code = f"from trunkline.storage.schema import upgrade; print(upgrade({fresh!r}))"
    workers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [worker.communicate(timeout=50)[0].strip() for worker in workers]

    assert [worker.returncode for worker in workers] == [0] * 3
    assert sorted(said) == sorted(["['core_0001']", *["[]"] * 2])


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "state.db"
    async with open_storage(f"sqlite:///{file}") as storage:
        await storage.records("session").put("o.1", b"secret")
        for one in [file, *file.parent.glob("state.db-*")]:
            assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert len(list(file.parent.iterdir())) == 3
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes, much longer than a header\n" * 100)
    with pytest.raises(ConfigError, match="cannot be used"):
        async with open_storage(f"sqlite:///{file}"):
            pass
    assert file.read_text().startswith("my notes")
    with pytest.raises(ConfigError, match="cannot be used"):
        async with open_storage(f"sqlite:///{file}/below.db"):
            pass


def test_nothing_heavy_is_imported_for_what_is_not_used(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    schema.upgrade(url)
    code = f"""
import asyncio, sys
import trunkline.storage.keyfile, trunkline.storage.location
print(sorted({{"sqlalchemy", "psycopg", "alembic"}} & set(sys.modules)))
from trunkline.storage.storage import open_storage
async def use():
    async with open_storage({url!r}) as storage:
        await storage.records("a").put("k", b"")
asyncio.run(use())
print(sorted({{"sqlalchemy", "sqlalchemy.orm", "psycopg", "alembic"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, env=dict(os.environ))
    assert ran.stdout.split("\n")[:2] == ["[]", "['sqlalchemy']"], ran.stderr
