"""The storm that blows for long: 10^5 calls, a kill every two seconds.

`CHAOS_SEED=n` makes other choices, `CHAOS_CALLS=n` another length.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import processes
from tests.chaos.others import KINDS
from tests.chaos.storm import Shape, Storm
from tests.chaos.verdict import faults
from tests.storage.conftest import emptied
from tests.storage.postgres import Server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * 3600)]


@pytest.fixture
def database() -> Iterator[Server]:
    """A PostgreSQL server of its own."""
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


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
async def test_a_storm_that_lasts(request: pytest.FixtureRequest, home: Path, kind: str) -> None:
    seed, wanted = int(os.environ.get("CHAOS_SEED", "1")), int(os.environ.get("CHAOS_CALLS", "100000"))
    print(f"seed {seed}")
    alone = kind == "sqlite"
    storage = f"sqlite:///{home / 'state.db'}" if alone else emptied(request.getfixturevalue("database"))
    # A storm on one replica is mostly its start: a tenth of the calls, and time between two kills.
    calls = wanted // 10 if alone else wanted
    shape = Shape(
        seed, replicas=1 if alone else 3, kills=3, gap=10.0 if alone else 2.0, callers=20, pause=0.05,
        others=() if alone else KINDS, legacy=not alone,
    )  # fmt: skip
    storm = Storm(shape, home, storage)
    try:
        async with storm.running(), storm.theirs(), storm.ours():
            while len(storm.ledger.calls) < calls:
                await storm.kill_in_turn()
                if not alone and storm.chance(0.1):
                    await storm.deploy()
                await asyncio.sleep(0)
    finally:
        found = faults(storm.ledger, storm.folder.executions())
        print(storm.ledger.table(), *(one[:300] for one in found[:200]), sep="\n", file=sys.stderr)
    assert not storm.behind
    assert not found, f"{len(found)} faults"
