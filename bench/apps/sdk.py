"""The official Python SDK, as its documentation writes a server and as it is at its best."""

from mcp.server import MCPServer


def default():
    """A plain function and the application as it comes."""
    server = MCPServer("bench")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server.streamable_http_app()


def best():
    """A coroutine function, answers as JSON, no sessions."""
    server = MCPServer("bench")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server.streamable_http_app(json_response=True, stateless_http=True)
