"""Lines of a child's output: a splitter with a limit, and the tail of what it said on stderr.

What it is for: cutting bytes into lines without ever holding more than a bounded amount.
What may live here: pure line handling.
What may not: pipes, processes, decoding of messages.
"""

import re
from collections import deque
from typing import NamedTuple

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


_ENDS = 256
"""Bytes kept of either end of a line that is dropped."""


class Dropped(NamedTuple):
    """A line that was too long: how many bytes it had, and its ends."""

    size: int
    head: bytes
    tail: bytes


class LineSplitter:
    """Cuts a byte stream at newlines; of a line above `limit` bytes the two ends are kept and the rest is dropped.

    Parameters:
        limit: the longest line handed out, in bytes, without its newline.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._dropped = 0
        self._head = b""

    def feed(self, data: bytes) -> list[bytes | Dropped]:
        """The lines completed by `data`."""
        done: list[bytes | Dropped] = []
        begin = 0
        while (end := data.find(b"\n", begin)) >= 0:
            done.append(self._complete(data[begin:end]))
            begin = end + 1
        self._keep(data[begin:] if begin else data)
        return done

    def finish(self) -> list[bytes | Dropped]:
        """What stands after the last newline, at the end of the stream."""
        return [self._complete(b"")] if self._rest or self._dropped else []

    def _complete(self, data: bytes) -> bytes | Dropped:
        if not self._rest and not self._dropped and len(data) <= self._limit:
            return data
        self._keep(data)
        rest = bytes(self._rest)
        line = Dropped(self._dropped, self._head, rest) if self._dropped else rest
        self._rest = bytearray()
        self._dropped = 0
        return line

    def _keep(self, data: bytes) -> None:
        if self._dropped:
            self._dropped += len(data)
            self._rest = (self._rest + data[-_ENDS:])[-_ENDS:]
        elif len(self._rest) + len(data) > self._limit:
            self._dropped = len(self._rest) + len(data)
            self._head = bytes(self._rest[:_ENDS] + data[:_ENDS])[:_ENDS]
            self._rest = (self._rest[-_ENDS:] + data[-_ENDS:])[-_ENDS:]
        else:
            self._rest += data


class Tail:
    """The last lines of a text stream, bounded in lines and in characters; control characters are taken out.

    Parameters:
        lines: how many lines are kept.
        characters: how many characters are kept in all; a longer line is cut.
    """

    def __init__(self, lines: int = 50, characters: int = 16_384) -> None:
        self._lines: deque[str] = deque()
        self._most = lines
        self._room = characters
        self._held = 0

    def add(self, line: str) -> str:
        """Keep a line; returns it as kept."""
        kept = _CONTROL.sub("", line).rstrip()[: self._room]
        if not kept:
            return kept
        self._lines.append(kept)
        self._held += len(kept)
        while len(self._lines) > self._most or self._held > self._room:
            self._held -= len(self._lines.popleft())
        return kept

    def last(self, count: int | None = None) -> tuple[str, ...]:
        """The last `count` lines, oldest first; all that are kept without a count."""
        lines = tuple(self._lines)
        return lines if count is None else lines[max(0, len(lines) - count) :]
