"""Budget 8: how long it takes to start, beside an interpreter that does nothing."""

import os
import subprocess
import time
from pathlib import Path

from bench.report import Budget, Spread
from bench.subjects import CORES, OURS, PEERS, ROOT

NOTHING = "python -c pass"
# The budgets are for a machine on which the interpreter alone takes this long.
REFERENCE_MS = 20.0

COMMANDS: dict[str, list[str | Path]] = {
    NOTHING: [OURS, "-c", "pass"],
    'from trunkline import Server; Server("x")': [OURS, "-c", 'from trunkline import Server; Server("x")'],
    "trunkline --help": [ROOT / ".venv/bin/trunkline", "--help"],
    "import mcp.server": [PEERS, "-c", "import mcp.server"],
    "import fastmcp": [PEERS, "-c", "import fastmcp"],
}
BOUNDS = {'from trunkline import Server; Server("x")': 120.0, "trunkline --help": 150.0}


def measure(times: int) -> Budget:
    """Run every command in turn, again and again."""
    budget = Budget("8", "start")
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(times + 1):
        for name, command in COMMANDS.items():
            milliseconds = _run(command)
            # The first run of each finds the files in no cache.
            if number:
                taken[name].append(milliseconds)
    nothing = Spread.of(taken[NOTHING]).middle
    for name, values in taken.items():
        found = Spread.of(values)
        budget.add(f"{name}: ms", found)
        print(f"          {name}: {found.middle:.0f} ms ({found.least:.0f}..{found.most:.0f})")
    for name, bound in BOUNDS.items():
        scaled = Spread.of(taken[name]).middle * REFERENCE_MS / nothing
        budget.hold(f"{name}: ms where the interpreter takes 20", scaled, most=bound)
    return budget


def _run(command: list[str | Path]) -> float:
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.sched_setaffinity(child.pid, {CORES[0]})
    _, stderr = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}: {stderr.decode()[-500:]}")
    return (time.perf_counter() - start) * 1000
