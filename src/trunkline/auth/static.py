"""Tokens that were handed out by hand.

What it is for: tell a few known callers apart without an identity provider.
What may live here: look-up of a bearer token in a fixed list, and reading such a list from configuration records.
What may not: issuing tokens, anything that keeps or shows one.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from trunkline.engine.doors import RequestFacts
from trunkline.engine.principal import Principal
from trunkline.errors import ConfigError, Unauthenticated

ISSUER = "static-token"
"""The issuer of principals that are known by a static token."""

_BEARER = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{64}")


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token in a configuration. Exactly one of `sha256` and `secret` says what the token is.

    Parameters:
        name: the subject of whoever uses it.
        sha256: hex SHA-256 of the token: `printf %s TOKEN | sha256sum`.
        secret: where the token is: `env:NAME` or `file:PATH`.
        tools: `*` patterns of the tools it may see and call; None allows all.
    """

    name: str
    sha256: str | None = None
    secret: str | None = None
    tools: tuple[str, ...] | None = None


class StaticTokens:
    """Authenticates `Authorization: Bearer` against a fixed list.

    Parameters:
        tokens: token -> who uses it. Only digests are kept.

    Raises `ConfigError` for an empty list or token.

        Server("x", auth=StaticTokens({"s3cret": Principal("static-token", "alice")}))
    """

    def __init__(self, tokens: Mapping[str, Principal]) -> None:
        if not all(tokens):
            raise ConfigError("A static token is empty")
        self._principals = _known(
            (hashlib.sha256(token.encode()).digest(), principal) for token, principal in tokens.items()
        )

    @classmethod
    def from_records(cls, records: Sequence[TokenRecord], folder: Path | None = None) -> "StaticTokens":
        """Read a configuration's list; relative `file:` paths start at `folder`. Raises `ConfigError`."""
        made = cls.__new__(cls)
        made._principals = _known((_digest(record, folder or Path()), _principal(record)) for record in records)
        return made

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Who holds the token. Raises `Unauthenticated`."""
        header = facts.headers.get(b"authorization")
        if header is None:
            raise Unauthenticated("This endpoint needs a bearer token", (("WWW-Authenticate", "Bearer"),))
        bearer = _BEARER.fullmatch(header)
        digest = hashlib.sha256(bearer[1]).digest() if bearer else b""
        found: Principal | None = None
        # Every entry is compared, so that the time taken tells nothing about the list.
        for known, principal in self._principals:
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None:
            challenge = 'Bearer error="invalid_token"'
            raise Unauthenticated("The bearer token is not valid here", (("WWW-Authenticate", challenge),))
        return found

    def __repr__(self) -> str:
        return f"StaticTokens({len(self._principals)} tokens)"


def _known(pairs: Iterable[tuple[bytes, Principal]]) -> tuple[tuple[bytes, Principal], ...]:
    known = tuple(pairs)
    if not known:
        raise ConfigError("The list of static tokens is empty: nobody could call")
    if len({digest for digest, _ in known}) != len(known):
        names = ", ".join(principal.subject for _, principal in known)
        raise ConfigError(f"Two of the static tokens are the same; they belong to {names}")
    return known


def _principal(record: TokenRecord) -> Principal:
    return Principal(issuer=ISSUER, subject=record.name, client=record.name, tools=record.tools)


def _digest(record: TokenRecord, folder: Path) -> bytes:
    if (record.sha256 is None) == (record.secret is None):
        raise ConfigError(f"The token {record.name!r} needs either sha256 or secret")
    if record.sha256 is not None:
        if not _DIGEST.fullmatch(record.sha256.lower()):
            raise ConfigError(f"The sha256 of token {record.name!r} is not 64 hexadecimal digits")
        return bytes.fromhex(record.sha256)
    token = _secret(record.name, record.secret or "", folder)
    if not token:
        raise ConfigError(f"The secret of token {record.name!r} is empty")
    return hashlib.sha256(token.encode()).digest()


def _secret(name: str, reference: str, folder: Path) -> str:
    kind, _, place = reference.partition(":")
    if kind == "env":
        if place not in os.environ:
            raise ConfigError(f"The token {name!r} is to come from the environment variable {place}, which is not set")
        return os.environ[place]
    if kind == "file":
        try:
            return (folder / place).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The token {name!r} cannot be read from {place}: {type(error).__name__}") from None
    # The reference is not repeated: somebody may have written the token itself there.
    raise ConfigError(f"The secret of token {name!r} must be written env:NAME or file:PATH")
