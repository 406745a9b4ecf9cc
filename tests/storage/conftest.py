"""Both databases: every test that asks for `url` runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storage.postgres import Server
from trunkline.storage.replicas import Timing
from trunkline.storage.schema import upgrade
from trunkline.storage.tables import metadata, schema

DATABASE = "with_tables"
"""The database that is emptied for each test."""

QUICK = Timing(beat=0.2, lease=3.0, kept=600.0, orphaned=300.0, sweep=3600.0)
"""Heartbeats for tests that wait for a death."""


@pytest.fixture(scope="module")
def spare() -> Iterator[Server]:
    """A server that tests may stop; each leaves it running."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with tables and nothing in them."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'trunkline.db'}"
    server: Server = request.getfixturevalue("postgresql")
    return emptied(server)


def emptied(server: Server) -> str:
    """A database of a server with tables and nothing in them: a new one takes half a second."""
    if not server.execute(f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"):
        server.execute(f"CREATE DATABASE {DATABASE}")
        upgrade(server.url(DATABASE))
    server.execute("; ".join(f"DELETE FROM {table}" for table in metadata.tables if table != schema.name), DATABASE)
    return server.url(DATABASE)
