"""DBOS: a workflow of one function."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig

from bench.queues.driving import main

QUEUE = "bench"
_takes = 0.0


@DBOS.workflow()
async def job(number: int) -> int:
    if _takes:
        await asyncio.sleep(_takes)
    return number + 1


class _Apart:
    """Jobs for another process."""

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    async def create(self, number: int) -> str:
        handle: Any = await self._client.enqueue_async({"queue_name": QUEUE, "workflow_name": job.__qualname__}, number)
        return handle.get_workflow_id()


class _Within:
    """Jobs for this process."""

    async def create(self, number: int) -> str:
        handle = await DBOS.start_workflow_async(job, number)
        return handle.get_workflow_id()

    async def result(self, name: str) -> int:
        handle: Any = await DBOS.retrieve_workflow_async(name)
        return await handle.get_result(polling_interval_sec=0.1)

    async def both(self, number: int) -> int:
        handle = await DBOS.start_workflow_async(job, number)
        return await handle.get_result()


@asynccontextmanager
async def opened(url: str, works: bool, takes: float) -> AsyncIterator[Any]:
    """Launched, which makes its tables; `executor_id` and version are the same in the process that comes after."""
    global _takes
    _takes = takes
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url,
        "run_admin_server": False,
        "log_level": "ERROR",
        "application_version": "1",
    }
    DBOS(config=config)
    DBOS.listen_queues([])
    DBOS.launch()
    try:
        if works:
            yield _Within()
        else:
            client = DBOSClient(system_database_url=url)
            await DBOS.register_queue_async(QUEUE)
            yield _Apart(client)
            client.destroy()
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main(opened)
