"""Measures the budgets, beside the peers, in one run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import calls, durable, gateways, listeners, memory, proofs, report, signed, start
from bench.report import Budget, Load
from bench.subjects import ROOT

# Above this share of the machine in other hands, figures say little.
QUIET = 0.1
RESULT = ROOT / "build/bench.json"


def main() -> int:
    """Measure what the command line asks for; 1 when a budget was missed."""
    options = _arguments()
    quick = options.quick
    measures: dict[str, tuple[str, Callable[[], Budget]]] = {
        "1": ("what one tools/call costs", lambda: calls.measure(*((1, 1) if quick else (5, 3)))),
        "2": ("what the same costs through a gateway", lambda: gateways.measure(*((1, 1) if quick else (5, 2)))),
        "3": ("sign-in", lambda: signed.measure(*((1, 1) if quick else (5, 3)))),
        "4": ("a proof on every request", lambda: proofs.measure(*((1, 200) if quick else (7, 1000)))),
        "5": ("open listeners", lambda: listeners.measure(1_000 if quick else 10_000)),
        "6": ("a durable task", lambda: durable.measure(*((1, 100, 1) if quick else (5, 200, 2)))),
        "7": ("memory", lambda: memory.measure(2_000 if quick else 100_000)),
        "8": ("start", lambda: start.measure(3 if quick else 15)),
    }
    load = Load()
    budgets = []
    for number, (title, measure) in measures.items():
        if number in (options.budget or measures):
            print(f"\nbudget {number}: {title}", flush=True)
            budgets.append(measure())
    busy = load.elsewhere()
    if busy > QUIET:
        for budget in budgets:
            budget.notes.append(f"other programs used {busy:.0%} of the machine meanwhile, too much for a verdict")
    report.write(budgets, busy, options.output)
    print(f"\nother programs used {busy:.0%} of the machine meanwhile; figures in {options.output}")
    return 1 if any(budget.missed for budget in budgets) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--budget", nargs="*", help="only these budgets, by number")
    parser.add_argument("--quick", action="store_true", help="a first look: short passes, few sessions, few starts")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the figures go (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
