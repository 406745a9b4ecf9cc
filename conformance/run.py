"""Runs the official conformance suite against trunkline and holds it to the list of scenarios that must pass."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache, partial
from itertools import product
from pathlib import Path

from conformance import report, subjects, suite
from conformance.balanced import balanced
from conformance.report import Leg

RESULT = suite.ROOT / "build/conformance.json"
# Wires with a requirement set, and the older ones, of which everything that applies is run.
REVISIONS = ("2025-11-25", "2026-07-28")
OLDER = ("2025-03-26", "2025-06-18")
# Measures how long the client waits, so nothing else may run beside it.
TIMED = "sse-retry"
_TOGETHER = 3
"""Jobs at a time, for each core."""


@dataclass
class Job:
    """One piece of work: a whole server leg or one client scenario. `key` is what `--leg` is looked up in."""

    key: str
    run: Callable[[Path], Iterable[Leg]]
    alone: bool = False


def main() -> int:
    """Run what the command line asks for; 1 when a scenario that must pass did not."""
    options = _arguments()
    with _folder(options.keep) as folder:
        legs = _merged(_run([job for job in _jobs(options) if options.leg in job.key], folder))
    chosen = [leg for leg in legs if options.leg in leg.title]
    for leg in chosen:
        leg.scenarios = {name: found for name, found in leg.scenarios.items() if fnmatch(name, options.scenario)}
    must_pass = {
        title: [name for name in names if fnmatch(name, options.scenario)]
        for title, names in report.required().items()
        if options.leg in title
    }
    report.write(chosen, options.output)
    if options.grow:
        report.grow(chosen)
    return 0 if report.show(chosen, must_pass, verbose=options.verbose) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance.run", description=__doc__)
    parser.add_argument("--leg", default="", help="only legs with this in their title, such as 'server/2026'")
    parser.add_argument("--scenario", default="*", help="only scenarios of this name; * stands for anything")
    parser.add_argument("--verbose", action="store_true", help="print the details of every check that was not met")
    parser.add_argument("--grow", action="store_true", help="add what passes to the list of what must pass")
    parser.add_argument("--url", help="run the server legs against a server that is running already")
    parser.add_argument("--client", default=subjects.CLIENT, help="run the client legs with this command")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the counts go (%(default)s)")
    parser.add_argument("--keep", type=Path, help="keep what the suite and the servers wrote in this folder")
    return parser.parse_args()


def _jobs(options: argparse.Namespace) -> list[Job]:
    """Everything there is to run, whole legs first."""
    found = []
    for wire in (*REVISIONS, *OLDER):
        key = f"server/{wire} direct pending/{wire} extension/"
        found.append(Job(key, _server_job(wire, Leg("", "direct"), subjects.direct, options.url)))
    for wire in () if options.url else REVISIONS:
        way = Leg("", "balancer")
        key = f"server/{wire} {way.title} pending/{wire} extension/"
        found.append(Job(key, _server_job(wire, way, balanced, None)))
    wires = (*REVISIONS, *OLDER)
    for wire, upstream in product(wires, () if options.url else wires):
        way = Leg("", "gateway", upstream=upstream)
        key = f"server/{wire} {way.title} pending/{wire} extension/"
        start = partial(subjects.through_gateway, upstream=upstream)
        found.append(Job(key, _server_job(wire, way, start, None)))
    for upstream in () if options.url else wires:
        way = Leg("extension/tasks", "gateway", upstream=upstream, variant="supplied")
        found.append(Job(way.title, _supplied_job(way, upstream)))
    for wire in wires:
        for name in suite.listed("client", wire):
            if fnmatch(name, options.scenario):
                job = _client_job(wire, name, options.client)
                found.append(Job(f"client/{wire} direct pending/{wire}", job, alone=name == TIMED))
    for name in suite.extensions("client"):
        if fnmatch(name, options.scenario) and fnmatch(name, "auth/*"):
            found.append(Job("extension/auth direct", _client_job(None, name, options.client)))
    return found


def _server_job(
    wire: str, way: Leg, start: Callable[[Path], AbstractContextManager[str]], url: str | None
) -> Callable[[Path], Iterable[Leg]]:
    """A whole server leg; `way` says how the server is reached, `start` makes it so, `url` is one that runs already."""

    def run(folder: Path) -> Iterator[Leg]:
        with nullcontext(url) if url else start(folder) as endpoint:
            outcomes = suite.server(endpoint, wire, folder, whole_set=wire in REVISIONS)
        for scenario, outcome in outcomes.items():
            # Behind a gateway the tasks are the fixture's own, where it speaks a revision that has them.
            carried = scenario.startswith("tasks-") and way.upstream == subjects.MODERN
            variant = "carried" if carried else way.variant
            yield replace(way, name=_leg("server", wire, scenario), variant=variant, scenarios={scenario: outcome})

    return run


def _supplied_job(way: Leg, upstream: str) -> Callable[[Path], Iterable[Leg]]:
    """The scenarios of tasks, through a gateway that makes them of the calls of a server without any."""

    def run(folder: Path) -> Iterator[Leg]:
        with subjects.supplied(folder, upstream) as endpoint:
            yield replace(way, scenarios=suite.tasks(endpoint, folder))

    return run


def _client_job(wire: str | None, scenario: str, command: str) -> Callable[[Path], Iterable[Leg]]:
    def run(folder: Path) -> Iterator[Leg]:
        outcome = suite.client(command, scenario, wire, folder)
        name = "extension/auth" if wire is None else _leg("client", wire, scenario)
        yield Leg(name, scenarios={scenario: outcome})

    return run


@cache
def _scored(wire: str) -> set[str]:
    return suite.scored(wire)


def _leg(side: str, wire: str, scenario: str) -> str:
    """The leg a scenario is reported under: what a requirement set does not score is pending or an extension."""
    if scenario.startswith("tasks-"):
        return "extension/tasks"
    if scenario.startswith("sep-2640-"):
        return "extension/skills"
    if wire in REVISIONS and scenario not in _scored(wire):
        return f"pending/{wire}"
    return f"{side}/{wire}"


def _run(jobs: list[Job], folder: Path) -> list[Leg]:
    """Run the jobs, several at a time for each core since they wait most of it, and then those that must be alone."""

    def one(numbered: tuple[int, Job]) -> list[Leg]:
        number, job = numbered
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        try:
            return list(job.run(place))
        except (RuntimeError, subprocess.SubprocessError) as error:
            # The other legs still have something to say; what did not run is absent, and so not met.
            print(f"{job.key}: {error}", file=sys.stderr)
            return []

    numbered = list(enumerate(jobs))
    with ThreadPoolExecutor(_TOGETHER * (os.cpu_count() or 1)) as pool:
        together = pool.map(one, [pair for pair in numbered if not pair[1].alone])
        found = [leg for legs in together for leg in legs]
    return found + [leg for pair in numbered if pair[1].alone for leg in one(pair)]


def _merged(parts: list[Leg]) -> list[Leg]:
    legs: dict[str, Leg] = {}
    for part in parts:
        legs.setdefault(part.title, Leg(part.name, part.via, part.upstream, part.variant)).scenarios |= part.scenarios
    return sorted(legs.values(), key=lambda leg: leg.title)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where a run puts what it writes: a new folder inside `keep`, or one that is gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    else:
        yield keep.absolute() / time.strftime("%Y-%m-%d-%H-%M-%S")


if __name__ == "__main__":
    sys.exit(main())
