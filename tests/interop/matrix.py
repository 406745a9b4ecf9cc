"""Who was run against whom, as the table of `docs/interoperability.md`; `python -m tests.interop.matrix` writes it.

The table is made of what the tests run, and names the versions that the set-up installs.
"""

import json
import re
from collections.abc import Iterable

from tests.interop.expectations import steps
from tests.interop.pairs import EVERYTHING, INSPECTED, LEGACY, MODERN, PAIRS, Pair
from tests.interop.running import ROOT

PAGE = ROOT / "docs/interoperability.md"
BEGIN, END = "<!-- written by tests/interop/matrix.py -->", "<!-- end -->"
REVISIONS = (MODERN, *LEGACY)
TRANSPORTS = {"http": "HTTP", "stdio": "stdio", "sse": "HTTP+SSE"}
CLIENTS = {
    "trunkline": "trunkline",
    "python-sdk": "Python SDK, `mcp` {mcp}",
    "typescript": "TypeScript SDK, `@modelcontextprotocol/client` {@modelcontextprotocol/client}",
    "typescript-v1": "TypeScript SDK v1, `@modelcontextprotocol/sdk` {@modelcontextprotocol/sdk}",
    "fastmcp": "FastMCP {fastmcp}",
    "inspector": "Inspector's command line {@modelcontextprotocol/inspector}",
}
SERVERS = {
    "trunkline": "trunkline",
    "python-sdk": "Python SDK, `mcp` {mcp}",
    "typescript": "TypeScript SDK, `@modelcontextprotocol/server` {@modelcontextprotocol/server}",
    "fastmcp": "FastMCP {fastmcp}",
    "everything": "`server-everything` {@modelcontextprotocol/server-everything}",
    "gateway over python-sdk": "trunkline's gateway, the Python SDK behind it over stdio",
    "gateway over typescript": "trunkline's gateway, the TypeScript SDK behind it over HTTP",
    "gateway over launched": "trunkline's gateway, the TypeScript SDK behind it over stdio",
    "gateway over python-http": "trunkline's gateway, the Python SDK behind it over HTTP",
    "gateway over sse": "trunkline's gateway, the Python SDK behind it over HTTP+SSE",
    "gateway over fastmcp": "trunkline's gateway, FastMCP behind it over HTTP",
    "gateway over sessions": "trunkline's gateway, the TypeScript SDK behind it over HTTP, 2025-11-25 alone",
}


def versions() -> dict[str, str]:
    """What `make` installs of each peer."""
    package = json.loads((ROOT / "conformance/package.json").read_text())
    pinned = re.findall(
        r"^([\w-]+)(?:\[[\w,-]+\])?==(\S+)$", (ROOT / "conformance/peers.txt").read_text(), re.MULTILINE
    )
    return {**package["dependencies"], **dict(pinned)}


def named(text: str) -> str:
    """A name with the version that is installed."""
    known = versions()
    return re.sub(r"\{([^}]+)\}", lambda match: known[match[1]], text)


def rows(pairs: Iterable[Pair]) -> dict[tuple[str, str], list[Pair]]:
    """Connections by client and server, in the order they are run."""
    grouped: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault((pair.client, pair.server), []).append(pair)
    return grouped


def cells(pairs: Iterable[Pair]) -> list[str]:
    """For each revision, the transports it was spoken over."""
    return [_transports(pair.transport for pair in pairs if pair.revision == revision) for revision in REVISIONS]


def _transports(spoken: Iterable[str]) -> str:
    present = set(spoken)
    return ", ".join(name for transport, name in TRANSPORTS.items() if transport in present)


def table() -> str:
    """The table in Markdown."""
    lines = ["| client | server | " + " | ".join(REVISIONS) + " |", "|---" * (len(REVISIONS) + 2) + "|"]
    for (client, server), pairs in rows([*PAIRS, *INSPECTED, *EVERYTHING]).items():
        lines.append(" | ".join([f"| {named(CLIENTS[client])}", named(SERVERS[server]), *cells(pairs)]) + " |")
    looks = sum(len(steps(pair)) for pair in PAIRS)
    connections = len(PAIRS) + len(INSPECTED) + len(EVERYTHING)
    return "\n".join([*lines, "", f"{connections} connections; at {len(PAIRS)} of them, {looks} things are looked at."])


def page(text: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
