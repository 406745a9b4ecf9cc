"""stdio: the client started us and speaks over our standard streams.

What it is for: one message a line on the original stdin and stdout, kept apart from everything else the process prints.
What may live here: file descriptors, signals, the life of the process.
What may not: what messages mean (that is `duplex`).
"""

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator

from trunkline.errors import TransportError
from trunkline.runtime.application import Application
from trunkline.transports.duplex import Duplex, DuplexLimits
from trunkline.transports.sessions import SessionLimits

_CHUNK = 256 * 1024
_GRACE = 0.5
"""Seconds calls get to finish at end of input, so that `echo request | server` answers; the client expects our exit."""
_DRAIN = 2.0
"""Seconds they get after a signal, when the client still listens."""


async def serve_stdio(
    application: Application, *, limits: DuplexLimits | None = None, sessions: SessionLimits | None = None
) -> None:
    """Serve the process's standard streams until end of input, SIGTERM or SIGINT.

    Whatever else is printed to stdout meanwhile, by Python or by a library in C, goes to stderr.

    Parameters:
        application: what is served; it is started and stopped here.
        limits: bounds of the stream.
        sessions: bounds of the session of a legacy client.

        asyncio.run(serve_stdio(application))
    """
    limits = limits or DuplexLimits()
    with _guarded_streams() as (source, sink):
        reader = _Reader(source, limits.message)
        writer = _Writer(sink, reader.end)
        duplex = Duplex(application, writer.write, limits=limits, session_limits=sessions)
        with _signals(reader.end):
            try:
                await application.start()
                while (line := await reader.line()) is not None:
                    await duplex.feed(line)
                await application.inflight.drain(_DRAIN if reader.told else _GRACE)
                if reader.told:
                    await application.inflight.stop()
            finally:
                await duplex.close()
                await application.stop(0)


class _Reader:
    """Lines of a descriptor, read when somebody wants one.

    `told` says that we were told to stop, rather than that the input ended.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self.told = False
        self._fd = fd
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._part = bytearray()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def end(self) -> None:
        """Read no more."""
        self.told = self._ended = True
        self._lines.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def line(self) -> bytes | None:
        """The next line that is not blank, or None at the end. One over the limit comes cut, just too long."""
        while True:
            while self._lines:
                line = self._lines.popleft()
                if line.strip():
                    return line
            if self._ended:
                return None
            self._take(await self._chunk())

    async def _chunk(self) -> bytes:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        try:
            loop.add_reader(self._fd, self._readable)
        except OSError:
            # A regular file: always ready, and nothing that can be polled.
            return await loop.run_in_executor(None, os.read, self._fd, _CHUNK)
        try:
            await self._waiter
        finally:
            loop.remove_reader(self._fd)
            self._waiter = None
        if self._ended:
            return b""
        try:
            return os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return await self._chunk()
        except OSError:
            return b""

    def _readable(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, chunk: bytes) -> None:
        if not chunk:
            self._ended = True
            if not self.told and self._part:
                self._lines.append(bytes(self._part))
            return
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            self._grow(piece)
            self._lines.append(bytes(self._part))
            self._part.clear()
        self._grow(rest)

    def _grow(self, piece: bytes) -> None:
        self._part += piece[: self._limit + 1 - len(self._part)]


class _Writer:
    """Lines to a descriptor, without blocking the loop.

    Parameters:
        fd: where to.
        broken: called when nobody reads any more.
    """

    def __init__(self, fd: int, broken: Callable[[], None]) -> None:
        self._fd = fd
        self._broken = broken
        self._left = bytearray()
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            os.set_blocking(fd, False)

    async def write(self, message: bytes) -> None:
        """Write one message. Raises `TransportError` when the other end is gone."""
        if b"\n" in message:
            # Only blanks between tokens of forwarded JSON can be line breaks (stdio: no embedded newlines).
            message = message.replace(b"\n", b" ")
        # Who is cancelled within a line leaves the rest of it to the next, who would else write into the middle.
        self._left += message
        self._left += b"\n"
        try:
            while self._left:
                try:
                    del self._left[: os.write(self._fd, self._left)]
                except BlockingIOError:
                    await self._writable()
        except OSError as error:
            self._broken()
            raise TransportError(f"The client does not read any more: {error.strerror}") from None

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)


@contextlib.contextmanager
def _guarded_streams() -> Iterator[tuple[int, int]]:
    """Take stdin and stdout away from everybody else: they get nothing to read, and write to stderr."""
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    blocking = os.get_blocking(source), os.get_blocking(sink)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        yield source, sink
    finally:
        sys.stdout.flush()
        for fd, ours, was in ((0, source, blocking[0]), (1, sink, blocking[1])):
            os.set_blocking(ours, was)
            os.dup2(ours, fd)
            os.close(ours)


@contextlib.contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT end the reading; the second one acts as if we were not here."""
    loop = asyncio.get_running_loop()
    caught = (signal.SIGTERM, signal.SIGINT)

    def once() -> None:
        release()
        end()

    def release() -> None:
        for number in caught:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)

    for number in caught:
        # Outside the main thread, and on Windows, whoever started us decides what signals do.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, once)
    try:
        yield
    finally:
        release()
