"""A program that serves a slow tool over HTTP, for tests that send it signals; its arguments are delay and timeout."""

import asyncio
import sys

from trunkline import Context, Server

server = Server("slow")


@server.tool
async def wait(seconds: float, context: Context) -> str:
    """Answer after so many seconds, with a first sign of life at once where one is wanted."""
    await context.progress(1)
    await asyncio.sleep(seconds)
    return f"waited {seconds:g} s"


if __name__ == "__main__":
    delay, timeout = (float(word) for word in sys.argv[1:])
    server.run("http", port=0, drain_delay=delay, drain_timeout=timeout)
