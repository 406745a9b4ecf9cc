"""One pass of load on one subject, and what it cost."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.subjects import CORES, Running

SCRIPT = Path(__file__).with_name("call.lua")
# Seconds after which a subject that has answered nothing is taken for broken.
LONGEST = 60


class WrongAnswer(Exception):
    """A subject answered something else than the right result with 200; its speed means nothing."""


@dataclass(frozen=True)
class Pass:
    """Calls a second, CPU microseconds of the server per call, latency in microseconds, bytes of one answer."""

    rate: float
    cpu: float
    p50: float
    p99: float
    size: float


def verify(server: Running, seconds: int = 1) -> Pass:
    """A pass in which every answer is read and must be the right one; warms the server up as well."""
    return _load(server, seconds, [server.subject.expected])


def load(server: Running, seconds: int, size: float) -> Pass:
    """A measured pass: every answer has status 200 and all together the size of as many right ones."""
    found = _load(server, seconds, [])
    if abs(found.size - size) > size * 0.02:
        raise WrongAnswer(f"{server.subject.name}: answers of {found.size:.0f} bytes, the right ones have {size:.0f}")
    return found


def _load(server: Running, seconds: int, arguments: list[str]) -> Pass:
    """Load a server, for longer where no call ends in the time: a slow one on a busy machine."""
    seconds = max(seconds, server.subject.least)
    found = None
    while found is None:
        found = _run(server, seconds, arguments, last=seconds >= LONGEST)
        seconds *= 2
    return found


def _run(server: Running, seconds: int, arguments: list[str], last: bool, connections: int = 16) -> Pass | None:
    """Load a server from the last core with the same call over some connections; None when no call ended."""
    before = server.cpu()
    # A call of a slow subject is late, not wrong: by itself wrk would count one as an error after 2 seconds.
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT), server.url]
    command += ["--", server.subject.tool, server.token, server.wire, *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    os.sched_setaffinity(child.pid, {CORES[-1]})
    output, _ = child.communicate(timeout=seconds + 60)
    used = server.cpu() - before
    lines = dict(line.split(" ", 1) for line in output.splitlines() if line.startswith(("RESULT ", "SAMPLE ")))
    calls, duration, size, wrong, errors, p50, p99 = map(int, lines["RESULT"].split())
    if not (wrong or errors or calls or last):
        return None
    if wrong or errors or not calls:
        name, sample = server.subject.name, lines.get("SAMPLE", "")
        raise WrongAnswer(f"{name}: {wrong} wrong answers and {errors} errors in {calls} calls, such as {sample}")
    return Pass(calls / duration * 1e6, used / calls * 1e6, p50, p99, size / calls)
