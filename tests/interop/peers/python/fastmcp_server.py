"""The workshop in FastMCP, as far as it goes there: `fastmcp_server.py stdio|http`; the latter prints its URL."""

import asyncio
import logging
import socket
import sys

import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.utilities.types import Image
from typing_extensions import TypedDict

logging.disable(logging.CRITICAL)
server = FastMCP("workshop", instructions="Ask before you cut.", version="1.2.3")
waits: dict[str, str] = {}


class Sum(TypedDict):
    sum: int


@server.tool(title="Echo", annotations={"readOnlyHint": True}, output_schema=None)
def echo(text: str) -> str:
    """Give back the text."""
    return text


@server.tool
def add(a: int, b: int) -> Sum:
    """Add two integers."""
    return Sum(sum=a + b)


@server.tool(output_schema=None)
def fail() -> str:
    """Fail in a way a model should see."""
    raise ToolError("The saw is blunt")


@server.tool(output_schema=None)
def picture() -> list:
    """Give back a picture and its caption."""
    return ["a pixel", Image(data=bytes.fromhex("89504e470d0a1a0a"), format="png")]


@server.tool(output_schema=None)
async def work(steps: int, ctx: Context) -> str:
    """Report the progress of some steps."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return "done"


@server.tool(output_schema=None)
async def wait(key: str) -> str:
    """Wait until the client gives up."""
    waits[key] = "waiting"
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        waits[key] = "cancelled"
        raise
    return "nobody gave up"


@server.tool(output_schema=None)
def outcome(key: str) -> str:
    """Tell what became of a wait."""
    return waits.get(key, "unknown")


@server.resource("notes://today", mime_type="text/plain")
def today() -> str:
    """What is to do today."""
    return "Sharpen the saw"


@server.resource("notes://logo", mime_type="image/png")
def logo() -> bytes:
    """The workshop's logo."""
    return bytes.fromhex("89504e470d0a1a0a")


@server.resource("notes://day/{day}", mime_type="text/plain")
def note(day: str) -> str:
    """The note of one day."""
    return f"On {day}: rest"


@server.prompt(title="Review")
def review(code: str, language: str = "python") -> list[Message]:
    """Review some code."""
    return [Message(f"Review this {language}: {code}"), Message("Let me see.", role="assistant")]


def main() -> None:
    if sys.argv[1] == "stdio":
        server.run("stdio", show_banner=False)
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        uvicorn.Server(uvicorn.Config(server.http_app(path="/mcp"), log_level="critical")).run(sockets=[listener])


main()
