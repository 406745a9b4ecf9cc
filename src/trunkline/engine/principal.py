"""Who calls.

What it is for: the identity every sealed or owned thing is bound to.
What may live here: the record and its comparisons, and the door to what its credentials allow.
What may not: how an identity is proved (that is an `Authenticator`).
"""

from typing import Protocol

import msgspec

from trunkline.engine.patterns import matches
from trunkline.protocol.messages import Params


class Access(Protocol):
    """What the credentials of a principal allow."""

    @property
    def hiding(self) -> bool:
        """Whether it hides anything at all."""

    def demand(self, principal: "Principal", method: str, params: Params) -> None:
        """Raise `Forbidden` or `Unauthenticated`, saying what it takes, where they do not allow a request."""

    def hides(self, kind: str, name: str) -> bool:
        """Whether something (`tools`, `prompts`, `resources`) is not even listed: no sign-in would unlock it."""


class Principal(msgspec.Struct, frozen=True):
    """Who calls. Ownership is (issuer, subject); the client is recorded, not part of the key.

    Parameters:
        issuer: who vouches for the subject.
        subject: the issuer's name for the caller.
        client: the software that calls, as the issuer knows it.
        scopes: what the credentials allow.
        tools: names of tools the caller may see and call, `*` matches any run of characters; None allows all.
        access: what its credentials allow beyond that; None allows all.
    """

    issuer: str
    subject: str
    client: str | None = None
    scopes: frozenset[str] = frozenset()
    tools: tuple[str, ...] | None = None
    access: Access | None = None

    @property
    def owner(self) -> str:
        """The key of what this principal owns: unambiguous, printable, without secrets."""
        return f"{len(self.issuer)}:{self.issuer}:{self.subject}"

    def may_call(self, tool: str) -> bool:
        """Whether a tool of this name exists for the caller."""
        return self.tools is None or any(matches(pattern, tool) for pattern in self.tools)


ANONYMOUS = Principal(issuer="", subject="anonymous")
"""Everybody, where nobody signs in (DESIGN: Principals)."""
