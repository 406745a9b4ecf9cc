"""docket, the queue of FastMCP's tasks, in memory or on Redis."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from docket import Docket, Worker
from docket.execution import Execution

from bench.queues.driving import main

_takes = 0.0


async def job(number: int) -> int:
    """The function."""
    if _takes:
        await asyncio.sleep(_takes)
    return number + 1


class _Queue:
    def __init__(self, docket: Docket) -> None:
        self._docket = docket

    async def create(self, number: int) -> str:
        return (await self._add(number)).key

    async def result(self, name: str) -> int:
        execution = await self._docket.get_execution(name)
        if execution is None:
            raise LookupError(name)
        return await execution.get_result()

    async def both(self, number: int) -> int:
        return await (await self._add(number)).get_result()

    async def _add(self, number: int) -> Execution:
        return await self._docket.add(job, key=str(uuid.uuid4()))(number)


@asynccontextmanager
async def opened(url: str, works: bool, takes: float) -> AsyncIterator[_Queue]:
    """A docket, with a worker where one is wanted."""
    global _takes
    _takes = takes
    async with Docket(name="bench", url=url) as docket:
        docket.register(job)
        if not works:
            yield _Queue(docket)
            return
        async with Worker(docket, concurrency=100, redelivery_timeout=timedelta(seconds=5)) as worker:
            running = asyncio.create_task(worker.run_forever())
            yield _Queue(docket)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


if __name__ == "__main__":
    main(opened)
