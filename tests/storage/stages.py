"""Processes that print what they have done, to be killed with SIGKILL."""

import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Stage:
    """A module run in a process; `lines` is what it printed so far, whole lines only."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def kill(self) -> list[str]:
        self.process.kill()
        self.process.wait(20)
        self._reader.join(20)
        return self.lines

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.strip() for line in lines if line.endswith("\n"))
