"""The set of upstreams exchanged while clients use it."""

import asyncio
from dataclasses import replace

import pytest

from tests.gateway.callers import Caller, gateway, until
from tests.gateway.upstreams import federated, workshop
from trunkline import Server
from trunkline.errors import ConfigError, ProtocolError
from trunkline.portable.model import Entry

ENTRIES = [Entry(name, "http", url="http://local") for name in ("east", "west")]
CHANGED = replace(ENTRIES[0], title="East")


def shops():
    return {"east": workshop("east"), "west": workshop("west"), "north": workshop("north")}


async def test_who_listens_is_told_once_and_unchanged_servers_stay_connected():
    async with federated(shops(), entries=ENTRIES) as (federation, engine, local):
        caller = Caller(engine)
        await caller.call("west__add", a=1, b=2)
        made = len(local.made)
        changes = []
        federation.watch(changes.append)
        federation.replace(ENTRIES)
        assert not changes
        federation.replace([*ENTRIES, Entry("north", "http", url="http://local")])
        assert [change.kind for change in changes] == ["tools", "prompts", "resources"]
        assert (await caller.call("north__add", a=1, b=2))["content"][0]["text"] == "3"
        assert federation.upstreams == ("east", "west", "north")
        assert len(local.made) == made + 1


async def test_two_servers_of_one_name_change_nothing():
    async with federated(shops(), entries=ENTRIES) as (federation, engine, _):
        with pytest.raises(ConfigError, match="two servers are named 'east'"):
            federation.replace([*ENTRIES, CHANGED])
        assert federation.upstreams == ("east", "west")
        assert (await Caller(engine).call("east__add", a=1, b=2))["content"][0]["text"] == "3"


async def test_a_disabled_server_is_shown_and_comes_back():
    async with federated(shops(), entries=ENTRIES) as (federation, engine, _):
        caller = Caller(engine)
        federation.replace([replace(ENTRIES[0], disabled=True), ENTRIES[1]])
        assert federation.statuses()[0].state == "disabled"
        with pytest.raises(ProtocolError, match="Unknown tool"):
            await caller.call("east__add", a=1, b=2)
        federation.replace(ENTRIES)
        assert (await caller.call("east__add", a=1, b=2))["content"][0]["text"] == "3"


async def test_what_is_listened_to_goes_on_at_the_server_that_took_the_place():
    shop = Server("shop")

    @shop.resource("shop://stock")
    def stock() -> str:
        return "full"

    async with federated({"east": shop}) as (federation, engine, _):
        caller = Caller(engine)
        await caller.request("resources/read", {"uri": "shop://stock"})
        await federation.follow(None, ["shop://stock"])
        changes = []
        federation.watch(changes.append)
        federation.replace([replace(CHANGED, headers={})])
        assert [change.uri for change in changes if change.kind == "resource"] == ["shop://stock"]
        await caller.request("resources/read", {"uri": "shop://stock"})
        changes.clear()

        async def told():
            while not any(change.kind == "resource" for change in changes):
                shop.notify_resource_updated("shop://stock")
                await asyncio.sleep(0.02)

        await asyncio.wait_for(told(), 20)
        federation.replace([])
        await federation.unfollow(None, ["shop://stock"])


@pytest.mark.parametrize("after", [[CHANGED, ENTRIES[1]], [ENTRIES[1]]], ids=["changed", "removed"])
async def test_a_call_that_waits_for_a_person_is_found_at_the_server_it_began_at(after):
    async with federated(shops(), entries=ENTRIES, legacy=("east",), shared=False) as (federation, engine, _):
        caller = Caller(engine, capabilities={"elicitation": {"form": {}}})
        params = {"name": "east__order", "arguments": {"item": "nails"}}
        for content in ({"n": 3}, {"size": "M"}):
            asked = await caller.once("tools/call", params)
            federation.replace(after)
            key = next(iter(asked["inputRequests"]))
            answers = {key: {"action": "accept", "content": content}}
            params = {**params, "requestState": asked["requestState"], "inputResponses": answers}
        result = await caller.once("tools/call", params)
        assert result["content"][0]["text"] == "3 nails M"
        await until(lambda: not federation._retiring._tasks)


@pytest.mark.parametrize("prefix", [False, True])
async def test_so_is_one_whose_server_gets_other_names(prefix):
    entries = ENTRIES[:1]
    names = {True: "east__order", False: "order"}
    shop = federated(shops(), entries=entries, legacy=("east",), shared=False, prefix=prefix)
    async with shop as (federation, engine, _):
        caller = Caller(engine, capabilities={"elicitation": {"form": {}}})
        assert names[prefix] in await caller.tools()
        params = {"name": names[prefix], "arguments": {"item": "nails"}}
        for content in ({"n": 3}, {"size": "M"}):
            asked = await caller.once("tools/call", params)
            federation.replace(entries, prefix=not prefix)
            key = next(iter(asked["inputRequests"]))
            answers = {key: {"action": "accept", "content": content}}
            params = {**params, "requestState": asked["requestState"], "inputResponses": answers}
        result = await caller.once("tools/call", params)
        assert result["content"][0]["text"] == "3 nails M"
        assert names[not prefix] in await caller.tools()
        assert names[prefix] not in await caller.tools()


async def test_a_call_that_waits_for_a_server_to_start_gets_the_new_one():
    shop, gate = workshop("east"), asyncio.Event()

    async with federated({"east": shop}) as (federation, engine, local):
        real = local.__class__.__call__

        async def slow(self, call):
            if call.entry.title is None:
                await gate.wait()
            return await real(self, call)

        local.__class__ = type("Slow", (local.__class__,), {"__call__": slow})
        federation.replace([replace(CHANGED, title=None, description="slow")])
        waiting = asyncio.create_task(Caller(engine).call("east__add", a=1, b=2))
        await asyncio.sleep(0)
        federation.replace([CHANGED])
        assert (await waiting)["content"][0]["text"] == "3"


async def test_an_upstream_alone_under_its_own_path_is_exchanged_too():
    async with federated(shops(), entries=ENTRIES) as (federation, _, local):
        alone = federation.single("east")
        async with gateway(alone) as engine:
            caller = Caller(engine)
            assert (await caller.call("add", a=1, b=2))["content"][0]["text"] == "3"
            federation.replace([CHANGED])
            assert (await caller.call("add", a=1, b=2))["content"][0]["text"] == "3"
            federation.replace([ENTRIES[1]])
            with pytest.raises(ProtocolError, match="Unknown tool"):
                await caller.call("add", a=1, b=2)
            federation.replace(ENTRIES)
            assert (await caller.call("add", a=1, b=2))["content"][0]["text"] == "3"
        await until(lambda: sum(not one.ended.done() for one in local.made) == 2)
