"""PostgreSQL is away for a while: what goes on without it, what is told how, and how it all comes back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.chaos import processes
from tests.chaos.ours import Listener
from tests.chaos.storm import Shape, Storm
from tests.storage.conftest import emptied
from tests.storage.postgres import Server
from tests.transports.fixture import call, request
from tests.transports.web import Events, Web
from trunkline import Client


@pytest.fixture
def database() -> Iterator[Server]:
    """A PostgreSQL server that is stopped and started."""
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


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[list[Listener]]:
    """Listeners of both eras at one replica."""
    listeners = [Listener(url, "modern"), Listener(url, "legacy")]
    tasks = [asyncio.create_task(one.run()) for one in listeners]
    try:
        yield listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def caught_up(listeners: list[Listener], version: int) -> None:
    """Wait until they see a version."""
    async with asyncio.timeout(60):
        while any(one.behind(version) for one in listeners):
            await asyncio.sleep(0.1)


async def said(response: aiohttp.ClientResponse) -> str:
    """The text of a tool's result."""
    return str((await response.json())["result"]["content"][0]["text"])


def modern(web: Web, method: str, name: str) -> Web:
    """The same client, about to send a modern request."""
    web.headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, "Mcp-Name": name}
    return web


async def refused(response: aiohttp.ClientResponse) -> None:
    """It is told that the database is away, and when to come again."""
    assert response.status == 503
    assert int(response.headers["Retry-After"]) >= 1
    error = (await response.json())["error"]
    assert error["code"] == -31006
    assert error["data"]["dev.trunkline/retryAfterMs"] >= 1
    assert "out of reach since" in error["message"]


@pytest.mark.timeout(240)
async def test_the_database_is_away_for_thirty_seconds(database: Server, home: Path) -> None:
    seconds = 30.0
    storm = Storm(Shape(replicas=2, legacy=False), home, emptied(database))
    # A bound for the whole: what it waits for is seen where it ends.
    async with storm.running(), aiohttp.ClientSession() as http, asyncio.timeout(seconds + 120):
        here, there = storm.replicas
        session, other, plain, far = (Web(one.port, http) for one in (here, there, here, there))
        await session.begin()
        other.headers = session.headers
        assert await said(await other.post(call(1, "web__look", {"n": 1}))) == "1"
        assert await said(
            await modern(plain, "tools/call", "cmd__look").post(call(2, "cmd__look", {"n": 2}, modern=True))
        )
        slow = Events(await other.post(call(3, "web__slow", {"seconds": seconds}, token="t")))
        assert await slow.message()
        modern(far, "tools/call", "cmd__slow")
        # Its process is at the other replica: answer and progress go through the database.
        carried = Events(await far.post(call(4, "cmd__slow", {"seconds": seconds - 3}, token="t", modern=True)))
        assert await carried.message()
        async with listening(plain.url) as listeners, Client(plain.url, era="modern") as ours:
            await ours.tools()
            await caught_up(listeners, 0)
            database.stop()
            back = asyncio.create_task(asyncio.sleep(seconds))

            # What needs nothing shared goes on: modern requests, and calls to what is at hand.
            for number in range(5):
                assert (await ours.call("web__look", n=number)).text == str(number)
                assert (await ours.call("cmd__look", n=number)).text == str(number)
            # What needs it is told so: sessions, and a process that may be anywhere.
            await asyncio.sleep(6)
            await refused(await session.post(request(4, "ping")))
            await refused(
                await Web(here.port, http).post(
                    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":'
                    b'{"protocolVersion":"2025-11-25","capabilities":{}}}'
                )
            )
            await refused(
                await modern(far, "tools/call", "cmd__look").post(call(5, "cmd__look", {"n": 5}, modern=True))
            )
            # A legacy call that had begun ends well, and nobody takes the replica out for what it cannot help.
            assert (await slow.rest())[-1]["result"]["content"][0]["text"] == "done"
            assert here.ready and there.ready
            version = storm.folder.publish()
            await caught_up(listeners[:1], version)
            await back
            await asyncio.to_thread(database.start)

            # Nobody has to do anything for it to come back.
            async with asyncio.timeout(30):
                for web in (session, other):
                    while (await web.post(request(6, "ping"))).status != 200:
                        await asyncio.sleep(0.2)
            assert await said(await other.post(call(7, "web__look", {"n": 7}))) == "7"
            assert (await carried.rest())[-1]["result"]["content"][0]["text"] == "done"
            assert await said(await far.post(call(8, "cmd__look", {"n": 8}, modern=True))) == "8"
            await caught_up(listeners, version)
        for web in (session, other, plain, far):
            web.close()
