"""A server over stdio that remembers, asks, tells and waits; what it keeps is its process's."""

import asyncio
import os

from trunkline import Context, Server

server = Server("stateful")
kept: list[str] = []


@server.tool
def remember(word: str) -> str:
    """Keep a word; returns all of them and who keeps them."""
    kept.append(word)
    return f"{os.getpid()}: {' '.join(kept)}"


@server.tool
async def greet(context: Context) -> str:
    """Ask for a name."""
    await context.progress(1, message="about to ask")
    answer = await context.elicit("Name?", {"type": "object", "properties": {"name": {"type": "string"}}})
    await context.progress(2, message="asked")
    return f"Hello {answer.content['name']}"


@server.tool
async def sleep(context: Context, seconds: float) -> str:
    """Wait."""
    await context.progress(1)
    await asyncio.sleep(seconds)
    return "slept"


@server.tool(annotations={"readOnlyHint": True})
async def who(seconds: float = 0) -> str:
    """Tell which process this is, after a while."""
    await asyncio.sleep(seconds)
    return str(os.getpid())


@server.tool
def fail() -> str:
    """Fail."""
    raise ValueError("it failed")


if __name__ == "__main__":
    server.run()
