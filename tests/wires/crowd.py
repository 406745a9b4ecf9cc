"""Fifty callers over twenty servers, one of which is sick half of the time: answers, and how long they took.

Blocks in which the twentieth server is well and blocks in which a sick one stands in its place follow each other in
random order, under the same calls, so that what else happens on the machine meets both alike.
"""

import asyncio
import contextlib
import random
import statistics
import time

from tests.wires.client import RpcError, WireClient
from tests.wires.gateway import Upstream, gateway
from tests.wires.server import LEGACY, MODERN

CALLERS, SERVERS = 50, 20
MIX = ("modern-stdio", "modern-http", "stdio", "sessions")
"""The wires of the servers that are well."""

SICK = ("stdio", "sessions")
"""The wires of the sick ones."""

ILLNESSES = {"hung": "hung", "flooding": "chatter", "crashing": "killed"}
"""What one suffers from, and the fault of `sick.Sick` that it is."""


class Block:
    """Some time of the crowd's calling: how long good answers took, in seconds, and what was wrong."""

    def __init__(self):
        self.took: list[float] = []
        self.wrong: list[str] = []
        self.refused = 0
        self.processor = 0.0

    def at(self, part):
        """The latency that this part of the calls stayed below."""
        ordered = sorted(self.took)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


class Crowd:
    """The callers, the gateway and the servers. Use `crowd`."""

    def __init__(self, running, sick, callers):
        self.gateway = running
        self.callers = callers
        self.names = [f"well{number}" for number in range(SERVERS)]
        self._sick = sick

    async def calls(self, seed, each, pause, server, fault=None):
        """Everyone makes so many calls to the nineteen, one after the other; every fifth calls the twentieth as well.

        Parameters:
            pause: seconds everyone thinks between two calls, on average.
            server: the twentieth.
            fault: what it suffers from, if it is a sick one.
        """
        block, begun = Block(), self.gateway.processor()
        patients = [asyncio.create_task(self._suffer(caller, server, fault, block)) for caller in self.callers[::5]]
        tending = asyncio.create_task(self._tend())
        choices = [random.Random(f"{seed}/{number}") for number in range(len(self.callers))]
        healthy = zip(self.callers, choices, strict=True)
        await asyncio.gather(*(self._one(caller, chance, each, pause, block) for caller, chance in healthy))
        block.processor = self.gateway.processor() - begun
        async with asyncio.timeout(20):
            while fault and not block.refused:
                await asyncio.sleep(0.05)
        for task in (*patients, tending):
            task.cancel()
        await asyncio.gather(*patients, tending, return_exceptions=True)
        return block

    async def _one(self, caller, chance, each, pause, block):
        for number in range(each):
            await asyncio.sleep(chance.uniform(0, 2 * pause))
            server = chance.choice(self.names[:-1])
            said = f"{id(caller)} {number} {server}"
            begun = time.perf_counter()
            try:
                answer = (await caller.call(f"{server}__echo", {"said": said}))["content"][0]["text"]
                block.took.append(time.perf_counter() - begun)
            except RpcError as error:
                answer = str(error)
            if answer != f'{{"said": "{said}"}}':
                block.wrong.append(f"{server}: {answer}")

    async def _suffer(self, caller, server, fault, block):
        while True:
            try:
                await (caller.call(f"{server}__do", {"fault": fault}) if fault else caller.call(f"{server}__echo"))
            except RpcError as error:
                if not str(error).startswith(f"upstream {server} "):
                    block.wrong.append(f"{server}: {error}")
                block.refused += 1
            await asyncio.sleep(0.1)

    async def _tend(self):
        """Start servers on HTTP again when they have died."""
        while True:
            await asyncio.sleep(0.5)
            for one in self._sick:
                await asyncio.to_thread(one.start)


@contextlib.asynccontextmanager
async def crowd(never):
    """Everybody there: twenty servers that are well, and sick ones in case one of those is to be exchanged."""
    async with contextlib.AsyncExitStack() as stack:
        sick = [Upstream("sick", wire, never, tool_timeout_sec=1.0) for wire in SICK]
        well = [Upstream("sick", MIX[number % len(MIX)], never) for number in range(SERVERS)]
        for one in (*sick, *well):
            stack.enter_context(one)
        servers = {f"well{number}": one.entry for number, one in enumerate(well)}
        servers |= {f"sick-{one.wire}": one.entry for one in sick}
        running = stack.enter_context(gateway(servers, "--log-level", "error"))
        revisions = (MODERN, LEGACY[0])
        callers = [
            await stack.enter_async_context(WireClient(running.url, revisions[number % 2])) for number in range(CALLERS)
        ]
        them = Crowd(running, sick, callers)
        async with asyncio.timeout(50):
            for name in servers:
                await callers[0].call(f"{name}__echo")
        yield them


async def pairs(them, wire, fault, count, each, pause):
    """So many pairs of blocks, well and sick in random order."""
    chance = random.Random(f"{wire} {fault}")
    for number in range(count):
        pair = {}
        for ill in chance.sample((False, True), 2):
            twentieth = (f"sick-{wire}", fault) if ill else (them.names[-1],)
            pair[ill] = await them.calls(f"{number}", each, pause, *twentieth)
        yield pair[False], pair[True]


def spread(values):
    """Median, and the middle half."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
