"""Keeping one upstream connected: start on demand, restart with backoff, say what state it is in.

What it is for: the life of a connection that may break at any time, around any way of making one.
What may live here: the state machine as a table, the waiting between attempts, the status people see.
What may not: processes, HTTP, MCP messages; `connect` brings those.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from trunkline.client.lines import Tail
from trunkline.errors import TrunklineError, UpstreamUnavailable

_log = logging.getLogger("trunkline.gateway.supervision")

State = Literal["stopped", "starting", "ready", "backing_off", "failed", "stopping"]
Event = Literal["wanted", "connected", "broke", "gave_up", "retry", "stop", "ended"]

TRANSITIONS: dict[tuple[State, Event], State] = {
    ("stopped", "wanted"): "starting",
    ("starting", "connected"): "ready",
    ("starting", "broke"): "backing_off",
    ("starting", "gave_up"): "failed",
    ("ready", "broke"): "backing_off",
    ("ready", "gave_up"): "failed",
    ("backing_off", "retry"): "starting",
    ("failed", "retry"): "starting",
    ("starting", "stop"): "stopping",
    ("ready", "stop"): "stopping",
    ("backing_off", "stop"): "stopping",
    ("failed", "stop"): "stopping",
    ("stopping", "ended"): "stopped",
}


class Connection(Protocol):
    """What `connect` makes: something that ends by itself or is closed."""

    async def closed(self) -> str:
        """Wait until the connection has ended; returns why, in words a caller may see."""
        ...

    async def close(self) -> None:
        """End it, leaving nothing behind. May be called after it ended by itself, and more than once."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something that is on its way over it comes back although it has ended."""
        ...

    async def retire(self) -> None:
        """End it once it is not busy any more; at once when this is cancelled."""
        ...


