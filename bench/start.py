"""Budget 8: how long it takes to start, beside an interpreter that does nothing."""

import os
import subprocess
import time
from pathlib import Path

from bench.report import Budget, Spread
from bench.subjects import CORES, OURS, PEERS, ROOT

NOTHING = "python -c pass"
# The budgets name a machine by how long the interpreter alone takes there.
REFERENCE_MS = 20.0

COMMANDS: dict[str, list[str | Path]] = {
    NOTHING: [OURS, "-c", "pass"],
    'from trunkline import Server; Server("x")': [OURS, "-c", 'from trunkline import Server; Server("x")'],
    "trunkline --help": [ROOT / ".venv/bin/trunkline", "--help"],
    'from mcp.server import MCPServer; MCPServer("x")': [
        PEERS,
        "-c",
        'from mcp.server import MCPServer; MCPServer("x")',
    ],
    'from fastmcp import FastMCP; FastMCP("x")': [PEERS, "-c", 'from fastmcp import FastMCP; FastMCP("x")'],
}
# A program that is installed has its bytecode beside it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
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
        middle = Spread.of(taken[name]).middle
        budget.hold(f"{name}: ms", middle, most=bound)
        budget.notes.append(
            f"{name} is {middle / nothing:.1f} times the interpreter alone, allowed {bound / REFERENCE_MS:g}"
        )
    budget.notes.append(f"the interpreter alone took {nothing:.0f} ms, not {REFERENCE_MS:g}")
    return budget


def _run(command: list[str | Path]) -> float:
    start = time.perf_counter()
    child = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.sched_setaffinity(child.pid, {CORES[0]})
    _, stderr = child.communicate()
    if child.returncode:
        raise RuntimeError(f"{command} ended with {child.returncode}: {stderr.decode()[-500:]}")
    return (time.perf_counter() - start) * 1000
