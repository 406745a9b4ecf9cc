"""Callers with different tokens and rights, mixed at random: the short form; `make soak` runs the long one."""

import os

from tests.gateway.interleaving import interleave


async def test_nothing_crosses_over_between_callers():
    seed = int(os.environ.get("INTERLEAVING_SEED", "20260728"))
    print(f"seed {seed}")
    await interleave(seed, 1_000)
