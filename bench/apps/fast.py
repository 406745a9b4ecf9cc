"""FastMCP, as its documentation writes a server and as it is at its best."""

import os

from fastmcp import FastMCP
from fastmcp.server import create_proxy


def best():
    """A coroutine function, answers as JSON, no sessions."""
    server = FastMCP("bench")

    @server.tool
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server.http_app(json_response=True, stateless_http=True)


def default():
    """A plain function and the application as it comes."""
    server = FastMCP("bench")

    @server.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server.http_app()


def proxy():
    """A proxy over the address in `BENCH_UPSTREAM`, as its documentation makes one; answers as JSON, no sessions."""
    server = create_proxy(os.environ["BENCH_UPSTREAM"], name="bench")
    return server.http_app(json_response=True, stateless_http=True)
