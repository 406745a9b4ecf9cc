"""Garbage from upstreams, and garbage from clients, through a gateway: the good upstream's callers never notice."""

from tests.fuzz.campaign import Campaign, call_upstreams, neighbourhood
from tests.fuzz.running import http_target
from tests.fuzz.upstream import http_upstream

SEED, INPUTS, CALLS = 20260728, 300, 25


async def test_upstreams_that_talk_garbage_hurt_nobody_else():
    async with http_upstream(SEED) as url, http_target("gateway", str(SEED), url) as target:
        campaign = Campaign(target, SEED)
        async with neighbourhood(target, "steady__add") as neighbour:
            faults = await call_upstreams(target, 0, CALLS)
            await campaign.run(0, INPUTS)
    assert faults == []
    assert campaign.faults == []
    assert neighbour.wrong == []
    assert neighbour.calls > 20
