"""The tasks extension as the engine takes it.

What it is for: `Tasks`, which makes the parts of this folder one `Extension` with one life.
What may live here: wiring, start and stop. What may not: what a task is.
"""

import logging
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from msgspec.structs import replace

from trunkline.engine.doors import CallNext, Extension, Interceptor
from trunkline.errors import ConfigError, StorageUnavailable
from trunkline.extensions.tasks.calls import Calls
from trunkline.extensions.tasks.carrier import Carrier
from trunkline.extensions.tasks.listening import Listeners, Listening
from trunkline.extensions.tasks.methods import Methods
from trunkline.extensions.tasks.names import IDENTIFIER, LIFECYCLE, LIFECYCLE_SETTINGS, METHOD_NAMES
from trunkline.extensions.tasks.records import Bounds
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.versions import TASKS
from trunkline.extensions.tasks.worker import Pace, Rule, Worker
from trunkline.storage.storage import Storage, open_storage

logger = logging.getLogger("trunkline.tasks")


class Tasks:
    """Durable tasks for one engine.

    Parameters:
        rules: what there is to know about a tool; None for one that never is a task.
        tools: the names of the tools that may be.
        scope: of which application they are; those of others in the same database stay apart.
        storage: the database that is open by the time the application starts; None for one of this process alone.
        bounds: how much the store takes in.
        pace: how much this process runs at once; looked at when the application starts.
        elsewhere: as in `Calls`.

        tasks = Tasks(rules.get, lambda: list(rules), "weather", lambda: stored.storage)
        engine.extend(*tasks.extensions())
    """

    def __init__(
        self,
        rules: Callable[[str], Rule | None],
        tools: Callable[[], Sequence[str]],
        scope: str,
        storage: Callable[[], Storage | None],
        bounds: Bounds | None = None,
        pace: Pace | None = None,
        elsewhere: Callable[[str], bool] | None = None,
    ) -> None:
        self._rules = rules
        self._tools = tools
        self._scope = scope
        self._storage = storage
        self._bounds = bounds or Bounds()
        self.pace = pace
        self._elsewhere = elsewhere
        self._call: CallNext | None = None
        self._made: TaskStore | None = None
        self._runs: Worker | None = None
        self._life: AsyncExitStack | None = None
        self._listeners = Listeners()

    def extensions(
        self, interceptor: Interceptor | None = None, carrier: Carrier | None = None
    ) -> tuple[Extension, ...]:
        """The extension of the standard, whose settings are empty by its schema, and ours, which says what we add.

        Parameters:
            interceptor: in place of `calls`.
            carrier: knows the ids of tasks that are kept elsewhere.
        """
        tasks, ours = self.beside(interceptor or self.calls(), carrier)
        living = replace(
            tasks,
            attach=self._attach,
            migrations="tasks",
            start=self._start,
            drain=self._drain,
            stop=self._stop,
        )
        return living, ours

    def beside(self, interceptor: Interceptor, carrier: Carrier | None = None) -> tuple[Extension, ...]:
        """The same tasks at another engine, whose calls `interceptor` takes; they live with that of `extensions`."""
        methods = Methods(self._store, self._worker, carrier)
        listening = Listening(self._store, self._listeners, carrier)
        tasks = Extension(
            IDENTIFIER,
            methods=methods.table(),
            names=METHOD_NAMES,
            listen_keys=("taskIds",),
            listen=listening.listen,
            interceptor=interceptor,
        )
        return tasks, Extension(LIFECYCLE, settings=LIFECYCLE_SETTINGS)

    def calls(self, part: str = "") -> Calls:
        """What decides whether a call becomes a task; `part` as in `doors.Run`."""
        return Calls(self._store, self._worker, self._rules, self._listeners, part, self._elsewhere)

    def _attach(self, call: CallNext) -> None:
        self._call = call

    def _store(self) -> TaskStore:
        if self._made is None:
            raise StorageUnavailable("Tasks are not served yet, or not any more; try again shortly")
        return self._made

    def _worker(self) -> Worker:
        if self._runs is None:
            raise StorageUnavailable("Tasks are not served yet, or not any more; try again shortly")
        return self._runs

    async def _start(self) -> None:
        assert self._call is not None
        async with AsyncExitStack() as life:
            storage = self._storage()
            if storage is None and self.pace is not None and not self.pace.runs:
                raise ConfigError(
                    "Tasks are left to other processes, and kept in memory, where those find none: name a storage"
                )
            if storage is None:
                storage = await life.enter_async_context(open_storage(_own_file(life), branches=[TASKS]))
                logger.warning("tasks end with this process: give the server a storage and they outlive it")
            store = TaskStore(storage, self._scope, self._bounds)
            worker = Worker(store, storage.name, self._call, self._rules, self._tools, self.pace)

            def changed(id: str) -> None:
                worker.changed(id)
                self._listeners.changed(id)

            life.callback(store.changed(changed))
            worker.start()
            life.push_async_callback(worker.stop)
            self._made, self._runs = store, worker
            self._life = life.pop_all()

    async def _drain(self, seconds: float) -> None:
        if self._runs is not None:
            await self._runs.drain(seconds)

    async def _stop(self) -> None:
        life, self._life = self._life, None
        if life is not None:
            await life.aclose()
        self._made = self._runs = None


def _own_file(life: AsyncExitStack) -> str:
    folder = life.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-tasks-"))
    return f"sqlite:///{Path(folder) / 'tasks.db'}"
