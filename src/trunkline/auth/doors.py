"""The doors of sign-in, on the client's side.

What it is for: the shapes that the HTTP channel, the sign-in engine, grants and stores agree on.
What may live here: protocols and the plain records they pass.
What may not: implementations.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from trunkline.auth.documents import ServerMetadata
from trunkline.auth.tokens import Kept, KeptNames, Registration, TokenResponse

if TYPE_CHECKING:
    from trunkline.auth.fetching import Fetcher

Headers = tuple[tuple[str, str], ...]


@runtime_checkable
class Credentials(Protocol):
    """What a client's HTTP channel asks, for each request. One is for one server, any number of requests at a time."""

    async def headers(self, method: str, url: str) -> Headers:
        """What a request is to carry, now: a token that expires is refreshed before. Raises `SignInError`."""

    def seen(self, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> None:
        """Any answer came: a `DPoP-Nonce` may ride on it (RFC 9449, 8.2). Never raises.

        Parameters:
            sent: what `headers` gave for the request.
        """

    async def challenged(self, method: str, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> bool:
        """An answer, which `seen` knows already, was 401 or 403; True when the request is to be sent again.

        It is sent with what `headers` gives then. False leaves the answer to the caller: it is no challenge that
        anything can be done about. Raises `SignInError` where something was tried in vain, so often that trying on
        makes no sense, or where a person is missing.

        Parameters:
            sent: what `headers` gave for the request: its token may not be the newest any more.
        """


class Proven(msgspec.Struct, frozen=True):
    """What a request carries to prove which client it comes from: form fields and headers. Both may be secret."""

    form: Mapping[str, str] = {}
    headers: Headers = ()

    def __repr__(self) -> str:
        return f"<Proven by {sorted(self.form)} and {[name for name, _ in self.headers]}>"


class ClientAuthentication(Protocol):
    """How a client proves at a token endpoint who it is (RFC 6749, 2.3; RFC 7523, 2.2)."""

    @property
    def client_id(self) -> str:
        """What the authorization server knows the client as."""

    async def prove(self, metadata: ServerMetadata) -> Proven:
        """What the next request to this server's token endpoint carries; asked again for every request."""


class TokenEndpoint(Protocol):
    """An authorization server's token endpoint as a grant sees it.

    The `resource` parameter (RFC 8707), DPoP proofs and the server's nonces are its business, not the grant's.
    """

    @property
    def issuer(self) -> str:
        """The authorization server, as it was validated."""

    @property
    def metadata(self) -> ServerMetadata:
        """What it says of itself."""

    @property
    def resource(self) -> str:
        """What the tokens are for."""

    @property
    def fetcher(self) -> "Fetcher":
        """For requests to others that take part, under the same rules."""

    @property
    def bound(self) -> bool:
        """Whether tokens are asked for that are bound to a key (RFC 9449)."""

    registration: Registration | None
    """What the server knows this client as, where that is kept: a grant that registers sets it."""

    async def request(self, form: Mapping[str, str], client: ClientAuthentication | None) -> TokenResponse:
        """Ask for tokens.

        Parameters:
            form: the parameters of the grant, `grant_type` among them.
            client: who asks; None where the grant itself says so.

        Raises `SignInRefused` for an OAuth error, `TransportError` when the server cannot be reached.
        """


class Grant(Protocol):
    """How a first access token comes about."""

    @property
    def interactive(self) -> bool:
        """Whether a person takes part, so that it must not happen unasked."""

    @property
    def issuer(self) -> str | None:
        """The one authorization server it is for, whose credentials it holds; None for any."""

    async def obtain(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        """Get tokens of these scopes; of none where the set is empty. Raises `SignInError` or `TransportError`."""

    def client(self, endpoint: TokenEndpoint) -> ClientAuthentication | None:
        """Who refreshes what `obtain` got, as the same client; None for who needs not say so."""


class TokenStore(Protocol):
    """Where sign-ins are kept, by issuer and resource, each byte for byte."""

    async def load(self, issuer: str, resource: str) -> Kept | None:
        """What is kept of a sign-in."""

    async def save(self, kept: Kept) -> None:
        """Keep a sign-in, instead of what was kept under its issuer and resource."""

    async def forget(self, issuer: str, resource: str) -> bool:
        """Keep it no longer; whether it was there."""

    async def list(self) -> list[KeptNames]:
        """What is kept, without secrets."""

    def lock(self, issuer: str, resource: str) -> AbstractAsyncContextManager[None]:
        """Alone with a sign-in, over tasks and processes: of several that refresh, one does."""
