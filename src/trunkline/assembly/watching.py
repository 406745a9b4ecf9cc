"""Whether files have changed.

What it is for: noticing edits on any kind of file system, replaced files and swapped links included.
What may live here: looking and remembering. What may not: waiting, knowing what the files are for.
"""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

_FRESH = 2.0
"""Seconds for which a file's time of change is not trusted: an edit within one tick of the clock does not move it."""

_Facts = tuple[int, int, int]


class Watch:
    """What some files held when they were looked at.

    Parameters:
        files: to look at; they need not exist.

        watch = Watch([Path("mcp.json")])
        watch.changed()  # False
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._facts: dict[Path, _Facts | None] = {}
        self._digests: dict[Path, bytes] = {}
        for path in files:
            self._facts[path] = _facts(path)
            self._digests[path] = _digest(path)

    def changed(self) -> bool:
        """Whether any file holds something else now. Blocks for as long as the file system does."""
        return any(self._is_changed(path) for path in self._facts)

    def _is_changed(self, path: Path) -> bool:
        now = _facts(path)
        if now == self._facts[path] and (now is None or time.time() - now[0] / 1e9 > _FRESH):
            return False
        self._facts[path] = now
        return _digest(path) != self._digests[path]


def _facts(path: Path) -> _Facts | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError):
        return b""
