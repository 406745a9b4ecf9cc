"""Bad and nearly good input over HTTP: short form. The long one is tests/soak/test_fuzz.py."""

from tests.fuzz.campaign import besieged
from tests.fuzz.running import http_target

SEED, INPUTS = 20260728, 1200


async def test_bad_http_input_hurts_nobody():
    async with http_target() as target:
        campaign, neighbour = await besieged(target, SEED, 0, INPUTS)
    assert campaign.faults == []
    assert neighbour.wrong == []
    assert neighbour.calls > 20
    # The run exercised what it claims to: good answers, refusals of every kind.
    assert {200, 202, 400, 404, 405, 406, 413, 415} <= set(campaign.statuses)
