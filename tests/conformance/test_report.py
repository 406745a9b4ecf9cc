"""The conformance runner's verdict: what counts as passed, and what fails the command."""

import json
from pathlib import Path

import pytest

from conformance import report
from conformance.suite import Outcome


def outcome(*statuses: str) -> Outcome:
    found = Outcome()
    for status in statuses:
        found.add({"id": "check", "status": status, "errorMessage": f"{status} words"})
    return found


@pytest.mark.parametrize(
    ("statuses", "passed"),
    [
        (["SUCCESS"], True),
        (["SUCCESS", "SKIPPED", "INFO"], True),
        (["SUCCESS", "FAILURE"], False),
        (["SUCCESS", "WARNING"], False),
        (["SKIPPED"], False),
        ([], False),
    ],
)
def test_only_shown_and_unblamed_is_passed(statuses: list[str], passed: bool) -> None:
    assert outcome(*statuses).passed is passed


@pytest.mark.parametrize(
    ("scenarios", "met"),
    [
        ({"ping": outcome("SUCCESS"), "extra": outcome("FAILURE")}, True),
        ({"ping": outcome("SUCCESS", "WARNING")}, False),
        ({"extra": outcome("SUCCESS")}, False),
    ],
)
def test_a_listed_scenario_that_does_not_pass_fails_the_command(
    monkeypatch: pytest.MonkeyPatch,
    scenarios: dict[str, Outcome],
    met: bool,
) -> None:
    monkeypatch.setattr(report, "version", lambda: "0")
    legs = [report.Leg("server/2025-11-25", scenarios=scenarios)]

    assert report.show(legs, {"server/2025-11-25 direct": ["ping"]}, verbose=False) is met


def test_the_counts_are_written_by_leg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "version", lambda: "1.2")
    leg = report.Leg("server/2026-07-28", "gateway", upstream="2025-11-25", scenarios={"ping": outcome("SUCCESS")})

    report.write([leg], tmp_path / "conformance.json")

    assert json.loads((tmp_path / "conformance.json").read_text()) == {
        "suite": "1.2",
        "legs": [
            {
                "leg": "server/2026-07-28",
                "via": "gateway",
                "upstream": "2025-11-25",
                "variant": None,
                "scenarios": {"ping": {"success": 1, "failure": 0, "warning": 0, "skipped": 0}},
            }
        ],
    }
