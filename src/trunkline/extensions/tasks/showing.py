"""Tasks as their clients see them.

What it is for: the one way from a task in the store to what is told of it.
What may live here: reading what has to be shown. What may not: the wire forms themselves (those are in `records`).
"""

from trunkline.engine.doors import Result
from trunkline.extensions.tasks.records import Task, detailed
from trunkline.extensions.tasks.store import TaskStore


async def shown(store: TaskStore, task: Task) -> Result:
    """A task in full: what `tasks/get` answers and what its listeners are told."""
    return detailed(task, None if task.finished is None else await store.outcome(task.id))
