"""What the legs found, held against the list of scenarios that must pass."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from conformance.suite import Outcome, version

REQUIRED = Path(__file__).with_name("required.json")


@dataclass
class Leg:
    """The scenarios of one name, reached one way; `upstream` is the wire spoken behind a gateway."""

    name: str
    via: str = "direct"
    upstream: str | None = None
    variant: str | None = None
    scenarios: dict[str, Outcome] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The leg in words, which is also its key in the list of scenarios that must pass."""
        parts = [self.name, self.via, f"over {self.upstream}" if self.upstream else "", self.variant or ""]
        return " ".join(part for part in parts if part)


def required() -> dict[str, list[str]]:
    """The scenarios that must pass, by the title of their leg."""
    listed: dict[str, list[str]] = json.loads(REQUIRED.read_text())
    return listed


def grow(legs: list[Leg]) -> None:
    """Add every scenario that passes to the list of those that must; nothing ever leaves it this way."""
    listed = required()
    for leg in legs:
        passed = {name for name, outcome in leg.scenarios.items() if outcome.passed}
        if passed:
            listed[leg.title] = sorted(passed | set(listed.get(leg.title, [])))
    REQUIRED.write_text(json.dumps(dict(sorted(listed.items())), indent=2) + "\n")


def write(legs: list[Leg], file: Path) -> None:
    """Write what was found, every leg with its scenarios and the number of checks of each status."""
    document = {
        "suite": version(),
        "legs": [
            {
                "leg": leg.name,
                "via": leg.via,
                "upstream": leg.upstream,
                "variant": leg.variant,
                "scenarios": {name: _counts(outcome) for name, outcome in sorted(leg.scenarios.items())},
            }
            for leg in legs
        ],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n")


def show(legs: list[Leg], must_pass: dict[str, list[str]], *, verbose: bool) -> bool:
    """Print the table and every unmet check; False when a scenario that must pass did not."""
    print(f"\nconformance suite {version()}\n")
    print(f"{'leg':44} {'scenarios':>11} {'required':>11} {'checks':>7} {'failed':>7} {'warned':>7} {'skipped':>8}")
    for leg in sorted(legs, key=lambda leg: leg.title):
        print(_row(leg, must_pass.get(leg.title, [])))
    bad = [line for leg in legs for line in _unmet(leg, must_pass.get(leg.title, []), verbose)]
    absent = [
        f"{title}: {name}: must pass, and did not run"
        for title, names in must_pass.items()
        for name in names
        if not any(leg.title == title and name in leg.scenarios for leg in legs)
    ]
    print("\n".join(["", *bad, *absent]))
    met = not absent and not any(_missed(leg, must_pass.get(leg.title, [])) for leg in legs)
    print("every scenario that must pass does" if met else "some scenario that must pass does not")
    return met


def _row(leg: Leg, names: list[str]) -> str:
    outcomes = leg.scenarios.values()
    total = {status: sum(outcome.counts[status] for outcome in outcomes) for status in Outcome.STATUSES}
    passed = f"{sum(outcome.passed for outcome in outcomes)}/{len(outcomes)}"
    needed = f"{len(names) - len(_missed(leg, names))}/{len(names)}"
    numbers = f"{total['SUCCESS']:7} {total['FAILURE']:7} {total['WARNING']:7} {total['SKIPPED']:8}"
    return f"{leg.title:44} {passed:>11} {needed:>11} {numbers}"


def _missed(leg: Leg, names: list[str]) -> list[str]:
    return [name for name in names if name not in leg.scenarios or not leg.scenarios[name].passed]


def _unmet(leg: Leg, names: list[str], verbose: bool) -> list[str]:
    """What was not met: of scenarios that must pass the words of every check, of all others together a line."""
    lines, others = [], []
    for name, outcome in sorted(leg.scenarios.items()):
        if outcome.passed:
            continue
        if name not in names and not verbose:
            others.append(name)
            continue
        lines.append(f"{leg.title}: {name}")
        if not outcome.faults:
            lines.append(f"    no check succeeded, {outcome.counts['SKIPPED']} skipped")
        for fault, detail in zip(outcome.faults, outcome.details, strict=True):
            lines.append(f"    {' '.join(fault.split())}")
            lines.extend(f"        {line}" for line in detail.splitlines() if verbose)
    if others:
        lines.append(f"{leg.title}: not required, and not passed: {', '.join(others)}")
    return lines


def _counts(outcome: Outcome) -> dict[str, int]:
    return {status.lower(): outcome.counts[status] for status in Outcome.STATUSES}
