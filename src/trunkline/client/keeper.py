"""The keeper: a tiny process that ends our children when we die without a goodbye.

What it is for: `python -I -S keeper.py` reads registrations; at their end it ends every process still registered.
What may live here: finding the living members of a process family, signalling them, the keeper's own loop.
What may not: imports beyond the standard library (the file runs by path, isolated), asyncio, threads.

A family is what one `ChildProcess` started: its process group and session, everything that carries its mark in the
environment (`TRUNKLINE_CHILD`), and the descendants of those. On Linux all of them are found through /proc, also those
that made a session of their own; elsewhere only the process group is known.

PR_SET_PDEATHSIG is not used: it follows the thread that started the child rather than the process, is not inherited by
grandchildren, and would need code between fork and exec, which is not safe in a program with threads.
"""

import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

MARK_VARIABLE = "TRUNKLINE_CHILD"
GRACE_SECONDS = 2.0
KILL_SECONDS = 3.0
_POLL_SECONDS = 0.05

Processes = dict[int, int]
"""Process ids and the clock tick each started at; the pair tells a process from a later one with the same id."""


def living(groups: Collection[int], marks: Collection[str], known: Mapping[int, int]) -> Processes:
    """The living processes of the families with these process groups and marks, and those of `known` that still live.

    Parameters:
        groups: process group ids, each led by a process that also leads its session.
        marks: values of `TRUNKLINE_CHILD`.
        known: processes found earlier; a reused process id is recognised and left out.
    """
    try:
        entries = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return {}
    needles = [f"{MARK_VARIABLE}={mark}".encode() for mark in marks]
    found: Processes = {}
    children: dict[int, list[tuple[int, int]]] = {}
    own = os.getpid()
    for pid in entries:
        facts = _stat(pid)
        if facts is None or pid == own:
            continue
        parent, group, session, started = facts
        children.setdefault(parent, []).append((pid, started))
        if group in groups or session in groups or known.get(pid) == started or _carries(pid, needles):
            found[pid] = started
    pending = list(found)
    while pending:
        for pid, started in children.get(pending.pop(), ()):
            if pid not in found:
                found[pid] = started
                pending.append(pid)
    return found


def _stat(pid: int) -> tuple[int, int, int, int] | None:
    """Parent, group, session and start tick of a process (proc(5), /proc/pid/stat); None for a zombie or none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def _carries(pid: int, needles: list[bytes]) -> bool:
    if not needles:
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            environ = file.read()
    except OSError:
        return False
    return any(needle in environ for needle in needles)


def group_exists(group: int) -> bool:
    """Whether a process group has any member, zombies included; for platforms without /proc."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send_signal(number: signal.Signals, groups: Collection[int], members: Collection[int]) -> None:
    """Signal process groups and single processes; what is already gone or not ours is passed over."""
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    for pid in members:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _registrations() -> dict[str, int | None]:
    """Read registrations until the pipe ends: `+ mark`, `= mark group`, `- mark`."""
    families: dict[str, int | None] = {}
    with open(0, "rb", buffering=0) as pipe:
        rest = b""
        while data := pipe.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _register(families, line.decode().split())
    return families


def _register(families: dict[str, int | None], words: list[str]) -> None:
    match words:
        case ["+", mark]:
            families[mark] = None
        case ["=", mark, group]:
            families[mark] = int(group)
        case ["-", mark]:
            families.pop(mark, None)


def end_families(families: Mapping[str, int | None]) -> None:
    """End these families (mark to process group): SIGTERM, a short grace, SIGKILL until nothing lives."""
    groups = {group for group in families.values() if group is not None and group_exists(group)}
    known: Processes = {}
    killing = time.monotonic() + GRACE_SECONDS
    until = killing + KILL_SECONDS
    terminated: set[int] = set()
    while (now := time.monotonic()) < until:
        known = living(groups, families, known)
        if not known and (sys.platform == "linux" or not any(map(group_exists, groups))):
            return
        if now >= killing:
            send_signal(signal.SIGKILL, groups, known)
        else:
            send_signal(signal.SIGTERM, groups if not terminated else (), known.keys() - terminated)
            terminated.update(known or (0,))
        time.sleep(_POLL_SECONDS)


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    families = _registrations()
    if families:
        end_families(families)


if __name__ == "__main__":
    main()
