"""Durable calls while their gateways, and the servers behind them, are killed again and again, on both databases.

`CAMPAIGN_SEED=n` makes other choices; `make soak` makes 1,000 calls a time.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.deploy.load import write_keys
from tests.extensions.tasks.campaign import Campaign, Troupe, summary
from tests.extensions.tasks.storing import emptied
from tests.extensions.tasks.verdict import Kind, faults, read

PEERS = Path(__file__).parent / "peers"
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
ATTEMPTS = 50
KINDS = {
    "works__often": Kind(again=True, counted=False, attempts=ATTEMPTS),
    "works__once": Kind(counted=False, attempts=ATTEMPTS),
    "works__flaky": Kind(again=True, counted=False, attempts=ATTEMPTS),
    "works__late": Kind(kept=False, counted=False, attempts=ATTEMPTS),
    "works__asks": Kind(again=True, asks=True, counted=False, recalls=False, attempts=ATTEMPTS),
    "older__name": Kind(again=True, asks=True, counted=False, recalls=False, attempts=ATTEMPTS),
}

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'trunkline.db'}"
    return emptied(request.getfixturevalue("postgresql"))


def write(folder: Path, ledger: Path) -> str:
    retry = {"attempts": ATTEMPTS, "backoff": 0.05, "longest": 0.5}
    works = {"command": sys.executable, "args": [str(PEERS / "campaign_upstream.py"), str(ledger)], "env": ENVIRONMENT}
    older = {"command": sys.executable, "args": [str(PEERS / "older.py"), "2025-06-18", str(ledger)]}
    servers = {
        "works": {**works, "processes": "per-session", "tasks": {**retry, "overrides": {"late": {"after": 0.1}}}},
        "older": {**older, "processes": "per-call", "tasks": retry},
    }
    path = folder / "trunkline.yaml"
    path.write_text(json.dumps({"servers": servers}))
    return str(path)


@pytest.mark.parametrize(("count", "kills"), [(20, 4), pytest.param(1000, 50, marks=pytest.mark.soak)])
async def test_durable_calls_under_kills(url: str, tmp_path: Path, count: int, kills: int) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "1"))
    ledger = tmp_path / "ledger"
    up = ["up", write(tmp_path, ledger), "--port", "0", "--no-table", "--task-lease", "2", "--storage", url]
    if url.startswith("postgresql"):
        up += ["--keys", write_keys(tmp_path)]

    def command(point: str | None) -> list[str]:
        return [sys.executable, "-m", *(["tests.extensions.tasks.dying", point] if point else ["trunkline"]), *up]

    troupe = Troupe(command, tmp_path, seed, size=2, life=(0.3, 1.5), below=str(PEERS))
    campaign = Campaign(troupe, KINDS, seed)
    async with troupe.running():
        await campaign.run(count, kills)
    print(f"seed {seed}: {summary(campaign, troupe)}")

    assert troupe.kills >= kills
    assert troupe.kills_below > 0
    assert faults(KINDS, campaign.told, read(ledger)) == []
