"""Small real servers as upstreams, in this process, in either era."""

import contextlib
from typing import Any

from tests.gateway.callers import gateway
from trunkline import Context, EmbeddedResource, InputRequest, ResourceLink, Server
from trunkline.client.eras import Approach, EraMemory, meet_duplex
from trunkline.client.memory import MemoryLink
from trunkline.client.peer import Greeting
from trunkline.gateway import Federation
from trunkline.gateway.dialling import Connection
from trunkline.portable.model import Entry
from trunkline.transports.memory import connect


class Local:
    """Connects a gateway to servers of this process.

    Parameters:
        servers: by the name of the upstream.
        legacy: the upstreams spoken to in the legacy era.
        shared: whether all callers travel over one connection, as to a stdio process.
    """

    def __init__(self, servers, legacy=(), shared=True):
        self.servers = servers
        self.legacy = legacy
        self.shared = shared
        self.made: list[Connection] = []

    async def __call__(self, call):
        server = self.servers[call.entry.name]

        async def link():
            return MemoryLink(lambda: connect(server.application))

        era = "legacy" if call.entry.name in self.legacy else "modern"
        greeting = Greeting({"name": "gateway", "version": "0"}, dict(call.capabilities))
        approach = Approach(greeting, EraMemory(), on_request=call.on_request, on_event=call.on_event, era=era)
        connection = Connection(await meet_duplex(link, call.entry.name, approach), self.shared)
        self.made.append(connection)
        return connection


@contextlib.asynccontextmanager
async def federated(servers, *, legacy=(), shared=True, **options):
    """A started federation over servers of this process: yields it, its engine and what connects them."""
    local = Local(servers, legacy, shared)
    entries = options.pop("entries", None) or [Entry(name, "http", url="http://local") for name in servers]
    federation = Federation(entries, dial=local, **options)
    async with gateway(federation) as engine:
        yield federation, engine, local
    for server in servers.values():
        await server.application.stop()


def workshop(name="workshop") -> Server:
    """A server with one of everything the gateway carries."""
    server = Server(name)

    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def whoami(context: Context) -> dict[str, Any]:
        return {
            "capabilities": sorted(context.capabilities),
            "client": (context.client_info or {}).get("name"),
            "meta": sorted(context.params.meta.__struct_fields__) if context.params.meta else [],
            "trace": context.trace,
        }

    @server.tool
    async def work(context: Context) -> str:
        await context.progress(1, total=2, message="half")
        await context.log("info", "working", logger="shop")
        await context.log("debug", "details")
        await context.progress(2, total=2)
        return "done"

    @server.tool
    async def order(context: Context, item: str) -> str:
        answer = await context.elicit("How many?", {"type": "object", "properties": {"n": {"type": "integer"}}})
        if not answer.accepted:
            return f"no {item}"
        size = await context.elicit("Which size?", {"type": "object", "properties": {"size": {"type": "string"}}})
        return f"{answer.content['n']} {item} {size.content['size']}"

    @server.tool
    async def consult(context: Context) -> str:
        answers = await context.ask(
            {
                "model": InputRequest("sampling/createMessage", {"messages": [], "maxTokens": 5}),
                "places": InputRequest("roots/list"),
            }
        )
        return f"{answers['model']['content']['text']} {answers['places']['roots'][0]['uri']}"

    @server.tool
    async def point() -> list[ResourceLink | EmbeddedResource]:
        return [ResourceLink("shop://catalogue", "catalogue"), EmbeddedResource("shop://catalogue", "text")]

    @server.resource("shop://catalogue")
    def catalogue() -> str:
        return f"catalogue of {name}"

    @server.resource("shop://items/{id}")
    def item(id: str) -> str:
        return f"item {id} of {name}"

    @server.prompt
    def review(language: str) -> str:
        return f"Review this {language} for {name}"

    @server.completion("review", "language")
    async def languages(typed: str) -> list[str]:
        return [one for one in ("python", "perl", "rust") if one.startswith(typed)]

    @server.completion("shop://items/{id}", "id")
    async def ids(typed: str) -> list[str]:
        return [f"{typed}1"]

    return server
