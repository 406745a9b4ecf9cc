"""The HTTP wires: Streamable HTTP and HTTP+SSE under an `App`."""

import asyncio
import json
import os
import socket

from aiohttp import web

from tests.wires.server import Session


class Answer:
    """The response to one POST: JSON, unless something is said before the result."""

    def __init__(self, request, headers=None, id=None):
        self.request = request
        self.id = id
        self.headers = headers or {}
        self.stream = None
        self.body = None

    async def open(self, kind="text/event-stream", **headers):
        """Begin a response whose bytes are written one by one."""
        if self.stream is None:
            self.stream = web.StreamResponse(headers={"Content-Type": kind, **self.headers, **headers})
            await self.stream.prepare(self.request)

    async def send(self, message, id=None):
        await self.open()
        head = b"" if id is None else f"id: {id}\n".encode()
        await self.stream.write(head + b"data: " + json.dumps(message).encode() + b"\n\n")

    async def finish(self, message):
        if self.stream is None:
            self.body = message
        else:
            await self.send(message)

    async def write(self, data):
        await self.open()
        await self.stream.write(data)

    def cut(self):
        self.request.transport.abort()

    def response(self):
        if self.stream is not None:
            return self.stream
        if self.body is None:
            return web.Response(status=202)
        return web.json_response(self.body, headers=self.headers)


class Part:
    """The part of one request in a stream that all share."""

    def __init__(self, out, id):
        self.id = id
        self.send = self.finish = out.send
        self.write, self.cut = out.write, out.cut


class Http:
    """Streamable HTTP, with sessions or without; and HTTP+SSE."""

    def __init__(self, app):
        self.app = app
        self.known = {}
        self.tasks = set()
        self.one = app.session()
        routes = web.Application(client_max_size=2**26)
        routes.router.add_post("/mcp", self.post)
        routes.router.add_get("/mcp", self.get)
        routes.router.add_delete("/mcp", self.delete)
        if app.wire == "sse":
            routes = web.Application(client_max_size=2**26)
            routes.router.add_get("/sse", self.stream)
            routes.router.add_post("/messages/{session}", self.message)
        self.routes = routes

    def find(self, request):
        if self.app.wire == "stateless":
            return Session()  # nothing is remembered
        if self.app.wire != "sessions":
            return self.one
        session = self.known.get(request.headers.get("Mcp-Session-Id"))
        return None if session is None or session.gone else session

    async def post(self, request):
        message = await request.json()
        session, headers = self.find(request), {}
        if self.app.wire == "sessions" and message.get("method") == "initialize":
            id = os.urandom(8).hex()
            session = self.known[id] = self.app.session()
            headers = {"Mcp-Session-Id": id}
        if session is None:
            return web.json_response(
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}, status=404
            )
        out = Answer(request, headers, message.get("id"))
        out.session = session
        await self.app.take(message, session, out, dict(request.headers))
        return out.response()

    async def get(self, request):
        session = self.find(request)
        if self.app.wire != "sessions" or session is None:
            return web.Response(status=405 if session is not None else 404)
        out = Answer(request)
        last = request.headers.get("Last-Event-ID")
        if last is not None and await self.app.resume(last, out):
            return out.response()
        await out.open()
        session.out = out
        try:
            await asyncio.Event().wait()
        finally:
            if session.out is out:
                session.out = None

    async def delete(self, request):
        self.known.pop(request.headers.get("Mcp-Session-Id"), None)
        return web.Response()

    async def stream(self, request):
        """HTTP+SSE: everything the server says goes here."""
        session, id = self.app.session(), os.urandom(8).hex()
        self.known[id] = session
        session.out = Answer(request)
        await session.out.write(f"event: endpoint\ndata: /messages/{id}\n\n".encode())
        try:
            await asyncio.Event().wait()
        finally:
            del self.known[id]

    async def message(self, request):
        session = self.known.get(request.match_info["session"])
        if session is None:
            return web.Response(status=404)
        message = await request.json()
        out = Part(session.out, message.get("id"))
        task = asyncio.create_task(self.app.take(message, session, out, dict(request.headers)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return web.Response(status=202)


async def serve(app, port):
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", port), reuse_port=False) as listener:
        runner = web.AppRunner(Http(app).routes, handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        path = "/sse" if app.wire == "sse" else "/mcp"
        print(f"http://127.0.0.1:{listener.getsockname()[1]}{path}", flush=True)
        await asyncio.Event().wait()
