"""A bounded pool of threads for synchronous functions.

What it is for: sync tools run beside the event loop, at a fraction of an executor's cost per call.
What may live here: the pool. What may not: anything about tools.
"""

import collections
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from trunkline.errors import Overloaded

T = TypeVar("T")

if TYPE_CHECKING:
    import asyncio

    Job = tuple[asyncio.AbstractEventLoop, asyncio.Future[object], contextvars.Context, Callable[[], object]]


class WorkerPool:
    """Threads that run functions, started when first needed.

    Parameters:
        threads: how many functions run at once; by default 4 more than the processors, at most 32.
        waiting: how many may wait for a thread before `run` raises `Overloaded`.

        result = await pool.run(lambda: fetch(url))
    """

    def __init__(self, threads: int | None = None, waiting: int = 1000) -> None:
        self._size = threads or min(32, (os.cpu_count() or 1) + 4)
        self._waiting = waiting
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = 0
        self._busy = 0
        # One entry for each function whose event loop was closed before it returned.
        self._lost: collections.deque[None] = collections.deque()

    async def run(self, function: Callable[[], T]) -> T:
        """Run `function` on a thread and return what it returns. A cancelled wait leaves the thread to finish alone."""
        while self._lost:
            self._lost.pop()
            self._busy -= 1
        if self._busy >= self._size + self._waiting:
            raise Overloaded("All workers are busy and the queue is full; try again shortly")
        # Imported when a function first runs: a server that has none starts faster.
        from asyncio import get_running_loop

        loop = get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._busy += 1
        if self._threads < min(self._busy, self._size):
            self._start_thread()
        self._jobs.put((loop, future, contextvars.copy_context(), function))
        return cast("T", await future)

    def stop(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in range(self._threads):
            self._jobs.put(None)
        # Whoever starts anew must not meet what ends the threads of now.
        self._jobs = queue.SimpleQueue()
        self._threads = 0

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, args=(self._jobs,), name="trunkline-worker", daemon=True).start()

    def _work(self, jobs: "queue.SimpleQueue[Job | None]") -> None:
        while (job := jobs.get()) is not None:
            loop, future, context, function = job
            result: object = None
            error: BaseException | None = None
            try:
                result = context.run(function)
            except BaseException as raised:
                # StopIteration cannot be set on a future; it would end the caller's coroutine silently.
                error = RuntimeError("function raised StopIteration") if isinstance(raised, StopIteration) else raised
            try:
                loop.call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:
                self._lost.append(None)

    def _finish(self, future: "asyncio.Future[object]", result: object, error: BaseException | None) -> None:
        self._busy -= 1
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
