"""Our end of the keeper's pipe: children are registered here so that none outlives us.

What it is for: one keeper process per process of ours, started with the first child, told what to end if we vanish.
What may live here: starting the keeper, registering and releasing families, starting it again when it died.
What may not: ending children in the normal course of things (`ChildProcess.close` does), anything asynchronous.
"""

import atexit
import functools
import logging
import os
import subprocess
import sys
import threading
from contextlib import suppress

from trunkline.client import keeper

_log = logging.getLogger("trunkline.client.keeper")
_EXIT_SECONDS = keeper.GRACE_SECONDS + keeper.KILL_SECONDS + 1


class Keeping:
    """The families our process keeps, mirrored into a keeper process that ends them when our end of its pipe closes.

    This covers our own SIGKILL. Outside Linux, without /proc, the keeper knows process groups only: a descendant that
    made its own session escapes it. Where no keeper can be started, children get end of file on their stdin when
    we die and nothing else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: dict[str, int | None] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        # A forked copy of us must not hold the pipe open: the keeper would never see its end.
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    @property
    def pid(self) -> int | None:
        """The keeper's process id, once it runs."""
        return None if self._process is None else self._process.pid

    def expect(self, mark: str) -> None:
        """Announce a child before it is started, so that dying in between leaves nothing behind."""
        with self._lock:
            self._families[mark] = None
            self._tell(f"+ {mark}\n")

    def hold(self, mark: str, group: int) -> None:
        """Register the process group of an announced child."""
        with self._lock:
            self._families[mark] = group
            self._tell(f"= {mark} {group}\n")

    def release(self, mark: str) -> None:
        """Forget a child that is gone."""
        with self._lock:
            self._families.pop(mark, None)
            self._write(f"- {mark}\n")

    def close(self) -> None:
        """Close the pipe: the keeper ends whatever is still registered, then itself. Waits for that, some seconds."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        _close_pipe(process)
        try:
            process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._write(line):
            return
        if self._process is not None:
            _log.warning("the keeper process %d ended; starting another", self._process.pid)
            self._discard(self._process)
        self._process = _start()
        if self._process is not None:
            self._write("".join(_registration(mark, group) for mark, group in self._families.items()))

    def _write(self, text: str) -> bool:
        pipe = self._process.stdin if self._process is not None else None
        if pipe is None:
            return False
        try:
            pipe.write(text.encode())
        except OSError:
            return False
        return True

    def _discard(self, process: subprocess.Popen[bytes]) -> None:
        _close_pipe(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)

    def _forget(self) -> None:
        process, self._process = self._process, None
        self._families = {}
        self._lock = threading.Lock()
        self._owner = os.getpid()
        if process is not None:
            _close_pipe(process)
            process.returncode = 0  # the parent's child, not ours: nothing to wait for


def _registration(mark: str, group: int | None) -> str:
    return f"+ {mark}\n" if group is None else f"= {mark} {group}\n"


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _start() -> subprocess.Popen[bytes] | None:
    """Start a keeper in its own session, so that a Ctrl-C at our terminal leaves it to its work."""
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={},
            start_new_session=True,
        )
    except OSError as error:
        _log.warning("no keeper process could be started (%s): children may outlive a crash of this process", error)
        return None


def own_keeping() -> Keeping:
    """The `Keeping` of this process; a forked process gets its own."""
    return _keeping_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _keeping_of(pid: int) -> Keeping:
    return Keeping()
