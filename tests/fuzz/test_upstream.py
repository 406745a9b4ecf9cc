"""Garbage from the other side: an upstream's standard output and HTTP answers, through our client."""

import pytest

from tests.fuzz.calling import COMMAND, besiege
from tests.fuzz.running import ROOT
from tests.fuzz.upstream import http_upstream
from trunkline import Client

SEED, INPUTS = 20260728, 200


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_garbage_on_standard_output_ends_as_an_answer_or_an_error_of_ours(era):
    async with Client([*COMMAND, str(SEED)], cwd=ROOT, era=era, rounds=2) as client:
        outcome = await besiege(client, 0, INPUTS)
    assert outcome.faults == []
    assert {"answer", "InvalidAnswer", "RequestTimeout"} <= set(outcome.ends)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_garbage_over_http_ends_as_an_answer_or_an_error_of_ours(era):
    async with http_upstream(SEED) as url, Client(url, era=era, rounds=2) as client:
        outcome = await besiege(client, 0, INPUTS)
    assert outcome.faults == []
    assert {"answer", "InvalidAnswer", "TransportError"} <= set(outcome.ends)
