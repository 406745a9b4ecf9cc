"""The trunkline server of these tests: everything a client can meet, as any author would write it.

`python -m tests.interop.workshop` speaks stdio; with `--http` it binds a free port and prints its URL. With `--tasks`
what asks and what answers in structure are durable tasks, which no client notices that knows nothing of them.
"""

import asyncio
import socket
import sys
from typing import Annotated, TypedDict

import uvicorn

from trunkline import Context, Server, ToolError
from trunkline.server.content import Annotations, Contents, Image, Message
from trunkline.server.signature import Header

PIXEL = bytes.fromhex("89504e470d0a1a0a")
NAME = {"type": "object", "properties": {"name": {"type": "string", "title": "Name"}}, "required": ["name"]}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SIZE = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}, "required": ["size"]}
SURE = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}

DURABLE = "--tasks" in sys.argv

server = Server("workshop", version="1.2.3", title="The workshop", instructions="Ask before you cut.")
waits: dict[str, str] = {}
draws: dict[str, int] = {}


class Sum(TypedDict):
    """What `add` returns."""

    sum: int


@server.tool(title="Echo", annotations={"readOnlyHint": True})
def echo(text: str) -> str:
    """Give back the text."""
    return text


@server.tool(task=DURABLE)
def add(a: int, b: int) -> Sum:
    """Add two integers."""
    return Sum(sum=a + b)


@server.tool(task=DURABLE)
def fail() -> str:
    """Fail in a way a model should see."""
    raise ToolError("The saw is blunt")


@server.tool
def picture() -> list[str | Image]:
    """Give back a picture and its caption."""
    return ["a pixel", Image(PIXEL, "image/png")]


@server.tool(task=DURABLE)
def where(region: Annotated[str, Header("Region")]) -> str:
    """Take an argument which the client mirrors into a header."""
    return f"in {region}"


@server.tool
async def work(steps: int, context: Context) -> str:
    """Report the progress of some steps."""
    for step in range(1, steps + 1):
        await context.progress(step, total=steps, message=f"step {step}")
        await asyncio.sleep(0.02)  # TypeScript clients forget progress that comes in one read with the result
    return "done"


@server.tool
async def chat(context: Context) -> str:
    """Log at three levels."""
    await context.log("debug", "too fine")
    await context.log("info", "just right", logger="workshop")
    await context.log("error", {"text": "too loud"})
    return "logged"


@server.tool(task=DURABLE)
async def greet(context: Context) -> str:
    """Ask for a name."""
    answer = await context.elicit("What is your name?", NAME)
    return f"Hello, {answer.content['name']}!"


@server.tool(task=DURABLE)
async def confirm(context: Context) -> str:
    """Ask something that is declined."""
    answer = await context.elicit("Are you sure?", SURE)
    return f"Answer: {answer.action}"


@server.tool(task=DURABLE)
async def order(key: str, context: Context) -> str:
    """Ask twice, with work between the questions that is done once."""

    def draw() -> None:
        draws[key] = draws.get(key, 0) + 1

    city = await context.elicit("Which city?", CITY)
    await context.step("draw", draw)
    size = await context.elicit("Which size?", SIZE)
    return f"Size {size.content['size']} to {city.content['city']}, drawn {draws[key]} time"


@server.tool(task=DURABLE)
async def think(about: str, context: Context) -> str:
    """Ask the client's model."""
    reply = await context.sample(f"Think about {about}", max_tokens=50)
    content = reply["content"]
    block = content[0] if isinstance(content, list) else content
    assert isinstance(block, dict)
    return f"{reply['model']}: {block['text']}"


@server.tool(task=DURABLE)
async def shelves(context: Context) -> str:
    """Ask for the client's roots."""
    return ", ".join(f"{root['name']}={root['uri']}" for root in await context.roots())


@server.tool
async def wait(key: str) -> str:
    """Wait until the client gives up."""
    waits[key] = "waiting"
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        waits[key] = "cancelled"
        raise
    return "nobody gave up"


@server.tool
def outcome(key: str) -> str:
    """Tell what became of a wait."""
    return waits.get(key, "unknown")


@server.tool
def grow(name: str) -> str:
    """Add a tool."""

    def grown() -> str:
        """A tool that was not here before."""
        return f"I am {name}"

    server.tool(name=name)(grown)
    return f"added {name}"


@server.tool
def shrink(name: str) -> str:
    """Take a tool away."""
    server.remove_tool(name)
    return f"removed {name}"


@server.tool
def touch(uri: str) -> str:
    """Tell subscribers that a resource changed."""
    server.notify_resource_updated(uri)
    return f"touched {uri}"


@server.resource("notes://today", mime_type="text/plain", annotations=Annotations(priority=0.5))
def today() -> str:
    """What is to do today."""
    return "Sharpen the saw"


@server.resource("notes://logo", mime_type="image/png")
def logo() -> bytes:
    """The workshop's logo."""
    return PIXEL


@server.resource("notes://day/{day}", completion={"day": ["monday", "tuesday", "wednesday"]})
def note(day: str) -> Contents:
    """The note of one day."""
    return Contents(f"On {day}: rest", "text/plain")


@server.prompt(title="Review", completion={"language": ["python", "perl", "rust"]})
def review(code: str, language: str = "python") -> list[Message]:
    """Review some code."""
    return [Message("user", f"Review this {language}: {code}"), Message("assistant", "Let me see.")]


def main() -> None:
    """Serve on stdio, or on HTTP."""
    if "--http" not in sys.argv:
        server.run()
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(server.app, http="httptools", loop="uvloop", log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
