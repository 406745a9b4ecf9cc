"""Two gateways with one database: what one of them notices of an upstream, clients of the other hear of as well."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.storage.conftest import url  # noqa: F401
from trunkline import Client, Server
from trunkline.assembly.gateway import Gateway, read_gateway
from trunkline.assembly.serving import Binding, Drain, bind, serving
from trunkline.assembly.sharing import Sharing
from trunkline.protocol.revisions import Era
from trunkline.storage import keyfile
from trunkline.storage.schema import upgrade

PAGE = "notes://page"


class Replica:
    """A gateway with an upstream of its own, which stands for what this replica sees of the one they share."""

    def __init__(self, folder: Path, database: str, keys: Path) -> None:
        folder.mkdir()
        self.upstream = Server("notes")
        self.page = "first"
        self.upstream.resource(PAGE, ttl_ms=60_000)(lambda: self.page)
        self._folder = folder
        self._sharing = Sharing(database, str(keys))
        self.show("old")

    def show(self, name: str) -> None:
        """Have another tool."""

        def note() -> str:
            """Take a note."""
            return "noted"

        self.upstream.tool(name=name)(note)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        """Serve; the gateway has learned what its upstream has."""
        listener = bind(Binding(port=0))
        async with serving(self.upstream.app, listener, Drain(timeout=0.2)):
            server = {"type": "http", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"}
            config = self._folder / "mcp.json"
            config.write_text(json.dumps({"mcpServers": {"notes": server}}))
            gateway = read_gateway(str(config), sharing=self._sharing)
            async with Client(gateway) as client:
                assert "notes__old" in await names(client)
                await asyncio.gather(client.resources(), client.templates(), client.prompts())
                yield gateway


@pytest.fixture
async def pair(url: str, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:  # noqa: F811
    upgrade(url)
    keys = tmp_path / "keys.json"
    keyfile.new(keys)
    yield Replica(tmp_path / "a", url, keys), Replica(tmp_path / "b", url, keys)


@contextlib.asynccontextmanager
async def listening(client: Client, *uris: str) -> AsyncIterator[asyncio.Queue[str]]:
    """What a client hears of lists and resources, from the moment its server has confirmed."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    ready = asyncio.Event()

    async def listen() -> None:
        async for change in client.listen(*uris, tools=True, prompts=True, resources=True, on_ready=ready.set):
            heard.put_nowait(change.kind)

    task = asyncio.create_task(listen())
    try:
        await ready.wait()
        yield heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def read(gateway: Gateway) -> str:
    """What a client gets that has not read it before."""
    async with Client(gateway) as client:
        return (await client.read(PAGE)).text


async def names(client: Client) -> list[str]:
    return [tool.name for tool in await client.tools()]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_listener_hears_of_a_list_that_another_replica_sees_change(
    pair: tuple[Replica, Replica], era: Era
) -> None:
    a, b = pair
    async with (
        a.running() as here,
        b.running() as there,
        Client(here, era=era) as client,
        Client(there) as other,
        listening(client) as heard,
        asyncio.timeout(30),
    ):
        # Its replica has noticed, and told it; asked by it, the other one gives the old list.
        a.show("new")
        assert await heard.get() == "tools"
        assert await names(other) == ["notes__old"]
        b.show("new")
        assert await heard.get() == "tools"


async def test_what_a_replica_learns_at_its_start_is_no_news_to_clients_of_others(
    pair: tuple[Replica, Replica],
) -> None:
    a, b = pair
    async with a.running() as here, Client(here) as client, listening(client) as heard, asyncio.timeout(30):
        async with b.running():
            b.show("new")
            assert await heard.get() == "tools"
        assert heard.empty()


async def test_what_one_replica_is_told_of_no_other_goes_on_giving_out(pair: tuple[Replica, Replica]) -> None:
    a, b = pair
    async with (
        a.running() as here,
        b.running() as there,
        Client(here) as client,
        listening(client, PAGE) as heard,
        asyncio.timeout(30),
    ):
        assert await read(there) == "first"
        a.page = b.page = "second"
        assert await read(there) == "first"
        a.upstream.notify_resource_updated(PAGE)
        assert await heard.get() == "resource"
        # The other one, where nobody listens, had given the old one out: whoever took it hears of it again.
        assert await heard.get() == "resource"
        assert await read(there) == "second"
        # Nothing but that: one that was only kept misled nobody.
        a.page = b.page = "third"
        a.upstream.notify_resource_updated(PAGE)
        assert await heard.get() == "resource"
        while there.statuses()[0].cached:
            await asyncio.sleep(0.05)
        assert await read(there) == "third"
        assert heard.empty()
