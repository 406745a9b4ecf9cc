"""Fifty callers over twenty servers, one of them hung, flooding or crashing in a loop: what that costs the others.

Prints, for each illness and two wires, the latency of calls to the nineteen others as a ratio, sick to well, of
blocks that follow each other: the median over all pairs of blocks, and the middle half.
"""

import pytest

from tests.wires.crowd import CALLERS, ILLNESSES, SICK, crowd, pairs, spread

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

PAIRS, CALLS, PAUSE = 8, 20, 0.15


async def test_one_sick_server_of_twenty_costs_the_others_little(tmp_path):
    print(f"\n{PAIRS} pairs of blocks of {CALLERS * CALLS} calls")
    async with crowd(tmp_path / "never") as them:
        for wire in SICK:
            for illness, fault in ILLNESSES.items():
                seen = [pair async for pair in pairs(them, wire, fault, PAIRS, CALLS, PAUSE)]
                assert [block.wrong for pair in seen for block in pair if block.wrong] == []
                report(f"  {illness} over {wire}: ", seen)


def report(what, seen):
    """Print the figures of some pairs."""
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        times = [(well.at(part) * 1000, ill.at(part) * 1000) for well, ill in seen]
        well, ill = (sorted(side)[len(seen) // 2] for side in zip(*times, strict=True))
        ratio = spread([ill / well for well, ill in times])
        print(f"{what}{name} {well:.1f} ms well, {ill:.1f} ms sick, ratio {ratio}")
    print(
        f"{what}processor time of the gateway, ratio {spread([ill.processor / well.processor for well, ill in seen])}"
    )
