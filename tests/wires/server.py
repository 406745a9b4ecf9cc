"""A server that says exactly what it is told to, message by message and byte by byte, on any wire and in either era.

It shares no code with the product. What it says is an `App`; `run(App, argv)` puts it on a wire: `WIRE [PORT]`.
On an HTTP wire it prints its URL in one line.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
PREFIX = "io.modelcontextprotocol/"
WIRES = ("modern-http", "modern-stdio", "sessions", "stateless", "sse", "stdio")
"""Streamable HTTP without a handshake, stdio without one; with one: Streamable HTTP that keeps sessions, that keeps
none, HTTP+SSE, and stdio."""


class Refusal(Exception):
    """A JSON-RPC error to answer with."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


def notification(method, params):
    """A notification as it goes on the wire."""
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


class Session:
    """What belongs to one client: who it is, where messages outside of any request go, which questions are open."""

    def __init__(self):
        self.hello = {}
        self.gone = False
        self.level = None
        self.out = None
        self.subscribed = set()
        self.running = {}
        self._asked = {}
        self._ids = itertools.count(1)

    async def ask(self, out, method, params=None):
        """Ask the client (legacy); its result, or `Refusal`."""
        id = f"ask-{next(self._ids)}"
        self._asked[id] = asyncio.get_running_loop().create_future()
        await out.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})
        return await self._asked[id]

    def answered(self, message):
        """The client answered."""
        future = self._asked.pop(message.get("id"), None)
        if future is not None and "error" in message:
            future.set_exception(Refusal(message["error"]["code"], message["error"]["message"]))
        elif future is not None:
            future.set_result(message["result"])


class App:
    """What is said. Subclasses override `handle`; `modern` is whether there is no handshake."""

    capabilities: Mapping = {}

    def __init__(self, wire):
        self.wire = wire
        self.modern = wire.startswith("modern")
        self.sessions = []
        self.listeners = {}

    async def live(self):
        """What it does by itself."""

    def session(self):
        one = Session()
        self.sessions.append(one)
        return one

    async def take(self, message, session, out, headers):
        """One message of a client."""
        if "method" not in message:
            session.answered(message)
            return
        if "id" not in message:
            if message["method"] == "notifications/cancelled":
                task = session.running.get(message["params"]["requestId"])
                if task is not None:
                    task.cancel()
            return
        session.running[message["id"]] = asyncio.current_task()
        try:
            result = await self.answer(message["method"], message.get("params", {}), session, out, headers)
        except Refusal as refusal:
            await out.finish({"jsonrpc": "2.0", "id": message["id"], "error": refusal.error})
        else:
            if result is not None:
                await out.finish({"jsonrpc": "2.0", "id": message["id"], "result": result})
        finally:
            del session.running[message["id"]]

    async def answer(self, method, params, session, out, headers):
        info = {"name": self.wire, "version": "1"}
        if self.modern and method == "server/discover":
            return self.whole(
                {
                    "supportedVersions": [MODERN],
                    "capabilities": self.capabilities,
                    "_meta": {f"{PREFIX}serverInfo": info},
                },
                listed=True,
            )
        if not self.modern and method == "initialize":
            session.hello = params
            asked = params["protocolVersion"]
            version = asked if asked in LEGACY else LEGACY[0]
            return {"protocolVersion": version, "capabilities": self.capabilities, "serverInfo": info}
        if not self.modern and method == "logging/setLevel":
            session.level = params["level"]
            return {}
        if not self.modern and method in ("resources/subscribe", "resources/unsubscribe"):
            (session.subscribed.add if method.endswith("/subscribe") else session.subscribed.discard)(params["uri"])
            return {}
        if not self.modern and method == "ping":
            return {}
        if self.modern and method == "subscriptions/listen":
            return await self._listen(params, out)
        return await self.handle(method, params, session, out, headers)

    async def _listen(self, params, out):
        """Stay open for what the filter asks for (utilities/subscriptions)."""
        wanted, meta = params["notifications"], {f"{PREFIX}subscriptionId": out.id}
        await out.send(notification("subscriptions/acknowledged", {"notifications": wanted, "_meta": meta}))
        self.listeners[out] = (wanted, meta)
        try:
            await asyncio.Event().wait()
        finally:
            del self.listeners[out]

    async def changed(self, what):
        """Tell everyone who wants to know that a list (`tools`) or a resource (its URI) is another one."""
        listed = ":" not in what
        method = f"{what}/list_changed" if listed else "resources/updated"
        params = {} if listed else {"uri": what}
        for out, (wanted, meta) in list(self.listeners.items()):
            if wanted.get(f"{what}ListChanged") if listed else what in wanted.get("resourceSubscriptions", ()):
                await out.send(notification(method, {**params, "_meta": meta}))
        for session in () if self.modern else self.sessions:
            if session.out is not None and (listed or what in session.subscribed):
                await session.out.send(notification(method, params))

    async def resume(self, last, out):
        """Continue a stream that broke after the event `last`; False where that cannot be."""
        return False

    async def handle(self, method, params, session, out, headers):
        """The result of a request, as `whole` makes it; None when there is none."""
        raise Refusal(-32601, "Method not found")

    def whole(self, result, listed=False):
        """A result as this era has it."""
        if not self.modern:
            return result
        return {"resultType": "complete", **({"ttlMs": 60_000, "cacheScope": "public"} if listed else {}), **result}


# --- stdio ------------------------------------------------------------------------------------------------------------


class Lines:
    """Standard output; `id` is that of the request it is for."""

    def __init__(self, id=None):
        self.id = id

    async def send(self, message):
        await self.write(json.dumps(message).encode() + b"\n")

    finish = send

    async def write(self, data):
        async with _WRITING:
            await asyncio.to_thread(_write_all, data)


_WRITING = asyncio.Lock()


def _write_all(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


async def stdio(app):
    """Serve standard input until it ends."""
    reader = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    session, tasks = app.session(), set()
    session.out = Lines()
    while line := await reader.readline():
        message = json.loads(line)
        if not app.modern and message.get("method") == "server/discover":
            await session.out.send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}})
            continue
        task = asyncio.create_task(app.take(message, session, Lines(message.get("id")), {}))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def run(make: Callable[[str], App], argv) -> None:
    """Put an app on the wire the arguments name."""
    wire, port = argv[1], int(argv[2]) if len(argv) > 2 else 0

    async def live(app: App, serving: Awaitable[None]) -> None:
        living = asyncio.create_task(app.live())
        await serving
        living.cancel()

    app = make(wire)
    if wire.endswith("stdio"):
        serving: Awaitable[None] = stdio(app)
    else:
        from tests.wires import web  # what a process on stdio need not wait for

        serving = web.serve(app, port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(live(app, serving))
