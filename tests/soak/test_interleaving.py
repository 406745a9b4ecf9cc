"""Callers with different tokens and rights, mixed at random: 10^5 requests.

`INTERLEAVING_SEED=n` tries another order.
"""

import os

import pytest

from tests.gateway.interleaving import interleave

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


async def test_nothing_crosses_over_between_callers():
    seed = int(os.environ.get("INTERLEAVING_SEED", "1"))
    print(f"seed {seed}")
    await interleave(seed, 100_000)
