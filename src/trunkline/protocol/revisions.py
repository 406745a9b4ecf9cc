"""Protocol revisions and their differences, as data.

What it is for: which revisions exist, which era each belongs to, what a peer of each can be told.
What may live here: facts and pure functions that shape a result for a revision.
What may not: decisions that depend on a connection.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

Era = Literal["modern", "legacy"]


class Revision(msgspec.Struct, frozen=True):
    """One released revision of the protocol and what distinguishes it on the wire."""

    name: str
    era: Era
    batches: bool = False
    version_header: bool = True
    """Sends `MCP-Protocol-Version` on every HTTP request (2025-06-18 and later)."""
    resource_links: bool = True
    audio: bool = True
    structured_output: bool = True
    elicitation: bool = True
    elicitation_modes: bool = False
    """Knows `mode` in `elicitation/create`: form or URL (2025-11-25, client/elicitation)."""
    resumable_priming: bool = False
    """Streams open with an event that carries only an id (2025-11-25, Sending Messages, item 6)."""
    served: bool = True
    """Served to clients; the others are spoken towards upstreams only."""


R_2026_07_28 = Revision("2026-07-28", "modern", elicitation_modes=True)
R_2025_11_25 = Revision("2025-11-25", "legacy", elicitation_modes=True, resumable_priming=True)
R_2025_06_18 = Revision("2025-06-18", "legacy")
R_2025_03_26 = Revision(
    "2025-03-26",
    "legacy",
    batches=True,
    version_header=False,
    resource_links=False,
    structured_output=False,
    elicitation=False,
)
R_2024_11_05 = Revision(
    "2024-11-05",
    "legacy",
    batches=False,
    version_header=False,
    resource_links=False,
    audio=False,
    structured_output=False,
    elicitation=False,
    served=False,
)

REVISIONS: dict[str, Revision] = {
    revision.name: revision for revision in (R_2026_07_28, R_2025_11_25, R_2025_06_18, R_2025_03_26, R_2024_11_05)
}
"""Every revision known, newest first."""

MODERN: tuple[str, ...] = tuple(name for name, revision in REVISIONS.items() if revision.era == "modern")
LEGACY: tuple[str, ...] = tuple(name for name, revision in REVISIONS.items() if revision.era == "legacy")
SERVED: tuple[str, ...] = tuple(name for name, revision in REVISIONS.items() if revision.served)
LATEST_MODERN = MODERN[0]
LATEST_LEGACY = LEGACY[0]

CACHEABLE: frozenset[str] = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""Methods whose complete results carry `ttlMs` and `cacheScope` (utilities/caching, Cacheable Results)."""

INPUT_METHODS: frozenset[str] = frozenset({"tools/call", "resources/read", "prompts/get"})
"""Methods that may be answered with `input_required` (patterns/mrtr, Supported Requests)."""

NAME_PARAMS: dict[str, str] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods that carry `Mcp-Name`, and the parameter it mirrors (Streamable HTTP, Standard Request Headers)."""

LOG_LEVELS: tuple[str, ...] = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def negotiate(requested: str) -> Revision:
    """The revision to answer an `initialize` with (2025-11-25, lifecycle, Version Negotiation)."""
    revision = REVISIONS.get(requested)
    if revision is None or revision.era != "legacy" or not revision.served:
        return REVISIONS[LATEST_LEGACY]
    return revision


def downgrade(revision: Revision, result: dict[str, object]) -> dict[str, object]:
    """Shape a result for a legacy peer: leave out what its revision does not know.

    `resultType`, `ttlMs` and `cacheScope` belong to 2026-07-28; `structuredContent` with its `outputSchema` and
    `resource_link` came with 2025-06-18. A link becomes a text block so that nothing is lost to the reader.
    """
    shaped = {key: value for key, value in result.items() if key not in ("resultType", "ttlMs", "cacheScope")}
    if not revision.structured_output:
        # A client that was shown the schema may insist on the content (Python and TypeScript SDKs do).
        shaped.pop("structuredContent", None)
        tools = shaped.get("tools")
        if isinstance(tools, list):
            shaped["tools"] = [_without_output(tool) for tool in tools]
    content = shaped.get("content")
    if not revision.resource_links and isinstance(content, list):
        shaped["content"] = [_link_as_text(block) for block in content]
    return shaped


def common(ours: Iterable[str], theirs: Iterable[str]) -> str | None:
    """The newest revision both lists hold, or None."""
    offered = set(theirs)
    return next((name for name in sorted(ours, reverse=True) if name in offered), None)


def _without_output(tool: object) -> object:
    return {key: value for key, value in tool.items() if key != "outputSchema"} if isinstance(tool, dict) else tool


def _link_as_text(block: object) -> object:
    if not isinstance(block, dict) or block.get("type") != "resource_link":
        return block
    return {"type": "text", "text": f"{block.get('title') or block.get('name', '')}: {block.get('uri', '')}"}
