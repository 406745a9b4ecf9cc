"""A legacy HTTP session that several processes of ours share.

What it is for: the session one process began is used by another, and begun anew once when the server forgot it
(2025-11-25, Session Management).
What may live here: what has to be known to use a session, and who is asked for it. What may not: where that is kept.
"""

from typing import Protocol

import msgspec


class Handed(msgspec.Struct, frozen=True):
    """A session, as the `initialize` exchange left it.

    Parameters:
        session: the `Mcp-Session-Id`.
        revision, capabilities, server_info, instructions: what was agreed and told.
        listening: this process opens the standalone GET stream; a server may allow one for each session.
    """

    session: str
    revision: str
    capabilities: dict[str, object] = {}
    server_info: dict[str, object] = {}
    instructions: str | None = None
    listening: bool = True


class Handover(Protocol):
    """Where the processes keep the session they share."""

    async def find(self, lost: str | None) -> Handed | None:
        """The session to use; None when there is none, or only the one that is lost."""

    async def keep(self, handed: Handed, lost: str | None) -> Handed:
        """Keep a new session instead of a lost one; returns the one to use: another process may have been first."""

    async def leave(self, session: str) -> bool:
        """This process uses it no longer; whether nobody else does, so that it can be ended."""
