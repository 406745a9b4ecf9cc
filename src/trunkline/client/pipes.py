"""The three pipes of a child process, as the event loop's protocols.

What it is for: lines out with backpressure, lines in with bounded memory, stderr kept as a tail.
What may live here: what happens on one pipe.
What may not: the process behind the pipes, why it ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from trunkline.client.lines import Dropped, LineSplitter, Tail

UNREAD_HIGH = 4 * 1024 * 1024
"""Bytes of lines nobody has read yet above which the child is left waiting."""

_LINE_OVERHEAD = 64
_STDERR_LINE = 65_536


class LineWriter(asyncio.BaseProtocol):
    """Writes lines to a child's stdin."""

    def __init__(self) -> None:
        self.broken = False
        self._transport: asyncio.WriteTransport | None = None
        self._drained: asyncio.Future[None] | None = None

    async def write(self, line: bytes) -> bool:
        """Write a line and wait while the pipe is full; False when the child does not read any more."""
        if self.broken or self._transport is None:
            return False
        self._transport.write(line + b"\n")
        while self._drained is not None:
            await asyncio.shield(self._drained)
        return not self.broken

    def finish(self) -> None:
        """Close the pipe once everything is written; the child reads end of file then."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the pipe now; whoever waits to write is told."""
        transport, self._transport = self._transport, None
        self.broken = True
        self.resume_writing()
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        self._transport = None  # a transport that has said goodbye must not be aborted
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._drained is None and not self.broken:
            self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        waiting, self._drained = self._drained, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class LineReader(asyncio.Protocol):
    """Reads lines from a child's stdout, for one reader.

    Parameters:
        limit: longest line, in bytes; of what is longer the ends are handed out.
    """

    def __init__(self, limit: int) -> None:
        self.ended = False
        self._splitter = LineSplitter(limit)
        self._lines: deque[bytes | Dropped] = deque()
        self._unread = 0
        self._paused = False
        self._transport: asyncio.ReadTransport | None = None
        self._readable: asyncio.Future[None] | None = None

    async def read(self) -> bytes | Dropped | None:
        """The next line, or what is left of a dropped one, or None at the end."""
        while not self._lines:
            if self.ended:
                return None
            self._readable = asyncio.get_running_loop().create_future()
            await self._readable
        line = self._lines.popleft()
        self._unread -= _weight(line)
        if self._paused and self._unread <= UNREAD_HIGH // 2 and self._transport is not None and not self.ended:
            self._paused = False
            self._transport.resume_reading()
        return line

    def end(self) -> None:
        """Take nothing more in; what has arrived can still be read."""
        if not self.ended:
            self.ended = True
            self._lines.extend(self._splitter.finish())
            self._wake()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        lines = self._splitter.feed(data)
        self._lines.extend(lines)
        self._unread += sum(map(_weight, lines))
        if self._unread > UNREAD_HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if lines:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end()

    def _wake(self) -> None:
        waiting, self._readable = self._readable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


def _weight(line: bytes | Dropped) -> int:
    return _LINE_OVERHEAD + (len(line) if isinstance(line, bytes) else 0)


class StderrReader(asyncio.Protocol):
    """Keeps the tail of a child's stderr and passes each line on.

    Parameters:
        masked: secrets given to the child; they are taken out of what it says.
        on_line: called with each line that is not empty.
    """

    def __init__(self, masked: Iterable[str], on_line: Callable[[str], None] | None) -> None:
        self.tail = Tail()
        self._masked = tuple(masked)
        self._on_line = on_line
        self._splitter = LineSplitter(_STDERR_LINE)
        self._transport: asyncio.BaseTransport | None = None

    def end(self) -> None:
        """Close the pipe."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._hear(self._splitter.feed(data.replace(b"\r", b"\n")))

    def connection_lost(self, exc: Exception | None) -> None:
        self._hear(self._splitter.finish())

    def _hear(self, lines: Iterable[bytes | Dropped]) -> None:
        for line in lines:
            text = f"(a line of {line.size} bytes)" if isinstance(line, Dropped) else line.decode(errors="replace")
            for secret in self._masked:
                text = text.replace(secret, "***")
            kept = self.tail.add(text)
            if kept and self._on_line is not None:
                self._on_line(kept)
