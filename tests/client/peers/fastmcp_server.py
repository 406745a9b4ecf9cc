"""A FastMCP server: `fastmcp_server.py stdio` or `... http PORT`."""

import sys
from dataclasses import dataclass

from fastmcp import Context, FastMCP

server = FastMCP("fastmcp", instructions="Fast.")


@dataclass
class Person:
    name: str = "Ann"


@server.tool
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool
async def greet(context: Context) -> str:
    """Ask who it is."""
    answered = await context.elicit("Who is it?", Person)
    return f"Hello {answered.data.name}"


@server.tool
async def work(context: Context) -> str:
    """Report."""
    await context.report_progress(1, 2, "half")
    await context.report_progress(2, 2)
    return "done"


@server.tool
async def fail() -> str:
    """Fail."""
    raise ValueError("the disk is full")


@server.resource("memo://{name}")
def memo(name: str) -> str:
    """A memo."""
    return f"memo {name}"


@server.prompt
def review(code: str) -> str:
    """Review."""
    return f"Review {code}"


if sys.argv[1] == "stdio":
    server.run(show_banner=False)
else:
    server.run(transport="http", port=int(sys.argv[2]), show_banner=False)
