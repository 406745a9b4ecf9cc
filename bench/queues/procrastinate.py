"""procrastinate: it keeps no results, so the job writes its own into a table, as its users do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, PsycopgConnector, RetryStrategy

from bench.queues.driving import main

RESULTS = "CREATE TABLE IF NOT EXISTS bench_results (name bigint PRIMARY KEY, number bigint NOT NULL)"
KEEP = "INSERT INTO bench_results VALUES (%(name)s, %(number)s) ON CONFLICT DO NOTHING"
READ = "SELECT number FROM bench_results WHERE name = %(name)s"
STALLED = 5.0


class _Queue:
    def __init__(self, app: App, job: Any, ended: dict[int, asyncio.Event]) -> None:
        self._app = app
        self._job = job
        self._ended = ended

    async def create(self, number: int) -> str:
        return str(await self._job.defer_async(number=number))

    async def result(self, name: str) -> int:
        """Poll: nothing tells whoever waits for a job in another process."""
        while True:
            rows = await self._app.connector.execute_query_all_async(READ, name=int(name))
            if rows:
                return rows[0]["number"]
            await asyncio.sleep(0.1)

    async def both(self, number: int) -> int:
        """Told within the process, which is quicker than its users have it."""
        name = await self._job.defer_async(number=number)
        await self._ended.setdefault(name, asyncio.Event()).wait()
        del self._ended[name]
        return await self.result(name)


@asynccontextmanager
async def opened(url: str, works: bool, takes: float) -> AsyncIterator[_Queue]:
    """An app, with a worker where one is wanted; jobs of dead workers are put back as its documentation says."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=16))
    ended: dict[int, asyncio.Event] = {}

    @app.task(name="job", pass_context=True, retry=RetryStrategy(max_attempts=3))
    async def job(context: Any, number: int) -> None:
        if takes:
            await asyncio.sleep(takes)
        await app.connector.execute_query_async(KEEP, name=context.job.id, number=number + 1)
        ended.setdefault(context.job.id, asyncio.Event()).set()

    async with app.open_async():
        if not await app.connector.execute_query_all_async("SELECT 1 FROM pg_tables WHERE tablename = 'bench_results'"):
            await app.schema_manager.apply_schema_async()
            await app.connector.execute_query_async(RESULTS)
        running = []
        if works:
            worker = app.run_worker_async(
                concurrency=100,
                install_signal_handlers=False,
                stalled_worker_timeout=STALLED,
                update_heartbeat_interval=1,
            )
            running = [asyncio.create_task(worker), asyncio.create_task(_rescue(app))]
        yield _Queue(app, job, ended)
        for one in running:
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one


async def _rescue(app: App) -> None:
    while True:
        await asyncio.sleep(1)
        for stalled in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED):
            await app.job_manager.retry_job(stalled)


if __name__ == "__main__":
    main(opened)
