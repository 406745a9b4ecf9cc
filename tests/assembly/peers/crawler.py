"""A slow server of the official Python SDK over stdio, or HTTP+SSE at a port: `python crawler.py LEDGER [PORT]`.

What begins and ends is written to that file. Where a file `go` lies beside it, nothing takes any time.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

ledger = Path(sys.argv[1])
server = MCPServer("crawler")


def note(words: str) -> None:
    with ledger.open("a") as file:
        file.write(f"{words}\n")


async def take(name: str, seconds: float) -> str:
    note(f"{name} began")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not ledger.with_name("go").exists():
        await asyncio.sleep(min(0.05, seconds))
    note(f"{name} ended")
    return f"{name} took its time"


@server.tool(annotations=ToolAnnotations(idempotentHint=True))
async def crawl(name: str, seconds: float) -> str:
    """Read a site; doing it twice is as good as once."""
    return await take(name, seconds)


@server.tool()
async def pay(name: str, seconds: float) -> str:
    """Do something that must not be done twice."""
    return await take(name, seconds)


if len(sys.argv) > 2:
    uvicorn.run(server.sse_app(), port=int(sys.argv[2]), log_level="warning")
else:
    server.run()
