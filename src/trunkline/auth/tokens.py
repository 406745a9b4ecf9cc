"""Tokens as a client gets them.

What it is for: the answer of a token endpoint, and what of it is kept.
What may live here: the records, reading an answer. What may not: requests, where records are stored, any text or repr
that holds a secret.
"""

import time
from typing import Self

import msgspec

from trunkline.auth.documents import read
from trunkline.errors import InvalidAnswer, SignInRefused, TransportError

EARLY = 30.0
"""Seconds before its end at which a token counts as expired: clocks differ, and requests take their time."""


class TokenResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A successful answer of a token endpoint (RFC 6749, 5.1; RFC 8693, 2.2.1; OpenID Connect Core, 3.1.3.3).

    Parameters:
        token_type: `Bearer`, `DPoP`, or `N_A` for a token that is no access token; compared without case.
        expires_in: seconds; None where the server does not say.
        scope: as the server writes it, blanks between; None where it granted what was asked for.
    """

    access_token: str
    token_type: str
    expires_in: float | None = None
    refresh_token: str | None = None
    scope: str | None = None
    id_token: str | None = None
    issued_token_type: str | None = None

    def __repr__(self) -> str:
        return f"<TokenResponse {self.token_type}, scope {self.scope!r}, {self.expires_in} s>"


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens that are in use.

    Parameters:
        token_type: `Bearer` or `DPoP`.
        expires_at: seconds since 1970; None where nobody knows.
        scopes: what was granted, as far as the server said, else what was asked for.
        id_token: kept only where a later grant needs it.
    """

    access_token: str
    token_type: str = "Bearer"  # noqa: S105
    expires_at: float | None = None
    refresh_token: str | None = None
    scopes: frozenset[str] = frozenset()
    id_token: str | None = None

    @classmethod
    def of(cls, response: TokenResponse, asked: frozenset[str], previous: "Tokens | None" = None) -> Self:
        """Take an answer into use.

        Parameters:
            asked: the scopes of the request, which are granted where the answer names none (RFC 6749, 5.1).
            previous: the tokens that were refreshed; their refresh token stays where the answer has none (6).
        """
        bound = response.token_type.lower() == "dpop"
        kept = None if previous is None else previous.refresh_token
        return cls(
            access_token=response.access_token,
            token_type="DPoP" if bound else "Bearer",
            expires_at=None if response.expires_in is None else time.time() + response.expires_in,
            refresh_token=response.refresh_token or kept,
            scopes=asked if response.scope is None else frozenset(response.scope.split()),
            id_token=response.id_token,
        )

    def fresh(self, early: float = EARLY) -> bool:
        """Whether the access token can still be used, as far as its end is known."""
        return self.expires_at is None or time.time() + early < self.expires_at

    def __repr__(self) -> str:
        refreshable = self.refresh_token is not None
        return f"<Tokens {self.token_type}, until {self.expires_at}, refreshable {refreshable}, {sorted(self.scopes)}>"


class Registration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an authorization server knows this client as; of no use at any other (client-registration).

    Parameters:
        method: how the client authenticates at the token endpoint: `none`, `client_secret_basic`,
            `client_secret_post`, `private_key_jwt`; None leaves it to the metadata of the server.
        source: how the client got its id: given to it, as a metadata document, or by dynamic registration.
        secret_expires_at: seconds since 1970; None for never.
    """

    client_id: str
    client_secret: str | None = None
    method: str | None = None
    source: str = "given"
    secret_expires_at: float | None = None
    redirect_uris: tuple[str, ...] = ()

    @property
    def expired(self) -> bool:
        """Whether its secret is of no use any more (RFC 7591, 3.2.1)."""
        return self.secret_expires_at is not None and self.secret_expires_at <= time.time()

    def __repr__(self) -> str:
        return f"<Registration {self.client_id} ({self.source}), {self.method}>"


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is kept of a sign-in: enough to go on without a person after a restart.

    Parameters:
        issuer: of the tokens. resource: which they are for. Both are the key, byte for byte.
        requested: every scope that was asked for so far; a step-up adds to them.
        proof_key: the private JWK that the tokens are bound to (DPoP); None for bearer tokens.
    """

    issuer: str
    resource: str
    tokens: Tokens | None = None
    registration: Registration | None = None
    requested: frozenset[str] = frozenset()
    proof_key: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"<Kept {self.issuer} for {self.resource}: {self.tokens!r}, {self.registration!r}>"


class KeptNames(msgspec.Struct, frozen=True):
    """Which sign-in is kept, without its secrets: what a list shows."""

    issuer: str
    resource: str


class _Refusal(msgspec.Struct):
    error: str
    error_description: str = ""


def read_tokens(status: int, body: bytes, issuer: str) -> TokenResponse:
    """Read the answer of a token endpoint.

    Parameters:
        status, body: of the answer. issuer: names the server in errors.

    Raises `SignInRefused` for an OAuth error (RFC 6749, 5.2), `TransportError` while the server is in trouble, and
    `InvalidAnswer` for what is no answer of a token endpoint. None repeats a token.
    """
    what = f"The answer of the token endpoint of {issuer}"
    if status == 200:
        response = read(TokenResponse, body, what)
        if not response.access_token or not _sendable(response.access_token):
            raise InvalidAnswer(f"{what} has an access token that no header can carry")
        return response
    if status >= 500 or status == 429:
        # It is not about what was asked: RFC 6749, 5.2, answers with 400 or 401.
        raise TransportError(f"{what} is {status}: try again later")
    try:
        refusal = read(_Refusal, body, what)
    except InvalidAnswer:
        raise InvalidAnswer(f"{what} is {status} and no OAuth error") from None
    raise SignInRefused(_told(issuer, refusal.error, refusal.error_description), shown(refusal.error), status)


def shown(text: str, limit: int = 200) -> str:
    """A text of another party for people: printable, on one line, not too long."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:limit])


def _told(issuer: str, error: str, description: str) -> str:
    said = f": {shown(description)}" if description else ""
    return f"The authorization server {issuer} refused with {shown(error, 60)}{said}"


def _sendable(token: str) -> bool:
    """Whether a token can stand in a header (RFC 6750, 2.1, is narrower; some servers are not)."""
    return all("\x21" <= letter <= "\x7e" for letter in token)
