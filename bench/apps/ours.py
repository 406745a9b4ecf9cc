"""trunkline: one tool, and the same with everything in the way that a production server has."""

import os

from trunkline import Context, Principal, Server
from trunkline.engine.doors import CallNext, RequestFacts, Result
from trunkline.errors import Unauthenticated
from trunkline.transports.http import HTTPTransport


class Tokens:
    """An authenticator that knows one bearer token."""

    def __init__(self) -> None:
        self._known = {b"Bearer bench-token": Principal("bench", "caller")}

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Look the token up."""
        principal = self._known.get(facts.headers.get(b"authorization", b""))
        if principal is None:
            raise Unauthenticated("The bearer token is not known")
        return principal


async def passing(context: Context, call_next: CallNext) -> Result:
    """An interceptor that only passes the call on."""
    return await call_next(context)


def _hooked() -> Server:
    return Server("bench", auth=Tokens(), interceptors=[passing] * 5)


def adding(server: Server) -> Server:
    """Give a server the tool that is called, as a coroutine function."""

    @server.tool
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server


def _sync(server: Server) -> Server:
    @server.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server


def async_tool() -> HTTPTransport:
    """A coroutine function, nothing else."""
    return adding(Server("bench")).app


def sync_tool() -> HTTPTransport:
    """A plain function, which runs on a thread of the pool."""
    return _sync(Server("bench")).app


def changing() -> HTTPTransport:
    """A tool that changes the list of tools."""
    server = Server("bench")

    @server.tool
    async def change() -> str:
        """Add a tool, and take it away again."""

        def other() -> str:
            """Here for a moment."""
            return ""

        server.add_tool(other)
        server.remove_tool("other")
        return "changed"

    return server.app


def hooks() -> HTTPTransport:
    """A coroutine function behind an authenticator and five interceptors."""
    return adding(_hooked()).app


def hooks_sync() -> HTTPTransport:
    """A plain function behind an authenticator and five interceptors."""
    return _sync(_hooked()).app


def hooks_many() -> HTTPTransport:
    """A coroutine function among 999 others, behind an authenticator and five interceptors."""
    server = adding(_hooked())
    for number in range(999):

        @server.tool(name=f"other_{number}")
        async def other(text: str, count: int = 1) -> str:
            """Repeat a text."""
            return text * count

    return server.app


def durable() -> HTTPTransport:
    """A coroutine function whose calls are tasks, in the storage of `BENCH_STORAGE`."""
    server = Server("bench", storage=os.environ["BENCH_STORAGE"])

    @server.tool(task=True)
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    return server.app
