"""The pool of threads outlives event loops."""

import asyncio
import threading

from trunkline.runtime.pool import WorkerPool


def test_a_function_that_outlives_its_event_loop_takes_no_thread_with_it() -> None:
    pool, gate, left = WorkerPool(threads=1, waiting=0), threading.Event(), threading.Event()

    def late() -> None:
        gate.wait()
        left.set()

    async def leave() -> None:
        call = asyncio.create_task(pool.run(late))
        await asyncio.sleep(0.05)
        call.cancel()

    asyncio.run(leave())
    pool.stop()
    gate.set()
    left.wait()

    async def again() -> list[int]:
        async with asyncio.timeout(5):
            while pool._busy and not pool._lost:
                await asyncio.sleep(0.01)
            return [await pool.run(lambda: 1), await pool.run(lambda: 2)]

    assert asyncio.run(again()) == [1, 2]
    pool.stop()
