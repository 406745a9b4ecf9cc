"""Listening to an upstream on behalf of many: one stream, whatever is followed."""

import asyncio

from tests.gateway.callers import until
from tests.gateway.upstreams import federated, workshop


def subscribers(server):
    return len(server.application.hub._by_kind["tools"])


async def test_a_thousand_resources_followed_at_once_cost_one_stream():
    server = workshop()
    asked = []
    follow = server.provider.follow

    async def counted(context, uris):
        asked.append(len(uris))
        await follow(context, uris)

    server.provider.follow = counted
    async with federated({"shop": server}) as (federation, _, _):
        await federation._upstreams["shop"].reach()
        await until(lambda: subscribers(server) == 1)
        uris = [f"shop://items/{number}" for number in range(1000)]
        await federation.follow(None, uris)
        await until(lambda: 1000 in asked)
        await federation.unfollow(None, uris)
        await until(lambda: subscribers(server) == 1 and not server.application.hub._by_uri)
    assert len(asked) < 5


async def test_streams_replaced_in_a_row_all_end():
    server = workshop()
    async with federated({"shop": server}) as (federation, _, _):
        await federation._upstreams["shop"].reach()
        for number in range(10):
            await federation.follow(None, [f"shop://items/{number}"])
            await asyncio.sleep(0)
        await until(lambda: "shop://items/9" in server.application.hub._by_uri)
        await until(lambda: subscribers(server) == 1)
