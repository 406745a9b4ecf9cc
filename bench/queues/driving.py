"""What every queue is put through, in a process of its own and the environment it needs.

The job is the same everywhere: a function that adds one to a number. A job counts as created once its queue says that
it has it, and as done once its result can be read.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

LONGEST = 90
"""Seconds that jobs of a process that was killed have to come to their end."""


class Queue(Protocol):
    """A queue that is open."""

    async def create(self, number: int) -> str:
        """A new job; its name, once the queue has it."""

    async def result(self, name: str) -> int:
        """What a job came to, once that can be read; waits for it."""

    async def both(self, number: int) -> int:
        """A new job and its result, in the quickest way the queue has."""


Opened = Callable[[str, bool, float], AbstractAsyncContextManager[Queue]]
"""Opens a queue: its address, whether jobs run in this process as well, and how many seconds each takes."""


def main(opened: Opened) -> None:
    """Do what the command line says and print what came of it, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["create", "both", "acknowledge", "finish"])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--together", type=int, default=1)
    options = parser.parse_args()
    works = {"create": _create, "both": _both, "acknowledge": _acknowledge, "finish": _finish}
    asyncio.run(works[options.what](opened, options.url, options.seconds, options.together))


async def _create(opened: Opened, url: str, seconds: float, together: int) -> None:
    async with opened(url, False, 0.0) as queue:
        await _rated(queue.create, seconds, together)


async def _both(opened: Opened, url: str, seconds: float, together: int) -> None:
    async with opened(url, True, 0.0) as queue:

        async def right(number: int) -> None:
            assert await queue.both(number) == number + 1, "a wrong result"

        await _rated(right, seconds, together)


async def _acknowledge(opened: Opened, url: str, seconds: float, together: int) -> None:
    """Make jobs and print the name of each that is acknowledged, until killed."""
    async with opened(url, True, 0.02) as queue:

        async def again(first: int) -> None:
            number = first
            while True:
                print(await queue.create(number), flush=True)
                number += together
                await asyncio.sleep(0.01)

        await asyncio.gather(*map(again, range(together)))


async def _finish(opened: Opened, url: str, seconds: float, together: int) -> None:
    """Wait for the results of the jobs named on standard input."""
    names = sys.stdin.read().split()
    began = time.perf_counter()
    last = began
    async with opened(url, True, 0.02) as queue:

        async def readable(name: str) -> bool:
            nonlocal last
            try:
                async with asyncio.timeout(LONGEST):
                    await queue.result(name)
            except Exception:
                return False
            last = time.perf_counter()
            return True

        found = await asyncio.gather(*map(readable, names))
    print(json.dumps({"acknowledged": len(names), "lost": found.count(False), "seconds": last - began}), flush=True)


async def _rated(one: Callable[[int], Awaitable[object]], seconds: float, together: int) -> None:
    """How often it is done, by so many at once, after a first round that does not count."""
    took: list[float] = []
    await asyncio.gather(*map(one, range(together)))

    async def again(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await one(number)
            took.append(time.perf_counter() - began)

    began, used = time.perf_counter(), time.process_time()
    end = began + seconds
    await asyncio.gather(*map(again, range(together)))
    lasted = time.perf_counter() - began
    told = {
        "rate": len(took) / lasted,
        "p50": statistics.median(took),
        "cpu": (time.process_time() - used) / len(took),
    }
    print(json.dumps(told), flush=True)
