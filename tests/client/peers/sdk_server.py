"""A server of the official Python SDK: `sdk_server.py stdio`, `... http PORT`, `... sse PORT`."""

import sys
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from pydantic import BaseModel

server = MCPServer("python-sdk", instructions="Official.")


class Person(BaseModel):
    name: str = "Ann"


async def who() -> Elicit[Person]:
    return Elicit("Who is it?", Person)


@server.tool()
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@server.tool()
async def greet(person: Annotated[Person, Resolve(who)]) -> str:
    """Ask who it is."""
    return f"Hello {person.name}"


@server.tool()
async def work(context: Context) -> str:
    """Report."""
    await context.report_progress(1, 2, "half")
    await context.report_progress(2, 2)
    return "done"


@server.tool()
async def grow(context: Context) -> str:
    """Announce new tools."""
    await context.notify_tools_changed()
    return "grown"


@server.tool()
async def fail() -> str:
    """Fail."""
    raise ValueError("the disk is full")


@server.resource("memo://{name}")
def memo(name: str) -> str:
    """A memo."""
    return f"memo {name}"


@server.prompt()
def review(code: str) -> str:
    """Review."""
    return f"Review {code}"


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run({"http": "streamable-http", "sse": "sse"}[sys.argv[1]], port=int(sys.argv[2]))
