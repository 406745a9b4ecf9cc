"""Clients of others whose listeners give up: counted by what they say themselves, and the next one misses nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import processes
from tests.chaos.ledger import Call, GivenUp, Ledger
from tests.chaos.storm import Shape, Storm
from tests.chaos.verdict import faults

LEGACY = ("python-sdk legacy", "typescript legacy")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for processes."""
    with processes.home() as path:
        yield path


@pytest.mark.timeout(240)
async def test_listeners_that_gave_up_are_counted_and_made_anew(home: Path) -> None:
    storm = Storm(Shape(replicas=1, legacy=False, others=LEGACY), home, f"sqlite:///{home / 'state.db'}")
    (replica,) = storm.replicas
    async with storm.running(), storm.theirs():
        async with asyncio.timeout(90):
            while not all(one.view for one in storm.others):
                await asyncio.sleep(0.1)
        with storm.ledger.blow("kill"):
            replica.kill()
        async with asyncio.timeout(60):
            while {one.who for one in storm.ledger.given_up} != set(LEGACY):
                await asyncio.sleep(0.1)
        replica.start()
        await asyncio.to_thread(replica.wait_ready)
    # Both see what was shown after their listener had been given up.
    assert not storm.behind
    table = storm.ledger.table()
    for who in LEGACY:
        assert any(line.startswith(who) and "listener gave up" in line for line in table.splitlines()), table
    assert "caller gave up" in table


def test_a_listener_that_gives_up_while_all_replicas_are_there_is_a_fault() -> None:
    ledger = Ledger()
    with ledger.blow("kill"):
        pass
    over = ledger.blows[0].over
    ledger.given_up.append(GivenUp("python-sdk legacy", over + 5, "GET stream max reconnection attempts (2) exceeded"))
    assert not faults(ledger, {})
    ledger.given_up.append(
        GivenUp("python-sdk legacy", over + 300, "GET stream max reconnection attempts (2) exceeded")
    )
    assert len(faults(ledger, {})) == 1


def test_a_legacy_call_that_waits_in_vain_is_excused_only_where_its_client_gave_its_stream_up() -> None:
    ledger = Ledger()
    with ledger.blow("kill"):
        pass
    over = ledger.blows[0].over
    waits = Call("typescript legacy", "held", over - 1, over + 19, "SdkError: Request timed out", retriable=True)
    ledger.calls.append(waits)
    ledger.given_up.append(GivenUp("typescript legacy", over + 3, "Maximum reconnection attempts (2) exceeded."))
    assert len(faults(ledger, {})) == 1
    ledger.given_up.append(
        GivenUp("typescript legacy", over + 3, "Maximum reconnection attempts (2) exceeded.", caller=True)
    )
    assert not faults(ledger, {})
