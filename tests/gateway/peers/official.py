"""A server of the official Python SDK, both eras on one endpoint: `python official.py`, which prints its URL."""

import socket

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
from pydantic import BaseModel

server = MCPServer("official", instructions="Use the tools.")


class Count(BaseModel):
    n: int


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def work(ctx: Context) -> str:
    """Tell how far it is."""
    await ctx.report_progress(1, 2, "half")
    await ctx.info("working")
    return "done"


@server.tool()
async def order(ctx: Context) -> str | InputRequiredResult:
    """Ask how many."""
    if ctx.protocol_version != "2026-07-28":
        answer = await ctx.elicit("How many?", Count)
        return f"{answer.data.n} hats"
    if ctx.input_responses is None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        ask = ElicitRequest(params=ElicitRequestFormParams(message="How many?", requested_schema=schema))
        return InputRequiredResult(input_requests={"count": ask}, request_state="in the shop")
    assert ctx.request_state == "in the shop"
    return f"{ctx.input_responses['count'].content['n']} hats"


@server.resource("demo://greeting")
def greeting() -> str:
    """A greeting."""
    return "hello"


@server.resource("demo://users/{id}")
def user(id: str) -> str:
    """A user."""
    return f"user {id}"


@server.prompt()
def review(code: str) -> str:
    """Review code."""
    return f"Review {code}"


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning")).run(sockets=[listener])
