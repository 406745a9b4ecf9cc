"""The server under test, a process of its own: `python -m tests.fuzz.target http|stdio|gateway`.

Over HTTP it prints its port in one line; nothing else may ever stand on standard output.
"""

import asyncio
import socket
import sys

from trunkline import Context, Limits, Server
from trunkline.transports.asgi import ASGIApp
from trunkline.transports.http import HTTPTransport

BODY_LIMIT = 256 * 1024

server = Server("fuzzed", limits=Limits(body=BODY_LIMIT), page_size=5, call_timeout=5)


@server.tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(inline=True)
def shout(text: str, times: int = 1) -> str:
    """Text in capitals."""
    return (text.upper() * min(times, 3))[:1000]


@server.tool
def threaded(text: str) -> str:
    """The same on a thread."""
    return text[::-1]


@server.tool(input_schema={"type": "object"})
async def anything(arguments: dict[str, object]) -> str:
    """Takes what comes."""
    return ", ".join(sorted(arguments))[:1000]


@server.tool(headers={"city": "City", "day": "Day"})
async def forecast(city: str, day: int = 0) -> dict[str, str]:
    """Weather, with mirrored headers."""
    return {"city": city, "day": str(day)}


@server.tool
async def slow(context: Context, steps: int = 2) -> str:
    """Tells its progress."""
    for step in range(max(0, min(steps, 3))):
        await context.progress(step, steps)
        await context.log("info", {"step": step})
        await asyncio.sleep(0.01)
    return "done"


@server.tool
async def asking(context: Context) -> str:
    """Needs a person."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = await context.elicit("Who are you?", schema)
    return f"{answer.action} {answer.content.get('name', '')}"


@server.resource("note://all")
def notes() -> str:
    """All notes."""
    return "none"


@server.resource("note://{name}/{+rest}{?page}")
async def note(name: str, rest: str, page: str = "1") -> str:
    """One note."""
    return f"{name} {rest} {page}"


@server.prompt(completion={"language": ["python", "rust"]})
def review(code: str, language: str = "python") -> str:
    """Review some code."""
    return f"Review this {language}: {code}"


def serve(app: ASGIApp) -> None:
    """Serve on a free port, as `trunkline up` does."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, http="httptools", log_config=None, access_log=False, lifespan="on")
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def gateway(seed: str, url: str) -> HTTPTransport:
    """A gateway over this server on stdio and over two that talk garbage, on stdio and at a URL."""
    from trunkline.engine.engine import Engine
    from trunkline.gateway import Federation
    from trunkline.portable.model import Entry
    from trunkline.runtime.application import Application

    entries = [
        Entry("steady", "stdio", command=sys.executable, args=("-m", "tests.fuzz.target", "stdio")),
        Entry("lines", "stdio", command=sys.executable, args=("-m", "tests.fuzz.upstream", seed), request_timeout=0.3),
        Entry("web", "http", url=url, request_timeout=0.3),
    ]
    return HTTPTransport(Application(Engine(Federation(entries))), limits=Limits(body=BODY_LIMIT))


if __name__ == "__main__":
    if sys.argv[1] == "http":
        serve(server.app)
    elif sys.argv[1] == "gateway":
        serve(gateway(*sys.argv[2:]))
    else:
        server.run()
