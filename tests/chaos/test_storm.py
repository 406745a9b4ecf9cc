"""Replicas that die and are replaced while clients of all kinds work."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.chaos import processes
from tests.chaos.others import KINDS
from tests.chaos.storm import Shape, Storm, blow
from tests.chaos.verdict import faults
from tests.storage.conftest import emptied
from tests.storage.postgres import Server
from tests.transports.fixture import call, request
from tests.transports.web import Events, Web


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


def assert_unharmed(storm: Storm) -> None:
    """Print what became of the calls, and fail where something should not have."""
    print(storm.ledger.table(), file=sys.stderr)
    assert not storm.behind
    assert not faults(storm.ledger, storm.folder.executions())


@pytest.mark.timeout(300)
async def test_replicas_are_killed_and_replaced(database: Server, home: Path) -> None:
    storm = Storm(Shape(callers=1, others=KINDS), home, emptied(database))
    await blow(storm)
    assert_unharmed(storm)
    assert len(storm.ledger.calls) > 100


@pytest.mark.timeout(200)
async def test_one_replica_with_a_file_loses_nothing_it_acknowledged(home: Path) -> None:
    shape = Shape(replicas=1, kills=2, gap=4, pause=0.15, legacy=False)
    storm = Storm(shape, home, f"sqlite:///{home / 'state.db'}")
    await blow(storm, ["kill"])
    assert_unharmed(storm)


async def resumed(storm: Storm, http: aiohttp.ClientSession) -> list[dict[str, object]]:
    """What a client of a killed replica gets that comes back for the rest of its stream."""
    web = Web(storm.balancer.port, http)
    await web.begin()
    done = Events(await web.post(call("done", "web__slow", {"seconds": 0.5}, token="t")))
    first = await done.event()
    assert first is not None
    stream = Events(await web.post(call("cut", "web__slow", {"seconds": 30}, token="t")))
    await stream.message()
    done.response.close()
    await asyncio.sleep(2)
    await storm.kill(storm.replicas[0])
    assert (await web.post(request(1, "ping"))).status == 200
    cut = await Events(await web.get(Last_Event_ID=stream.last)).rest()
    whole = await Events(await web.get(Last_Event_ID=first.id)).rest()
    web.close()
    return [whole[-1], cut[-1]]


@pytest.mark.timeout(200)
async def test_streams_of_a_killed_replica_go_on_from_its_file(home: Path) -> None:
    storm = Storm(Shape(replicas=1, legacy=False), home, f"sqlite:///{home / 'state.db'}")
    async with storm.running(), aiohttp.ClientSession() as http:
        done, cut = await resumed(storm, http)
    # An answer that was written is there; where none could be, the client is told.
    assert done["result"]["content"][0]["text"] == "done"  # type: ignore[index]
    assert (cut["id"], cut["error"]["code"]) == ("cut", -31007)  # type: ignore[index]
