"""Tasks of every kind while all their processes are killed again and again, on both databases.

`CAMPAIGN_SEED=n` makes other choices; `make soak` runs 1,000 tasks a time.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.extensions.tasks.campaign import Campaign, Troupe, summary
from tests.extensions.tasks.verdict import Kind, faults, read

KINDS = {
    "often": Kind(again=True, asks=True),
    "once": Kind(asks=True),
    "flaky": Kind(again=True),
    "late": Kind(kept=False),
}

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize(("count", "kills"), [(24, 6), pytest.param(1000, 50, marks=pytest.mark.soak)])
async def test_tasks_under_kills(url: str, tmp_path: Path, count: int, kills: int) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "1"))
    ledger = tmp_path / "ledger"
    stage = [sys.executable, "-m", "tests.extensions.tasks.stage_campaign", url, str(ledger)]
    troupe = Troupe(lambda point: [*stage, point] if point else stage, tmp_path, seed)
    campaign = Campaign(troupe, KINDS, seed)
    async with troupe.running():
        await campaign.run(count, kills)
    done = read(ledger)
    print(f"seed {seed}: {summary(campaign, troupe)}")

    assert troupe.kills >= kills
    assert faults(KINDS, campaign.told, done) == []
    assert {one.tool for one in campaign.told.values() if one.task is not None} >= {"often", "once", "flaky"}
