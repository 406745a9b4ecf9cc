"""A provider whose tools do what a transport has to carry, and a duplex client small enough to read."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from trunkline.engine.context import Context, elicitation
from trunkline.engine.doors import Change, Result
from trunkline.engine.engine import Engine
from trunkline.errors import InvalidParams, MethodNotFound, ToolError
from trunkline.protocol import json, messages
from trunkline.protocol.headers import HeaderParam
from trunkline.runtime.application import Application

VERSION = "io.modelcontextprotocol/protocolVersion"
FORM = {"type": "object", "properties": {"name": {"type": "string"}}}


def text(value: object) -> Result:
    return {"content": [{"type": "text", "text": str(value)}]}


class Stage:
    """Tools by name; counts what is running, so that tests can see cancellation."""

    def __init__(self) -> None:
        self.running = 0
        self.cancelled = 0
        self.followed: list[str] = []
        self.gate = asyncio.Event()
        self.listeners: list[Callable[[Change], None]] = []
        self.tools: dict[str, Callable[[Context], Awaitable[Result]]] = {
            "echo": self.echo,
            "count": self.count,
            "wait": self.wait,
            "name": self.name,
            "hang_up": self.hang_up,
            "chat": self.chat,
            "broken": self.broken,
            "odd": self.odd,
            "who": self.who,
        }

    def info(self) -> Mapping[str, object]:
        return {"name": "stage", "version": "1"}

    def capabilities(self) -> Mapping[str, object]:
        return {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "logging": {},
        }

    def instructions(self) -> str | None:
        return None

    def freshness(self) -> Mapping[str, object]:
        return {"ttlMs": 3_600_000, "cacheScope": "public"}

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        return ()

    async def list_tools(self, context: Context) -> Result:
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]}

    async def call_tool(self, context: Context) -> Result:
        name = context.params.name
        if name not in self.tools:
            raise InvalidParams(f"Unknown tool: {name}")
        self.running += 1
        try:
            return await self.tools[name](context)
        except ToolError as error:
            return {**text(error), "isError": True}
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def read_resource(self, context: Context) -> Result:
        return {"contents": [{"uri": context.params.uri, "text": "here"}]}

    async def _nothing(self, context: Context) -> Result:
        raise MethodNotFound

    list_resources = list_templates = list_prompts = get_prompt = complete = _nothing

    async def follow(self, context: Context, uris: Sequence[str]) -> None:
        if "test://unknown" in uris:
            raise InvalidParams("Unknown resource")
        self.followed += uris

    async def unfollow(self, context: Context, uris: Sequence[str]) -> None:
        for uri in uris:
            self.followed.remove(uri)

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def publish(self, change: Change) -> None:
        for listener in self.listeners:
            listener(change)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def echo(self, context: Context) -> Result:
        arguments = json.plain(context.params.arguments)
        return text(arguments["text"])

    async def count(self, context: Context) -> Result:
        """Progress 1 to n, each after a turn of the loop."""
        n = json.plain(context.params.arguments)["n"]
        for step in range(1, n + 1):
            await context.progress(step, n)
            await asyncio.sleep(0)
        return text(n)

    async def wait(self, context: Context) -> Result:
        """One progress, then until the test opens the gate."""
        await context.progress(1)
        await self.gate.wait()
        await context.progress(2)
        return text("waited")

    async def name(self, context: Context) -> Result:
        answers = await context.ask({"user": elicitation("Who are you?", FORM)})
        return text(answers["user"])

    async def hang_up(self, context: Context) -> Result:
        await context.suspend(50)
        await self.gate.wait()
        return text("welcome back")

    async def chat(self, context: Context) -> Result:
        await context.log("debug", "d")
        await context.log("info", "i")
        await context.log("error", "e")
        return text("logged")

    async def broken(self, context: Context) -> Result:
        raise RuntimeError("secret detail")

    async def odd(self, context: Context) -> Result:
        """Something no JSON encoder takes."""
        return text("\ud800")

    async def who(self, context: Context) -> Result:
        return text(context.principal.subject)


def application_of(stage: Stage, **options: object) -> Application:
    return Application(Engine(stage), **options)  # type: ignore[arg-type]


def meta(**more: object) -> dict[str, object]:
    return {
        VERSION: "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "sampling": {}, "roots": {}},
        **more,
    }


def request(id: object, method: str, params: object = None, **more: object) -> bytes:
    body: dict[str, object] = {"jsonrpc": "2.0", "id": id, "method": method, **more}
    if params is not None:
        body["params"] = params
    return json.encode(body)


def call(id: object, tool: str, arguments: object = None, *, token: object = None, modern: bool = False) -> bytes:
    carried: dict[str, object] = meta() if modern else {}
    if token is not None:
        carried["progressToken"] = token
    return request(id, "tools/call", {"name": tool, "arguments": arguments or {}, "_meta": carried})


def initialize(revision: str = "2025-11-25", capabilities: object = None) -> bytes:
    declared = {"elicitation": {}, "sampling": {}, "roots": {}} if capabilities is None else capabilities
    params = {"protocolVersion": revision, "capabilities": declared, "clientInfo": {"name": "t", "version": "1"}}
    return request(0, "initialize", params)


INITIALIZED = messages.notification("notifications/initialized")


class Pipe:
    """The client end of a duplex connection: what came, and waiting for one of it."""

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], receive: Callable[[], Awaitable[bytes | None]]
    ) -> None:
        self.send = send
        self._receive = receive
        self.seen: list[dict[str, object]] = []

    async def next(self) -> dict[str, object]:
        raw = await self._receive()
        assert raw is not None, "the connection ended"
        message = json.plain(raw)
        self.seen += message if isinstance(message, list) else [message]
        return message  # type: ignore[return-value]

    async def answer(self, id: object) -> dict[str, object]:
        """Read until the response with this id."""
        for _ in itertools.count():
            message = await self.next()
            if message.get("id") == id and "method" not in message:
                return message
        raise AssertionError

    async def notified(self, method: str) -> dict[str, object]:
        """Read until a notification or request of this method."""
        while True:
            message = await self.next()
            if message.get("method") == method:
                return message
