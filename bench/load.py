"""One pass of load on one subject, and what it cost."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.subjects import CORES, Running

SCRIPT = Path(__file__).with_name("call.lua")


class WrongAnswer(Exception):
    """A subject answered something else than the right result with 200; its speed means nothing."""


@dataclass(frozen=True)
class Pass:
    """Calls a second, CPU microseconds of the server per call, and latency in microseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float


def load(server: Running, seconds: int, connections: int = 16) -> Pass:
    """Load a server from the last core with the same call over `connections` connections."""
    before = server.cpu()
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT), server.url, "--"]
    child = subprocess.Popen([*command, server.subject.expected], stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(child.pid, {CORES[-1]})
    output, _ = child.communicate(timeout=seconds + 60)
    used = server.cpu() - before
    lines = dict(line.split(" ", 1) for line in output.splitlines() if line.startswith(("RESULT ", "SAMPLE ")))
    calls, duration, wrong, errors, p50, p99 = map(int, lines["RESULT"].split())
    if wrong or errors or not calls:
        name, sample = server.subject.name, lines.get("SAMPLE", "")
        raise WrongAnswer(f"{name}: {wrong} wrong answers and {errors} errors in {calls} calls, such as {sample}")
    return Pass(calls / duration * 1e6, used / calls * 1e6, p50, p99)
