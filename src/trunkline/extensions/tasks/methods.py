"""`tasks/get`, `tasks/update`, `tasks/cancel`.

What it is for: what a client does with a task it was given.
What may live here: the three methods. What may not: states, tables.
"""

from collections.abc import Callable, Mapping

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import InvalidParams
from trunkline.extensions.tasks.declaring import require
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.showing import expired, shown
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.worker import Worker
from trunkline.protocol import json
from trunkline.protocol.messages import text_param

MOST_ANSWERS = 1000
"""Answers one `tasks/update` may bring."""


class Methods:
    """The methods of the extension; who calls is checked each time (tasks, section 6)."""

    def __init__(self, store: Callable[[], TaskStore], worker: Callable[[], Worker]) -> None:
        self._store = store
        self._worker = worker

    async def get(self, context: Context) -> Result:
        """The task as it is, with everything that its client has to know or to answer."""
        task = await self._task(context)
        return await shown(self._store(), task)

    async def update(self, context: Context) -> Result:
        """Answers of the client; those to no open question are ignored (tasks, section 5)."""
        task = await self._task(context)
        params = json.plain(context.params.raw)
        responses = params.get("inputResponses") if isinstance(params, Mapping) else None
        if not isinstance(responses, dict):
            raise InvalidParams("Invalid params: tasks/update needs 'inputResponses', an object")
        if len(responses) > MOST_ANSWERS:
            raise InvalidParams(f"Invalid params: 'inputResponses' holds at most {MOST_ANSWERS} answers")
        await self._store().answer(task.id, task.owner, responses)
        return {}

    async def cancel(self, context: Context) -> Result:
        """Cooperative: a task that waits is cancelled, one that runs is told to stop, one that ended stays as it is."""
        task = await self._task(context)
        await self._store().cancel(task.id, task.owner)
        self._worker().cancel(task.id)
        return {}

    async def _task(self, context: Context) -> Task:
        """The caller's task. A stranger learns nothing, not even that there is one: the text is that of unknown ids."""
        require(context)
        id = text_param(context.params, context.method, "taskId")
        task = await self._store().load(id)
        if task is None or task.owner != context.principal.owner:
            raise InvalidParams("Invalid params: unknown task")
        if task.erased:
            raise expired(task)
        return task
