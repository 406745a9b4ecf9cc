"""The workshop in the official Python SDK: `sdk_server.py stdio|http|sse`; the latter two print their URL."""

import asyncio
import logging
import socket
import sys
import warnings
from typing import Annotated

import mcp_types as types
import uvicorn
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import AssistantMessage, Message, UserMessage
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
PIXEL = bytes.fromhex("89504e470d0a1a0a")
server = MCPServer("workshop", title="The workshop", instructions="Ask before you cut.", version="1.2.3")
waits: dict[str, str] = {}


class Name(BaseModel):
    name: str


class Sure(BaseModel):
    sure: bool


class City(BaseModel):
    city: str


class Size(BaseModel):
    size: int


class Sum(TypedDict):
    sum: int


def ask_name() -> Elicit[Name]:
    return Elicit("What is your name?", Name)


def ask_sure() -> Elicit[Sure]:
    return Elicit("Are you sure?", Sure)


def ask_city() -> Elicit[City]:
    return Elicit("Which city?", City)


def ask_size(city: Annotated[City, Resolve(ask_city)]) -> Elicit[Size]:
    return Elicit("Which size?", Size)


def ask_model(about: str) -> Sample:
    content = types.TextContent(type="text", text=f"Think about {about}")
    return Sample([types.SamplingMessage(role="user", content=content)], max_tokens=50)


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool(title="Echo", annotations=types.ToolAnnotations(read_only_hint=True), structured_output=False)
def echo(text: str) -> str:
    """Give back the text."""
    return text


@server.tool()
def add(a: int, b: int) -> Sum:
    """Add two integers."""
    return Sum(sum=a + b)


@server.tool(structured_output=False)
def fail() -> str:
    """Fail in a way a model should see."""
    raise ToolError("The saw is blunt")


@server.tool(structured_output=False)
def picture() -> list:
    """Give back a picture and its caption."""
    return ["a pixel", Image(data=PIXEL, format="png")]


@server.tool(structured_output=False)
def where(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Take an argument which the client mirrors into a header."""
    return f"in {region}"


@server.tool(structured_output=False)
async def work(steps: int, ctx: Context) -> str:
    """Report the progress of some steps."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(0.02)  # TypeScript clients forget progress that comes in one read with the result
    return "done"


@server.tool(structured_output=False)
async def chat(ctx: Context) -> str:
    """Log at three levels."""
    await ctx.log("debug", "too fine")
    await ctx.log("info", "just right", logger_name="workshop")
    await ctx.log("error", {"text": "too loud"})
    return "logged"


@server.tool(structured_output=False)
def greet(name: Annotated[Name, Resolve(ask_name)]) -> str:
    """Ask for a name."""
    return f"Hello, {name.name}!"


@server.tool(structured_output=False)
def confirm(sure: Annotated[ElicitationResult[Sure], Resolve(ask_sure)]) -> str:
    """Ask something that is declined."""
    return f"Answer: {sure.action}"


@server.tool(structured_output=False)
def order(key: str, city: Annotated[City, Resolve(ask_city)], size: Annotated[Size, Resolve(ask_size)]) -> str:
    """Ask twice."""
    return f"Size {size.size} to {city.city}, drawn 1 time"


@server.tool(structured_output=False)
def think(about: str, reply: Annotated[types.CreateMessageResult, Resolve(ask_model)]) -> str:
    """Ask the client's model."""
    return f"{reply.model}: {reply.content.text}"


@server.tool(structured_output=False)
def shelves(listed: Annotated[types.ListRootsResult, Resolve(ask_roots)]) -> str:
    """Ask for the client's roots."""
    return ", ".join(f"{root.name}={root.uri}" for root in listed.roots)


@server.tool(structured_output=False)
async def wait(key: str) -> str:
    """Wait until the client gives up."""
    waits[key] = "waiting"
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        waits[key] = "cancelled"
        raise
    return "nobody gave up"


@server.tool(structured_output=False)
def outcome(key: str) -> str:
    """Tell what became of a wait."""
    return waits.get(key, "unknown")


@server.tool(structured_output=False)
async def grow(name: str, ctx: Context) -> str:
    """Add a tool."""

    def grown() -> str:
        """A tool that was not here before."""
        return f"I am {name}"

    server.add_tool(grown, name=name, structured_output=False)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return f"added {name}"


@server.tool(structured_output=False)
async def shrink(name: str, ctx: Context) -> str:
    """Take a tool away."""
    server.remove_tool(name)
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return f"removed {name}"


@server.tool(structured_output=False)
async def touch(uri: str, ctx: Context) -> str:
    """Tell subscribers that a resource changed."""
    await ctx.notify_resource_updated(uri)
    await ctx.session.send_resource_updated(uri)
    return f"touched {uri}"


@server.resource("notes://today", mime_type="text/plain")
def today() -> str:
    """What is to do today."""
    return "Sharpen the saw"


@server.resource("notes://logo", mime_type="image/png")
def logo() -> bytes:
    """The workshop's logo."""
    return PIXEL


@server.resource("notes://day/{day}", mime_type="text/plain")
def note(day: str) -> str:
    """The note of one day."""
    return f"On {day}: rest"


@server.prompt(title="Review")
def review(code: str, language: str = "python") -> list[Message]:
    """Review some code."""
    return [UserMessage(f"Review this {language}: {code}"), AssistantMessage("Let me see.")]


@server.completion()
async def complete(ref, argument, context) -> types.Completion:
    choices = {"language": ["python", "perl", "rust"], "day": ["monday", "tuesday", "wednesday"]}[argument.name]
    return types.Completion(values=[choice for choice in choices if choice.startswith(argument.value)])


def main() -> None:
    how = sys.argv[1]
    if how == "stdio":
        server.run()
        return
    app = server.sse_app() if how == "sse" else server.streamable_http_app()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/{'sse' if how == 'sse' else 'mcp'}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])


main()
