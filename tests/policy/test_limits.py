"""What callers see of limits: their part and no more, and an error that says when to come again."""

import asyncio

import aiohttp
import pytest

from tests.gateway.callers import ALICE, BOB, Caller
from tests.gateway.upstreams import Local
from tests.transports.fixture import call
from tests.transports.web import Web, served
from trunkline import Server
from trunkline.engine.context import Context
from trunkline.engine.engine import Engine
from trunkline.engine.principal import Principal
from trunkline.errors import Overloaded
from trunkline.gateway import Federation
from trunkline.policy.limits import CallLimits, Limiter, ToolLimits
from trunkline.portable.model import Entry
from trunkline.protocol.messages import Params
from trunkline.protocol.revisions import REVISIONS
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport


class Workshop:
    """Two servers whose tools wait until they are told, behind limits."""

    def __init__(self, **limits):
        self.go = asyncio.Event()
        self.running = 0
        self.servers = {"one": self.server("one"), "two": self.server("two")}
        entries = [Entry(name, "http", url="http://local") for name in self.servers]
        self.federation = Federation(entries, dial=Local(self.servers))
        self.limiter = Limiter(CallLimits(**limits), self.federation.server_of)
        self.engine = Engine(self.federation, interceptors=[self.limiter])

    def server(self, name):
        server = Server(name)

        @server.tool
        async def wait() -> str:
            self.running += 1
            await self.go.wait()
            self.running -= 1
            return name

        @server.tool
        async def quick() -> str:
            return name

        return server

    async def __aenter__(self):
        await self.federation.start()
        return self

    async def __aexit__(self, *_):
        await self.federation.stop()
        for server in self.servers.values():
            await server.application.stop()

    async def busy(self, caller, tool, count):
        """So many calls of a tool that waits, all of them arrived."""
        tasks = [asyncio.create_task(caller.call(tool)) for _ in range(count)]
        expected = self.running + count
        async with asyncio.timeout(10):
            while self.running < expected:
                await asyncio.sleep(0.005)
        return tasks


async def test_a_caller_has_its_part_and_leaves_the_others_theirs():
    async with Workshop(concurrent_per_caller=2, queue=0) as shop:
        alice, bob = Caller(shop.engine, principal=ALICE), Caller(shop.engine, principal=BOB)
        tasks = await shop.busy(alice, "one__wait", 2)
        with pytest.raises(Overloaded, match="this caller has as many calls as it may") as failure:
            await alice.call("two__quick")
        assert failure.value.data == {"dev.trunkline/retryAfterMs": 1000}
        assert await alice.tools()
        assert (await bob.call("one__quick"))["content"][0]["text"] == "one"
        shop.go.set()
        await asyncio.gather(*tasks)
        assert (await alice.call("two__quick"))["content"][0]["text"] == "two"


async def test_a_server_has_its_part_and_leaves_the_others_theirs():
    async with Workshop(concurrent_per_server=1, queue=0) as shop:
        alice, bob = Caller(shop.engine, principal=ALICE), Caller(shop.engine, principal=BOB)
        tasks = await shop.busy(alice, "one__wait", 1)
        with pytest.raises(Overloaded, match="the server one"):
            await bob.call("one__quick")
        assert (await bob.call("two__quick"))["content"][0]["text"] == "two"
        shop.go.set()
        await asyncio.gather(*tasks)


async def test_a_tool_has_its_part_by_pattern():
    tools = (ToolLimits(tool="one__w*", concurrent=1), ToolLimits(tool="*__quick", rate=0.001))
    async with Workshop(tools=tools, queue=0) as shop:
        caller = Caller(shop.engine)
        tasks = await shop.busy(caller, "one__wait", 1)
        with pytest.raises(Overloaded, match="the tool one__wait"):
            await caller.call("one__wait")
        assert (await caller.call("one__quick"))["content"]
        with pytest.raises(Overloaded, match="the tool two__quick") as failure:
            await caller.call("two__quick")
        assert failure.value.data["dev.trunkline/retryAfterMs"] > 900_000
        shop.go.set()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("pattern", ["one__[qw]uick", "one__qu?ck", "one__quic", "*[!x]quick"])
async def test_only_a_star_is_special_in_a_pattern(pattern):
    async with Workshop(tools=(ToolLimits(tool=pattern, rate=0.001),), queue=0) as shop:
        for _ in range(2):
            assert (await Caller(shop.engine).call("one__quick"))["content"]


async def test_calls_that_fail_give_their_place_back():
    async with Workshop(concurrent_per_caller=1, concurrent_per_server=1, queue=0) as shop:
        caller = Caller(shop.engine)
        for _ in range(3):
            (task,) = await shop.busy(caller, "one__wait", 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            shop.running -= 1
        assert (await caller.call("one__quick"))["content"]


async def test_callers_that_left_are_forgotten():
    async def answer(context):
        return {}

    limiter = Limiter(CallLimits(concurrent_per_caller=1), lambda context: None)
    for index in range(3000):
        principal = Principal("https://issuer.example", f"caller {index}")
        await limiter(Context(1, "resources/read", Params(), REVISIONS["2026-07-28"], principal, None, {}), answer)
    assert len(limiter._callers) <= 1000


async def test_over_http_the_status_says_so_and_when_to_come_again():
    async with (
        Workshop(rate_per_caller=0.5, queue=0) as shop,
        aiohttp.ClientSession() as http,
        served(HTTPTransport(Application(shop.engine))) as port,
    ):
        web = Web(port, http)
        web.headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "one__quick"}
        first, second = [await web.post(call(1, "one__quick", modern=True)) for _ in range(2)]
        assert first.status == 200
        assert second.status == 503
        assert second.headers["Retry-After"] == "2"
        error = (await second.json())["error"]
        assert error["code"] == -31003
        assert 1000 < error["data"]["dev.trunkline/retryAfterMs"] <= 2000
