"""Replicas that die and are replaced while clients of all kinds work."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import processes
from tests.chaos.storm import Shape, Storm, blow
from tests.storage.conftest import emptied
from tests.storage.postgres import Server


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """A PostgreSQL server of these tests' own."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for processes."""
    with processes.home() as path:
        yield path


@pytest.mark.timeout(300)
async def test_replicas_are_killed_and_replaced(database: Server, home: Path) -> None:
    storm = Storm(Shape(), home, emptied(database))
    await blow(storm)
    print(storm.ledger.table(), file=sys.stderr)
    assert not storm.behind()
