"""A server that takes its time, in every way there is; run it as `python -m tests.gateway.slow FILE` over stdio.

Each call that was cancelled is noted: a line of FILE, or what `slow` is given.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from trunkline import Context, Server

PACE = 0.05
"""Seconds between two signs of life."""


def slow(note: Callable[[str], None], sign: Callable[[], None] = lambda: None) -> Server:
    """The server. `sign` lets something of no meaning come out of it."""
    server = Server("slow")

    async def endless(name: str, step: Callable[[], Awaitable[None]]) -> str:
        note(f"{name} began")
        try:
            while True:
                await step()
                await asyncio.sleep(PACE)
        except asyncio.CancelledError:
            note(f"{name} cancelled")
            raise

    async def nothing() -> None:
        pass

    async def dripping() -> None:
        sign()

    @server.tool
    async def silent() -> str:
        return await endless("silent", nothing)

    @server.tool(annotations={"idempotentHint": True})
    async def again() -> str:
        return await endless("again", nothing)

    @server.tool
    async def chatty(context: Context) -> str:
        return await endless("chatty", lambda: context.progress(1))

    @server.tool
    async def drip() -> str:
        return await endless("drip", dripping)

    @server.tool
    async def ask(context: Context, question: str = "How long?", gate: str = "") -> str:
        if gate:
            note(f"{question} began")
        while gate and not Path(gate).exists():
            await asyncio.sleep(PACE)
        answer = await context.elicit(question, {"type": "object", "properties": {"s": {"type": "string"}}})
        return str(answer.content)

    return server


if __name__ == "__main__":
    log = Path(sys.argv[1])
    stdout = os.dup(1)  # the transport takes it away from everybody else

    def noted(line: str) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n")

    def tick() -> None:
        os.write(stdout, b"tick\n")

    slow(noted, tick).run()
