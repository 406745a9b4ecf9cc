"""Tasks whose work is done elsewhere: the task is in our store, its work a workflow of DBOS with its own database.

The workflow has the task's idempotency key for a name: a run that comes after a lost one finds the same workflow.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dbos import DBOS, SetWorkflowID

from bench.queues import dbos, ours
from bench.queues.driving import Queue, main
from trunkline.engine.context import Context


async def job(context: Context, number: int, takes: float) -> int:
    with SetWorkflowID(context.idempotency_key("job")):
        handle = await DBOS.start_workflow_async(dbos.job, number)
    return await handle.get_result()


@asynccontextmanager
async def opened(url: str, works: bool, takes: float) -> AsyncIterator[Queue]:
    """Both, where there is work to do."""
    async with dbos.opened(url.replace(".db", "-work.db"), True, takes), ours.opened(url, works, takes, job) as queue:
        yield queue


if __name__ == "__main__":
    main(opened)