C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How restarts are spaced. All times in seconds.

    Parameters:
        base, cap: the n-th wait is drawn evenly from 0 to `base` * 2**(n-1), at most `cap` (full jitter).
        steady: after running this long a connection counts as healthy and the count starts again.
        quick_failures: after this many failures in a row the state is `failed`: a crash loop.
        slow: the wait between attempts while `failed`, half of it jitter.
        start: how long one attempt to connect may take; package runners download on the first start.
    """

    base: float = 0.5
    cap: float = 30.0
    steady: float = 60.0
    quick_failures: int = 5
    slow: float = 120.0
    start: float = 120.0

    def wait(self, failures: int, chance: float) -> float:
        """The wait after `failures` failures in a row; `chance` is drawn from 0 to 1."""
        if self.crash_loop(failures):
            return self.slow * (0.5 + chance / 2)
        return chance * min(self.cap, self.base * 2.0 ** min(failures - 1, 32))

    def crash_loop(self, failures: int) -> bool:
        """Whether so many failures in a row are a crash loop."""
        return failures >= self.quick_failures


@dataclass(frozen=True, slots=True)
class Status:
    """One row of the live table: what an operator sees, stderr included, so not for callers.

    `since` and `retry_at` are seconds since the epoch; `attempts` counts starts since it was last wanted; `error` is
    the last error since then, also while a new attempt runs or has succeeded.
    """

    name: str
    state: State
    since: float
    attempts: int
    error: str
    retry_at: float | None
    stderr: tuple[str, ...]


class Supervised(Generic[C]):
    """One upstream kept connected while it is wanted.

    Parameters:
        name: the upstream's name, used in errors.
        connect: makes a connection; when cancelled or failing it must leave nothing behind.
        backoff: how restarts are spaced.
        on_change: called with the new `Status` at every change of state.

    Example:
        upstream = Supervised("time", connect_to_time)
        connection = await upstream.ready(timeout=30)
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[C]],
        *,
        backoff: Backoff | None = None,
        on_change: Callable[[Status], None] | None = None,
    ) -> None:
        self.name = name
        self.stderr = Tail()
        self._connect = connect
        self._backoff = backoff or Backoff()
        self._on_change = on_change
        self._state: State = "stopped"
        self._since = time.time()
        self._attempts = 0
        self._failures = 0
        self._error = ""
        self._retry_at: float | None = None
        self._connection: C | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._changed: asyncio.Future[None] | None = None

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def connection(self) -> C | None:
        """The connection while `ready`, without waiting or starting anything."""
        return self._connection if self._state == "ready" else None

    @property
    def status(self) -> Status:
        """What the live table shows."""
        stderr = self.stderr.last(5)
        return Status(self.name, self._state, self._since, self._attempts, self._error, self._retry_at, stderr)

    def hear(self, line: str) -> None:
        """Take a stderr line for the table; give this to the connection as its stderr callback."""
        self.stderr.add(line)

    def start(self) -> None:
        """Want it connected, without waiting. Nothing happens when it already is, or is being, started."""
        if self._state == "stopped":
            self._attempts = self._failures = 0
            self._error = ""
            self._move("wanted")
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def ready(self, timeout: float) -> C:
        """The connection; starts it when stopped and waits while it starts.

        Parameters:
            timeout: how long to wait, in seconds.

        Raises:
            UpstreamUnavailable: at once while it backs off, has failed or stops; after `timeout` while it starts.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout):
                while self._state == "starting" or self._clearing:
                    await self._change()
        except TimeoutError:
            raise self._unavailable(f"is still starting after {timeout:g} s", retry=True) from None
        if self._state == "ready" and self._connection is not None:
            return self._connection
        if self._state in ("stopping", "stopped"):
            raise self._unavailable("is being stopped", retry=False)
        wait = max(0.0, (self._retry_at or 0.0) - time.time())
        word = "keeps failing" if self._state == "failed" else "is down"
        raise self._unavailable(f"{word}: {self._error}; next attempt in {wait:.1f} s", retry=True, wait=wait)

    async def renewed(self, lost: C, within: float, *, once: bool = True) -> C | None:
        """The connection after a lost one, if it is made in time; otherwise None.

        Parameters:
            lost: the connection that is of no use any more.
            within: seconds to wait.
            once: only the very next attempt counts.
        """
        end = time.time() + within
        try:
            async with asyncio.timeout(within):
                while (self._connection is lost and self._state == "ready") or self._clearing:
                    await self._change()
                while self._state in ("backing_off", "starting"):
                    tried = self._state == "starting"
                    if not tried and (self._retry_at or 0.0) > end:
                        break
                    await self._change()
                    if tried and once:
                        break
        except TimeoutError:
            return None
        return self.connection

    async def stop(self) -> None:
        """End the connection, or the attempt to make one, and wait until nothing of it is left."""
        if self._state == "stopped":
            return
        if self._stopping is None:
            self._move("stop")
            task, self._task = self._task, None
            self._stopping = asyncio.get_running_loop().create_task(self._end(task))
            if task is not None:
                task.cancel()
        await asyncio.shield(self._stopping)

    async def _end(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        self._stopping = None
        self._move("ended")

    async def _run(self) -> None:
        while True:
            self._attempts += 1
            self._error, lasted = await self._attempt()
            self._failures = 1 if lasted >= self._backoff.steady else self._failures + 1
            wait = self._backoff.wait(self._failures, random.random())  # noqa: S311
            self._retry_at = time.time() + wait
            self._move("gave_up" if self._backoff.crash_loop(self._failures) else "broke")
            await asyncio.sleep(wait)
            self._retry_at = None
            self._move("retry")

    async def _attempt(self) -> tuple[str, float]:
        """Connect and stay until the connection ends; returns why it did and for how many seconds it was ready."""
        try:
            async with asyncio.timeout(self._backoff.start) as limit:
                connection = await self._connect()
        except TrunklineError as error:
            return error.message, 0.0
        except Exception as error:
            if limit.expired():
                return f"did not start within {self._backoff.start:g} s", 0.0
            _log.exception("upstream %s: the attempt to connect raised", self.name)
            return f"could not be connected ({type(error).__name__}; the log has the details)", 0.0
        begun = time.monotonic()
        self._connection = connection
        self._move("connected")
        try:
            return await connection.closed(), time.monotonic() - begun
        finally:
            self._connection = None
            if connection.busy and self._state != "stopping":
                retiring = asyncio.get_running_loop().create_task(self._close(connection.retire()))
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)
            else:
                await self._close(connection.close())

    async def _close(self, closing: Awaitable[None]) -> None:
        try:
            await closing
        except Exception:
            _log.exception("upstream %s: closing the connection raised", self.name)

    @property
    def _clearing(self) -> bool:
        """Whether a connection has ended and what is left of it is not gone: why it ended is told after that."""
        return self._state == "ready" and self._connection is None

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _move(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state, event]
        self._since = time.time()
        told = event in ("broke", "gave_up")
        _log.log(
            logging.WARNING if told else logging.INFO, "upstream %s: %s%s", self.name, self._state, self._why(told)
        )
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set_result(None)
        if self._on_change is not None:
            try:
                self._on_change(self.status)
            except Exception:
                _log.exception("upstream %s: the status callback raised", self.name)

    def _why(self, told: bool) -> str:
        return f" after attempt {self._attempts}: {self._error}" if told else ""

    def _unavailable(self, text: str, *, retry: bool, wait: float | None = None) -> UpstreamUnavailable:
        data: dict[str, object] = {
            "dev.trunkline/upstream": self.name,
            "dev.trunkline/state": self._state,
            "dev.trunkline/retry": retry,
        }
        if wait is not None:
            data["dev.trunkline/retryAfterMs"] = int(wait * 1000)
        return UpstreamUnavailable(f"upstream {self.name} {text}", data)
