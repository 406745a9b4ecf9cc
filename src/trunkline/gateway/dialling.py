"""From a configured entry to a connection.

What it is for: one pool of HTTP connections, one memory of eras, one way to start processes for the whole gateway.
What may live here: making connections and noticing their end.
What may not: restarting them (`supervision.py`), sharing them out (`sessions.py`).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from trunkline.auth.doors import Credentials
from trunkline.client.channel import Link, OnNotification, OnRequest
from trunkline.client.duplex import DuplexChannel
from trunkline.client.eras import Approach, EraMemory, meet_duplex, meet_http
from trunkline.client.handover import Handover
from trunkline.client.peer import Greeting, Peer
from trunkline.errors import MessageTooLong, TransportError
from trunkline.gateway.relaying import log_line
from trunkline.portable.model import Entry
from trunkline.protocol.revisions import Era

if TYPE_CHECKING:
    import aiohttp

_LOOK = 0.1
"""Seconds between two looks whether the last call has ended."""

Hear = Callable[[str], None]
"""Takes a line the upstream's process wrote beside its messages."""


@dataclass
class Connection:
    """One connection to an upstream.

    Parameters:
        peer: the upstream.
        shared: all callers' requests travel over it, whatever the upstream keeps between them (DESIGN: Upstream
            processes and sessions); otherwise a legacy upstream gets a session for each caller.
        bound: what the upstream keeps for its client lives and ends with this connection.

    Attributes:
        calls: requests on their way over it and back.
        name: tells it from every other one.
    """

    peer: Peer
    shared: bool = False
    bound: bool = False
    calls: int = field(default=0, init=False)
    name: str = field(default_factory=lambda: secrets.token_hex(6), init=False)
    ended: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, reason: str) -> None:
        """Note that it is of no use any more."""
        if not self.ended.done():
            self.ended.set_result(reason)

    async def closed(self) -> str:
        """Wait until it has ended; returns why."""
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        """End it."""
        self.end("it was closed")
        await self.peer.close()

    @property
    def busy(self) -> bool:
        """Whether calls are on their way that end by themselves: over HTTP one that broke says nothing of others."""
        return self.calls > 0 and not (self.bound or self.shared)

    async def retire(self) -> None:
        """End it once it is not busy any more; at once when this is cancelled."""
        self.end("another one takes its place")
        try:
            while self.busy:
                await asyncio.sleep(_LOOK)
        finally:
            await self.close()


@dataclass(frozen=True)
class Call:
    """What a connection is made for.

    Parameters:
        entry: the upstream, resolved: no references, no environment file.
        capabilities: what the upstream is told its client can do.
        hear: takes what its process writes beside its messages.
        on_request: answers server-to-client requests that belong to no request.
        on_event: takes notifications that belong to none; by default log messages are heard like the rest.
        handover: where replicas keep the session they share.
        credentials: what a remote server is shown with each request, beside the entry's headers.
    """

    entry: Entry
    capabilities: Mapping[str, object] = field(default_factory=dict)
    hear: Hear = lambda line: None
    on_request: OnRequest | None = None
    on_event: OnNotification | None = None
    handover: Handover | None = None
    credentials: Credentials | None = None


Dial = Callable[[Call], Awaitable[Connection]]
"""Makes a connection; leaves nothing behind when it fails or is cancelled. Raises `TransportError` or `RemoteError`."""


