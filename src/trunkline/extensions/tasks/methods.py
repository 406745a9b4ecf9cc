"""`tasks/get`, `tasks/update`, `tasks/cancel`.

What it is for: what a client does with a task it was given.
What may live here: the three methods. What may not: states, tables.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import InvalidParams
from trunkline.extensions.tasks.carrier import CarriedTask, Carrier
from trunkline.extensions.tasks.declaring import require
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.showing import expired, shown, unknown
from trunkline.protocol import json
from trunkline.protocol.messages import text_param

if TYPE_CHECKING:
    # Both need a database, which whoever only carries tasks does not load.
    from trunkline.extensions.tasks.store import TaskStore
    from trunkline.extensions.tasks.worker import Worker

MOST_ANSWERS = 1000
"""Answers one `tasks/update` may bring."""


class Methods:
    """The methods of the extension; who calls is checked each time (tasks, section 6).

    Parameters:
        store, worker: where tasks are and who runs them here.
        carrier: asked first; it knows the ids it gave out.
    """

    def __init__(
        self, store: "Callable[[], TaskStore]", worker: "Callable[[], Worker]", carrier: Carrier | None = None
    ) -> None:
        self._store = store
        self._worker = worker
        self._carrier = carrier

    def table(self) -> dict[str, Callable[[Context], Awaitable[Result]]]:
        """The methods by their names."""
        return {"tasks/get": self.get, "tasks/update": self.update, "tasks/cancel": self.cancel}

    async def get(self, context: Context) -> Result:
        """The task as it is, with everything that its client has to know or to answer."""
        carried = self._carried(context)
        if carried is not None:
            return await carried.get()
        task = await self._task(context)
        found = await shown(self._store(), task)
        if found is None:
            raise expired(task)
        return found

    async def update(self, context: Context) -> Result:
        """Answers of the client; those to no open question are ignored (tasks, section 5)."""
        carried = self._carried(context)
        task = None if carried is not None else await self._task(context)
        params = json.plain(context.params.raw)
        responses = params.get("inputResponses") if isinstance(params, Mapping) else None
        if not isinstance(responses, dict):
            raise InvalidParams("Invalid params: tasks/update needs 'inputResponses', an object")
        if len(responses) > MOST_ANSWERS:
            raise InvalidParams(f"Invalid params: 'inputResponses' holds at most {MOST_ANSWERS} answers")
        if carried is not None:
            await carried.update()
        elif task is not None:
            await self._store().answer(task.id, task.owner, responses)
        return {}

    async def cancel(self, context: Context) -> Result:
        """Cooperative: a task that waits is cancelled, one that runs is told to stop, one that ended stays as it is."""
        carried = self._carried(context)
        if carried is not None:
            await carried.cancel()
            return {}
        task = await self._task(context)
        await self._store().cancel(task.id, task.owner)
        self._worker().cancel(task.id)
        return {}

    def _carried(self, context: Context) -> CarriedTask | None:
        """The caller's task, where it is kept elsewhere."""
        require(context)
        if self._carrier is None:
            return None
        return self._carrier.find(context, text_param(context.params, context.method, "taskId"))

    async def _task(self, context: Context) -> Task:
        """The caller's task. A stranger learns nothing, not even that there is one: the text is that of unknown ids."""
        id = text_param(context.params, context.method, "taskId")
        task = await self._store().load(id)
        if task is None or task.owner != context.principal.owner:
            raise unknown()
        if task.erased:
            raise expired(task)
        return task
