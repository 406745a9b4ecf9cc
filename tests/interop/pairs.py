"""Who talks to whom: a client, a server, what the client is told to speak, what it must get, over which transport."""

import asyncio
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.interop import running
from tests.interop.running import Seen
from tests.interop.walk import walk
from trunkline.protocol.revisions import Era

MODERN = "2026-07-28"
_keys = itertools.count()


class Pair(NamedTuple):
    """One connection. `mode` is `modern` (no probe), `auto`, `legacy`, or the revision a handshake offers."""

    client: str
    server: str
    mode: str
    revision: str
    transport: str

    def __str__(self) -> str:
        return f"{self.client} {self.mode} to {self.server} over {self.transport}"

    @property
    def modern(self) -> bool:
        """Whether the connection has no handshake."""
        return self.revision == MODERN


CLIENTS = {
    "python-sdk": "sdk_client.py",
    "typescript": "ts_client.mjs",
    "typescript-v1": "ts1_client.mjs",
    "fastmcp": "fastmcp_client.py",
}
SERVERS = {
    "python-sdk": "sdk_server.py",
    "typescript": "ts_server.mjs",
    "fastmcp": "fastmcp_server.py",
}
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")


def _to_us() -> list[Pair]:
    pairs = []
    for client in ("python-sdk", "typescript"):
        pairs += [Pair(client, "trunkline", "modern", MODERN, "http")]
        pairs += [Pair(client, "trunkline", "auto", MODERN, transport) for transport in ("http", "stdio")]
        pairs += [Pair(client, "trunkline", revision, revision, "http") for revision in LEGACY]
        pairs += [Pair(client, "trunkline", "2025-11-25", "2025-11-25", "stdio")]
    for transport in ("http", "stdio"):
        pairs += [Pair("typescript-v1", "trunkline", "legacy", "2025-11-25", transport)]
        pairs += [Pair("fastmcp", "trunkline", "auto", MODERN, transport)]
    return [*pairs, Pair("fastmcp", "trunkline", "legacy", "2025-11-25", "http")]


def _from_us() -> list[Pair]:
    pairs = []
    for server in ("trunkline", "python-sdk", "typescript", "fastmcp"):
        for transport in ("http", "stdio"):
            pairs += [Pair("trunkline", server, "auto", MODERN, transport)]
            pairs += [Pair("trunkline", server, "legacy", "2025-11-25", transport)]
    return [*pairs, Pair("trunkline", "python-sdk", "auto", "2025-11-25", "sse")]


PAIRS = [*_to_us(), *_from_us()]
Serving = Callable[[Sequence[str]], str]
"""Starts an HTTP server once and gives its URL."""


def server_command(server: str, how: str) -> list[str]:
    """What starts a workshop: `how` is http, sse or stdio."""
    if server == "trunkline":
        return running.ours("workshop", *(["--http"] if how == "http" else []))
    script = SERVERS[server]
    return [*(running.node(script) if script.endswith(".mjs") else running.python(script)), how]


def client_command(client: str, mode: str, prefix: str = "-") -> list[str]:
    """What starts a client; the server it talks to is to be added."""
    script = CLIENTS[client]
    start = running.node(script) if script.endswith(".mjs") else running.python(script)
    return [*start, mode, f"k{os.getpid()}x{next(_keys)}", prefix]


@functools.cache
def _attempt(pair: Pair, serving: Serving) -> Seen | Exception:
    try:
        return _walk(pair, serving)
    except Exception as error:
        return error


def observe(pair: Pair, serving: Serving) -> Seen:
    """Let the client walk through the server's workshop; a second look at the same pair costs nothing."""
    seen = _attempt(pair, serving)
    if isinstance(seen, Exception):
        raise seen
    return seen


def _walk(pair: Pair, serving: Serving) -> Seen:
    command = server_command(pair.server, pair.transport)
    target = command if pair.transport == "stdio" else [serving(command)]
    if pair.client != "trunkline":
        return running.observe([*client_command(pair.client, pair.mode), *target])
    key = f"k{os.getpid()}x{next(_keys)}"
    era: Era | None = "legacy" if pair.mode == "legacy" else None
    return asyncio.run(walk(command if pair.transport == "stdio" else target[0], key, era))
