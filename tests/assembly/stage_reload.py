"""An upstream for reload tests: tells who it is, and holds a call until a file appears."""

import asyncio
import os
from pathlib import Path

from trunkline import Server

server = Server("stage")


@server.tool
async def who() -> str:
    return f"{os.environ.get('LABEL', '')} {os.getpid()}"


@server.tool
async def hold(gate: str) -> str:
    Path(f"{gate}.here").touch()
    while not Path(gate).exists():
        await asyncio.sleep(0.02)
    return os.environ.get("LABEL", "")


if __name__ == "__main__":
    server.run("stdio")
