"""Several processes that serve one endpoint: the parent that keeps them.

What it is for: one socket, N workers on it, each started again when it dies, all of them exchanged without a lost call.
What may live here: the life of workers. What may not: serving (each worker does), knowing what is served.

All share one listening socket, and so one queue of connections: none is lost with a worker, which SO_REUSEPORT, where
each has a queue of its own, cannot promise (docs/decisions/0005).
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence

from trunkline.assembly.hangup import on_hangup
from trunkline.assembly.worker import VARIABLE, Worker
from trunkline.transports.accepting import turn_away
from trunkline.transports.serving import Drain

_log = logging.getLogger("trunkline.workers")

STEADY = 60.0
"""Seconds after which a worker counts as healthy."""
LOOP = 5
"""So many quick ends in a row are a crash loop."""
_BASE, _CAP = 0.5, 30.0
_PATIENCE = 120.0
"""Seconds a worker may take to become ready before its taking another's place is given up."""
_MARGIN = 15.0
"""Seconds beyond its drain that a worker has to end upstream servers and itself."""


class _Process:
    """A worker process, from its start to its end."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, control: asyncio.StreamWriter) -> None:
        self.number = number
        self.pid = process.pid
        self.up = asyncio.Event()
        self.ready = asyncio.Event()
        self.began = time.monotonic()
        self.ended: asyncio.Task[int] = asyncio.create_task(process.wait())
        self._process = process
        self._control = control

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take in what it tells."""
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                (self.ready if line == b"ready\n" else self.up).set()

    def retire(self) -> None:
        """Another has taken its place."""
        if not self.ended.done():
            self._control.write(b"retire\n")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, seconds: float) -> None:
        """Wait for its end, which comes after so many seconds at the latest."""
        await asyncio.wait({self.ended}, timeout=seconds)
        if not self.ended.done():
            _log.error("a worker did not end in time and is killed", extra={"worker": self.number, "pid": self.pid})
            self.signal(signal.SIGKILL)
        await self.ended
        self._control.close()


class Workers:
    """Keeps `count` workers on one socket.

    Parameters:
        command: starts one.
        listener: what they serve.
        drain: how they end.
        follows: a worker reads its configuration again on SIGHUP; otherwise workers are replaced on it.

        code = await Workers(command, 4, listener, Drain()).run()
    """

    def __init__(
        self, command: Sequence[str], count: int, listener: socket.socket, drain: Drain, *, follows: bool
    ) -> None:
        self._command = command
        self._listener = listener
        self._delay = drain.delay
        self._bound = drain.delay + drain.timeout + _MARGIN
        self._follows = follows
        self._numbers = range(1, count + 1)
        self._current: dict[int, _Process] = {}
        self._all: set[_Process] = set()
        self._turns = {number: asyncio.Lock() for number in self._numbers}
        self._stopping = asyncio.Event()
        self._wanted = asyncio.Event()
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve until a signal; returns the exit code. One worker alone shows at first whether that can be done."""
        with self._on_signals(), on_hangup(self._hung_up):
            first = await self._start(1, announcing=True)
            if not await self._comes(first.up, first, None):
                await first.end(self._bound)
                return 0 if self._stopping.is_set() else abs(first.ended.result())
            await asyncio.gather(*(self._start(number) for number in self._numbers if number > 1))
            for number in self._numbers:
                self._spawn(self._keep(number))
            self._spawn(self._replace_when_wanted())
            self._spawn(self._tell_when_ready())
            await self._stopping.wait()
            while self._all:
                await asyncio.gather(*(process.end(self._bound) for process in self._all))
            for task in self._tasks:
                task.cancel()
        return 0

    async def _start(self, number: int, *, announcing: bool = False, current: bool = True) -> _Process:
        ours, theirs = socket.socketpair()
        joining = any(process.up.is_set() for process in self._all)
        place = Worker(number, self._listener.fileno(), theirs.fileno(), joining, announcing)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, VARIABLE: place.words()},
                stdin=subprocess.DEVNULL,
                pass_fds=(place.listener, place.control),
                # A Ctrl-C is for the parent, who passes it on.
                start_new_session=True,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        started = _Process(number, process, writer)
        self._all.add(started)
        started.ended.add_done_callback(lambda _: self._all.discard(started))
        self._spawn(started.listen(reader))
        if current:
            self._current[number] = started
        if self._stopping.is_set():
            started.signal(signal.SIGTERM)
        return started

    async def _tell_when_ready(self) -> None:
        while not all(process.ready.is_set() for process in self._current.values()):
            await asyncio.sleep(0.1)
        _log.info("all workers are ready", extra={"workers": len(self._numbers)})

    async def _replace_when_wanted(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if await self._replace_all() and not self._stopping.is_set():
                _log.info("all workers were replaced")

    async def _keep(self, number: int) -> None:
        """Start a worker again whenever it ends unasked."""
        failures = 0
        while True:
            process = self._current[number]
            code = await asyncio.shield(process.ended)
            async with self._turns[number]:
                if self._stopping.is_set():
                    return
                if self._current[number] is not process:
                    continue
                failures = 1 if time.monotonic() - process.began > STEADY else failures + 1
                wait = 0.0 if code == 0 else random.uniform(0, min(_CAP, _BASE * 2.0 ** (failures - 1)))  # noqa: S311
                facts = {"worker": number, "pid": process.pid, "code": code, "again_in": round(wait, 1)}
                if failures >= LOOP:
                    facts["failures"] = failures
                    _log.error("a worker ends again and again soon after its start", extra=facts)
                else:
                    _log.warning("a worker ended and is started again", extra=facts)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait)
                if not self._stopping.is_set():
                    await self._start(number)

    async def _replace_all(self) -> bool:
        """Let new workers take the places of the old ones, one after the other; False when one does not get ready."""
        for number in self._numbers:
            async with self._turns[number]:
                new = await self._start(number, current=False)
                if not await self._comes(new.ready, new, _PATIENCE):
                    if not self._stopping.is_set():
                        _log.error("a new worker does not get ready; the old ones go on", extra={"worker": number})
                    new.signal(signal.SIGTERM)
                    return False
                old, self._current[number] = self._current[number], new
            old.retire()
            await old.end(self._bound)
        return True

    async def _comes(self, event: asyncio.Event, process: _Process, seconds: float | None) -> bool:
        """Whether a worker says something before it ends, or everything does, or it takes too long."""
        said, stopped = (asyncio.create_task(one.wait()) for one in (event, self._stopping))
        try:
            await asyncio.wait({said, stopped, process.ended}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            said.cancel()
            stopped.cancel()
        return event.is_set() and not process.ended.done()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.contextmanager
    def _on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGUSR2: self._wanted.set,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        """Pass it on: a second one makes workers end at once, and a third one ends them."""
        self._signals += 1
        if not self._stopping.is_set():
            # As long as it is open anywhere, the system takes connections that nobody will serve.
            asyncio.get_running_loop().call_later(self._delay, self._take_no_more)
        self._stopping.set()
        for process in self._all:
            process.signal(signal.SIGTERM if self._signals < 3 else signal.SIGKILL)

    def _take_no_more(self) -> None:
        if self._delay > 0:
            # Workers take what waits by now, and then close it as well.
            turn_away(self._listener)
        self._listener.close()

    def _hung_up(self) -> None:
        if not self._follows:
            self._wanted.set()
            return
        for process in self._all:
            process.signal(signal.SIGHUP)
