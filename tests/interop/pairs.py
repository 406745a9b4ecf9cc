"""Who talks to whom: a client, a server, what the client is told to speak, what it must get, over which transport."""

import asyncio
import functools
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
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
    def upstream(self) -> str | None:
        """The server behind our gateway, when it is the gateway the client talks to."""
        through, _, upstream = self.server.partition(" over ")
        return upstream if through == "gateway" else None

    @property
    def workshop(self) -> str:
        """The server whose workshop the client sees."""
        known = {"sessions": "typescript", "launched": "typescript", "sse": "python-sdk", "python-http": "python-sdk"}
        return known.get(self.upstream or "", self.upstream or self.server)

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


def _through_us() -> list[Pair]:
    pairs = []
    for upstream in ("gateway over python-sdk", "gateway over typescript"):
        for client in ("python-sdk", "typescript"):
            pairs += [Pair(client, upstream, "auto", MODERN, "http")]
            pairs += [Pair(client, upstream, "2025-11-25", "2025-11-25", "http")]
        pairs += [Pair("typescript-v1", upstream, "legacy", "2025-11-25", "http")]
        pairs += [Pair("fastmcp", upstream, "auto", MODERN, "http")]
        pairs += [Pair("python-sdk", upstream, "auto", MODERN, "stdio")]
        pairs += [Pair("typescript", upstream, "2025-11-25", "2025-11-25", "stdio")]
    # The TypeScript one again, as a server that knows no newer revision than 2025-11-25, and launched; the Python one
    # over HTTP, and over HTTP+SSE.
    for upstream in ("sessions", "sse", "fastmcp", "launched", "python-http"):
        for client in ("python-sdk", "typescript"):
            for mode, revision in (("auto", MODERN), ("2025-11-25", "2025-11-25")):
                pairs += [Pair(client, f"gateway over {upstream}", mode, revision, "http")]
    return pairs


PAIRS = [*_to_us(), *_from_us(), *_through_us()]
INSPECTED = [
    Pair("inspector", "trunkline", "modern", MODERN, "http"),
    Pair("inspector", "trunkline", "legacy", "2025-11-25", "http"),
    Pair("inspector", "trunkline", "auto", MODERN, "stdio"),
    Pair("inspector", "gateway over python-sdk", "auto", MODERN, "http"),
]
"""What `test_inspector` runs."""

EVERYTHING = [Pair("trunkline", "everything", "auto", "2025-11-25", how) for how in ("stdio", "sse", "http")]
"""What `test_everything` runs."""

_MET = {
    "typescript": ("typescript", "http"),
    "sessions": ("typescript", "sessions"),
    "sse": ("python-sdk", "sse"),
    "python-http": ("python-sdk", "http"),
    "fastmcp": ("fastmcp", "http"),
}
"""The upstreams that are met over HTTP: whose they are, and what they speak."""

_LAUNCHED = {"python-sdk": "python-sdk", "launched": "typescript"}
"""The others: whose they are."""

LABEL = "shop"
"""What the upstream is called in the gateway's configuration."""

_folder = tempfile.TemporaryDirectory(prefix="trunkline-interop-")
Serving = Callable[[Sequence[str]], str]
"""Starts an HTTP server once and gives its URL."""


def server_command(server: str, how: str) -> list[str]:
    """What starts a workshop: `how` is http, sessions, sse or stdio."""
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


def gateway_command(upstream: str, how: str, serving: Serving) -> list[str]:
    """What starts our gateway over one upstream."""
    if upstream in _MET:
        server, spoken = _MET[upstream]
        entry: dict[str, object] = {"url": serving(server_command(server, spoken))}
    else:
        command, *arguments = server_command(_LAUNCHED[upstream], "stdio")
        entry = {"command": command, "args": arguments}
    file = Path(_folder.name, f"{upstream}.json")
    file.write_text(json.dumps({"mcpServers": {LABEL: entry}}))
    return running.trunkline("up", str(file), *(["--stdio"] if how == "stdio" else ["--port", "0", "--no-table"]))


def reach(pair: Pair, serving: Serving) -> tuple[list[str], str]:
    """What starts the server of a pair, and what stands before the names it shows."""
    if pair.upstream is None:
        return server_command(pair.server, pair.transport), ""
    return gateway_command(pair.upstream, pair.transport, serving), f"{LABEL}__"


def _walk(pair: Pair, serving: Serving) -> Seen:
    command, prefix = reach(pair, serving)
    target = command if pair.transport == "stdio" else [serving(command)]
    if pair.client != "trunkline":
        return running.observe([*client_command(pair.client, pair.mode, prefix or "-"), *target])
    key = f"k{os.getpid()}x{next(_keys)}"
    era: Era | None = "legacy" if pair.mode == "legacy" else None
    return asyncio.run(walk(command if pair.transport == "stdio" else target[0], key, era))
