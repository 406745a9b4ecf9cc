"""Tasks of every kind while all their processes are killed again and again, on both databases.

`CAMPAIGN_SEED=n` makes other choices; `make soak` runs 1,000 tasks a time.
"""

import os
import random
import sys
from pathlib import Path

import pytest

from tests.extensions.tasks.campaign import Campaign, Told, Troupe, faults, read

TOOLS = ("often", "once", "flaky", "late")

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("count", [24, pytest.param(1000, marks=pytest.mark.soak)])
async def test_tasks_under_kills(url: str, tmp_path: Path, count: int) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "1"))
    chance, ledger = random.Random(seed), tmp_path / "ledger"
    troupe = Troupe([sys.executable, "-m", "tests.extensions.tasks.stage_campaign", url, str(ledger)], 3, chance)
    campaign = Campaign(troupe, TOOLS, chance)
    async with troupe.running():
        await campaign.run(count, 20)
    done = read(ledger)
    print(f"seed {seed}: {summary(campaign, troupe)}")

    assert troupe.kills > 0
    assert faults(campaign.told, done) == []
    assert {one.tool for one in campaign.told.values() if one.task is not None} >= {"often", "once", "flaky"}


def summary(campaign: Campaign, troupe: Troupe) -> str:
    """How it went, by tool: calls by their end."""
    ends: dict[str, int] = {}
    for one in campaign.told.values():
        ends[f"{one.tool} {end_of(one)}"] = ends.get(f"{one.tool} {end_of(one)}", 0) + 1
    return f"{troupe.kills} kills; " + ", ".join(f"{name}: {count}" for name, count in sorted(ends.items()))


def end_of(one: Told) -> str:
    if one.task is not None:
        return str(one.task["status"])
    return "unanswered" if one.lost else "direct"