class Dialler:
    """Connects to configured servers, of any era, over stdio, Streamable HTTP and HTTP+SSE, and to described APIs.

    Parameters:
        info: the gateway's `Implementation` record, told to upstreams as `clientInfo`.
        timeout: seconds a handshake may take.
        era: set to speak one era only, without probing.
        connect: seconds a connection over HTTP may take.
    """

    def __init__(
        self, info: Mapping[str, object], timeout: float = 60.0, era: Era | None = None, connect: float = 10.0
    ) -> None:
        self._info = dict(info)
        self._timeout = timeout
        self._era = era
        self._connect = connect
        self._memory = EraMemory()
        self._holders = 0
        self._pool: aiohttp.ClientSession | None = None

    async def __call__(self, call: Call) -> Connection:
        """Connect."""
        approach = Approach(
            greeting=Greeting(self._info, dict(call.capabilities), tasks=True),
            memory=self._memory,
            on_request=call.on_request,
            timeout=call.entry.startup_timeout or self._timeout,
            on_event=call.on_event or partial(_overhear, call.hear),
            era=self._era,
            handover=call.handover,
            connect=call.entry.connect_timeout or self._connect,
            credentials=call.credentials,
        )
        if call.entry.transport == "stdio":
            return await self._start(call, approach)
        if call.entry.transport == "openapi":
            return await self._describe(call)
        return await self._reach(call.entry, approach)

    def hold(self) -> None:
        """One more provider needs the pool."""
        self._holders += 1

    async def release(self) -> None:
        """One less; the last one closes the pool."""
        self._holders -= 1
        if self._holders == 0 and self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close()

    async def _start(self, call: Call, approach: Approach) -> Connection:
        from trunkline.client.stdio import StdioLink

        entry = call.entry
        made: list[_Watched] = []

        async def link() -> Link:
            stdio = StdioLink(entry.command, entry.args, env=entry.env, cwd=entry.cwd, on_stderr=call.hear)
            made.append(_Watched(stdio))
            return made[-1]

        def garbage(line: bytes) -> None:
            call.hear(f"not a message on stdout: {line[:200].decode(errors='replace')}")

        peer = await meet_duplex(link, entry.name, approach, on_garbage=garbage)
        # A server that does not survive the probe is started again: the last link is the one that counts.
        shared = entry.processes in ("shared", "stateless")
        return Connection(cast("Peer", peer), shared=shared, bound=True, ended=made[-1].ended)

    async def _describe(self, call: Call) -> Connection:
        from trunkline.gateway.openapi.peer import open_api

        peer = await open_api(call.entry, self._shared(), call.entry.connect_timeout or self._connect)
        for fault in peer.faults[:20]:
            call.hear(f"left out: {fault}")
        return Connection(peer)

    def _shared(self) -> "aiohttp.ClientSession":
        from trunkline.client.http import new_session

        if self._pool is None:
            self._pool = new_session()
        return self._pool

    async def _reach(self, entry: Entry, approach: Approach) -> Connection:
        pool = self._shared()
        known = self._memory.get(entry.url)
        if known is not None and known.era == "modern":
            # A remembered modern server is not asked anything; we want to know that it is there.
            self._memory.forget(entry.url)
        headers = tuple(entry.headers.items())
        sse = True if entry.transport == "sse" else None if entry.sse_fallback else False
        peer = await meet_http(entry.url, pool, approach, headers, sse=sse)
        connection = Connection(cast("Peer", peer), bound=peer.channel.duplex)
        if isinstance(peer.channel, DuplexChannel):
            # The one stream of HTTP+SSE: without it nothing is heard any more.
            peer.channel.on_end(lambda reason: connection.end(reason.message))
        return connection


async def _overhear(hear: Hear, method: str, params: dict[str, object]) -> None:
    """Log messages that belong to no request are the operator's."""
    if method == "notifications/message":
        hear(log_line(params))


class _Watched:
    """A link that tells when its stream is over."""

    def __init__(self, link: Link) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._link = link

    async def open(self) -> None:
        await self._link.open()

    async def send(self, message: bytes) -> None:
        await self._link.send(message)

    async def receive(self) -> bytes | None:
        try:
            message = await self._link.receive()
        except MessageTooLong:
            raise  # the stream goes on
        except TransportError as error:
            self._end(error.message)
            raise
        if message is None:
            self._end("it closed its output")
        return message

    async def close(self) -> None:
        await self._link.close()
        self._end("it was closed")

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
