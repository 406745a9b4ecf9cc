"""The worker: takes tasks that are due, runs them, keeps them its own, and writes down what became of them.

What it is for: execution in this process, from the claim to the outcome.
What may live here: the life of a worker and of its claims. What may not: what a run is to its function (`running`), how
the next task is chosen (the store).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import msgspec

from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Result
from trunkline.engine.patterns import matches
from trunkline.engine.rounds import InputRequired
from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.extensions.tasks.policy import LOST, TaskPolicy
from trunkline.extensions.tasks.records import NewTask, Task
from trunkline.extensions.tasks.running import Running, rebuilt
from trunkline.extensions.tasks.settling import lost, settle
from trunkline.extensions.tasks.store import TaskStore

logger = logging.getLogger("trunkline.tasks")

_IDLE = 5.0
"""Seconds after which a worker looks for due tasks although nobody told of any."""

_BUSY = 0.5
"""Seconds until it looks again when something is due that it may not run now."""

_EXPIRY = 5.0
"""Seconds between two looks for tasks whose life has ended."""

_GRACE = 1.0
"""Seconds that stopped runs have to clean up."""


class Pace(msgspec.Struct, frozen=True):
    """How much one process does of the tasks that wait.

    Parameters:
        runs: tasks it runs at a time; 0 where other processes run them (`trunkline worker`). A call that becomes a task
            while it runs goes on where it runs, whatever this says.
        lease: seconds after which others may take what it has, unless it renews that.
        tools: names of those it runs, or patterns as in `report_*`; None for all it has.

    Raises `ConfigError` for what is no number of them, or no time.

        Server("weather", storage="postgresql://...", task_pace=Pace(runs=0))
    """

    runs: int = 100
    lease: float = 30.0
    tools: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.runs < 0 or not self.lease > 0:
            raise ConfigError("Pace needs runs of at least 0, and a lease of more than 0 seconds")

    def takes(self, tool: str) -> bool:
        """Whether tasks of a tool are run here at all."""
        return self.runs > 0 and (self.tools is None or any(matches(pattern, tool) for pattern in self.tools))


class Rule(msgspec.Struct, frozen=True):
    """What there is to know about a tool that may become a task.

    Parameters:
        policy: its author's.
        idempotent: running it twice does no more than running it once.
        structured: its clients insist on structured content.
    """

    policy: TaskPolicy
    idempotent: bool = False
    structured: bool = False


class Worker:
    """Runs the tasks of one store in this process.

    Parameters:
        store: where they are.
        name: of this process, not used again after it ended.
        call: answers the call a task was made from.
        rules: what there is to know about a tool; None for one that is not here.
        tools: the names of the tools it runs.
        pace: how much at once.

        worker = Worker(store, "k3j9x0q2ab", call, rules.get, rules.keys)
        worker.start()
    """

    def __init__(
        self,
        store: TaskStore,
        name: str,
        call: CallNext,
        rules: Callable[[str], Rule | None],
        tools: Callable[[], Sequence[str]],
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._name = name
        self._call = call
        self._rules = rules
        self._tools = tools
        self._pace = pace or Pace()
        self._runs: dict[str, Running] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._draining = False
        self._behind = True

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for work."""
        self._draining = False
        loops = [_every(self._pace.lease / 3, self._renew), _every(_EXPIRY, self._expire)]
        if self._pace.runs:
            loops.append(self._claim_due())
        self._loops = [asyncio.create_task(loop, name="trunkline-tasks") for loop in loops]

    async def drain(self, seconds: float) -> None:
        """Take no more; let running tasks finish for so long, and give back those that do not."""
        self._draining = True
        self._wake.set()
        if self._lives:
            await asyncio.wait(self._lives, timeout=seconds)
        await self._interrupt()

    async def stop(self) -> None:
        """Stop looking; what still runs is given back."""
        self._draining = True
        await self._interrupt()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []

    async def _interrupt(self) -> None:
        for running in list(self._runs.values()):
            running.stop("drain")
        if self._lives:
            await asyncio.wait(self._lives, timeout=_GRACE)
        for life in self._lives:
            # Whoever neither cleans up nor can be written down in time counts as lost, by its lease.
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)

    # -- work ------------------------------------------------------------------------------------------------------

    def changed(self, id: str) -> None:
        """A task changed somewhere; perhaps it is due, perhaps it is one of ours and its client wants it cancelled.

        "" is for changes that were missed; those to ours are seen with the next renewal.
        """
        running = self._runs.get(id)
        if running is None:
            self._wake.set()
        elif running.work is not None and not running.work.done():
            self._spawn(self._look(id, running))

    async def create(self, new: NewTask) -> tuple[Task, bool]:
        """Store a task, and run it here at once where there is room; else any worker does, when its turn comes."""
        room = not self._draining and len(self._runs) < self._pace.runs
        mine = room and self._pace.takes(new.tool) and new.policy.concurrency is None
        task, fresh = await self._store.create(new, worker=self._name if mine else None, lease=self._pace.lease)
        if fresh and mine:
            self._begin(msgspec.structs.replace(task, request=new.request, replay=new.replay))
        elif fresh:
            self._wake.set()
        return task, fresh

    async def adopt(self, running: Running, work: "asyncio.Future[Result]", context: Context, new: NewTask) -> Task:
        """Make a function that runs already the first attempt of a new task.

        Where the client's idempotency key finds another task, the function is stopped, and that one returned.
        """
        task, fresh = await running.store_as(lambda: self._store.create(new, worker=self._name, lease=self._pace.lease))
        if not fresh:
            work.cancel()
            return task
        running.work = work
        self._runs[task.id] = running
        self._spawn(self._attend(running, context, work))
        return task

    def cancel(self, id: str) -> None:
        """Its client wants a task cancelled that may run here."""
        running = self._runs.get(id)
        if running is not None:
            running.stop("cancel")

    async def _look(self, id: str, running: Running) -> None:
        try:
            task = await self._store.load(id)
        except StorageUnavailable:
            return  # the next renewal tells
        if task is None or task.run != running.run:
            running.stop("lost")
        elif task.cancelling:
            running.stop("cancel")

    async def _claim_due(self) -> None:
        while not self._draining:
            self._wake.clear()
            pause = _IDLE
            self._behind = True
            try:
                due = await self._store.next_due()
                room = self._pace.runs - len(self._runs)
                if due is not None and due <= 0 and room > 0:
                    tools = [tool for tool in self._tools() if self._pace.takes(tool)]
                    claimed = await self._store.claim(self._name, self._pace.lease, room, tools)
                    for task in claimed:
                        self._begin(task)
                    pause = 0.0 if claimed else _BUSY
                elif due is not None and due <= 0:
                    pause = _BUSY
                else:
                    self._behind = False
                    pause = _IDLE if due is None else min(_IDLE, max(due, 0.01))
            except StorageUnavailable:
                pause = 1.0
            except Exception:
                logger.exception("the worker could not take a task; it goes on")
                pause = 1.0
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _begin(self, task: Task) -> None:
        running = Running(self._store, task.policy)
        running.bind(task)
        self._runs[task.id] = running
        self._spawn(self._lost(task) if task.lost else self._run(running, task))

    def _spawn(self, life: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(life, name="trunkline-task")
        self._lives.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, life: asyncio.Task[None]) -> None:
        self._lives.discard(life)
        if self._behind:
            # There is room again for what is due.
            self._wake.set()
        if not life.cancelled() and life.exception() is not None:
            logger.error("a task could not be looked after", exc_info=life.exception())

    async def _run(self, running: Running, task: Task) -> None:
        context = rebuilt(task, running)
        running.recorded = bool(context.replay and context.replay.steps)
        work = running.work = asyncio.ensure_future(self._call(context))
        await self._attend(running, context, work)

    async def _attend(self, running: Running, context: Context, work: "asyncio.Future[Result]") -> None:
        assert running.id is not None
        began = time.monotonic()
        try:
            await asyncio.wait({work})
            _log(running, context, work, time.monotonic() - began)
            await self._settle(running, context, work)
        finally:
            work.cancel()
            if self._runs.get(running.id) is running:
                del self._runs[running.id]

    async def _settle(self, running: Running, context: Context, work: "asyncio.Future[Result]") -> None:
        """Write down what a run came to."""
        if running.reason != "lost":
            await running.flush()
            await settle(self._store, running, context, work, self._safe(str(context.params.name), running.policy))
        if work.cancelled() or work.exception() is not None:
            # It may be due again.
            self._wake.set()

    async def _lost(self, task: Task) -> None:
        try:
            await lost(self._store, task, self._safe(task.tool, task.policy))
        finally:
            self._runs.pop(task.id, None)
            self._wake.set()

    def _safe(self, tool: str, policy: TaskPolicy) -> bool:
        """Whether a run may be made again that may have done its work in part: the tool says so, or its author."""
        rule = self._rules(tool)
        return LOST in policy.retry.on or (rule is not None and rule.idempotent)

    async def _renew(self) -> None:
        running = dict(self._runs)
        if not running:
            return
        runs = {id: run.run for id, run in running.items()}
        kept = await self._store.renew(self._name, runs, self._pace.lease)
        for id, run in running.items():
            if id not in kept:
                run.stop("lost")
            elif kept[id]:
                run.stop("cancel")
            else:
                await run.flush()

    async def _expire(self) -> None:
        # One look is bounded; whoever makes tasks faster than that must not get ahead of it.
        while await self._store.expire():
            pass


def _log(running: Running, context: Context, work: "asyncio.Future[Result]", seconds: float) -> None:
    """One line for each run; neither what it was called with nor what it gave."""
    if not logger.isEnabledFor(logging.INFO):
        return
    fields = {
        "request": context.trace,
        "task": running.id,
        "subject": str(context.params.name)[:200],
        "attempt": running.attempt,
        "outcome": _outcome(running, work),
        "ms": round(seconds * 1000, 1),
        "principal": context.principal.subject,
    }
    logger.info("run", extra=fields)


def _outcome(running: Running, work: "asyncio.Future[Result]") -> str:
    if work.cancelled():
        return running.reason or "cancelled"
    error = work.exception()
    if error is not None:
        return "input_required" if isinstance(error, InputRequired) else type(error).__name__
    return "tool_error" if work.result().get("isError") else "ok"


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again; what fails is tried again at the next time."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except StorageUnavailable as error:
            logger.warning("the worker waits for its database: %s", error)
        except Exception:
            logger.exception("the worker failed at its upkeep; it goes on")
