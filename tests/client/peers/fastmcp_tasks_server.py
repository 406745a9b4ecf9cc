"""A FastMCP server with its tasks extra, queue and results in memory: `fastmcp_tasks_server.py http PORT`."""

import asyncio
import sys
from datetime import timedelta

from fastmcp import Context, FastMCP
from fastmcp.utilities.tasks import TaskConfig
from fastmcp_tasks import TasksExtension
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

server = FastMCP("fastmcp-tasks")
server.add_extension(TasksExtension(url="memory://"))


SOON = TaskConfig(mode="required", poll_interval=timedelta(milliseconds=200))
PERSON = {"type": "object", "properties": {"name": {"type": "string", "default": "Ann"}}}


@server.tool
async def add(a: int, b: int) -> int:
    """Add, at once."""
    return a + b


@server.tool(task=SOON)
async def slow(seconds: float) -> str:
    """Take time."""
    await asyncio.sleep(seconds)
    return "slept"


@server.tool(task=SOON)
async def fail() -> str:
    """Fail."""
    raise ValueError("the disk is full")


@server.tool(task=SOON)
async def greet(context: Context) -> str | InputRequiredResult:
    """Ask who it is."""
    if not context.input_responses:
        params = ElicitRequestFormParams(message="Who is it?", requested_schema=PERSON)
        return InputRequiredResult(input_requests={"who": ElicitRequest(params=params)}, request_state="asked")
    return f"Hello {context.input_responses['who'].content['name']}"


server.run(transport="http", port=int(sys.argv[2]), show_banner=False)
