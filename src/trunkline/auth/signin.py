"""Signing a person in.

What it is for: the grant in which a person takes part: known to the server, sent to its page, and back with a code.
What may live here: the order of these steps. What may not: the steps, each has a file of its own; keeping tokens.
"""

from contextlib import AsyncExitStack
from functools import partial

from trunkline.auth.browser import Browser, UserAgent, Visit
from trunkline.auth.client_authentication import client_of
from trunkline.auth.code import accept, begin, is_answer
from trunkline.auth.doors import ClientAuthentication, TokenEndpoint
from trunkline.auth.one_issuer import bound
from trunkline.auth.registration import by_document, check_document_address, forgotten, register
from trunkline.auth.tokens import Registration, TokenResponse
from trunkline.errors import ConfigError, SignInError, SignInRefused


class SignIn:
    """A person signs in with their browser (OAuth 2.1, 4.1).

    Parameters:
        client_id, client_secret: what the authorization server knows this client as, where somebody registered it.
        client: the same for a client that proves itself in another way, for example with a key (`KeyClient`).
        issuer: the authorization server that did; at any other, they are not used. Without it, the first one a server
            names is taken to be it.
        document: the https address of a client ID metadata document of this client, for servers that take such.
        name: what the person sees when asked, where the client registers itself.
        redirect_uri: where the browser comes back to, for clients that are registered with one; by default a free port
            of the loopback.
        agent: takes the person there.

    Raises `ConfigError` for what cannot be a metadata document's address, and for a secret without a client id.

        Client("https://mcp.example.com/mcp", auth=SignIn())
    """

    interactive = True

    def __init__(
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        client: ClientAuthentication | None = None,
        issuer: str | None = None,
        document: str | None = None,
        name: str = "trunkline",
        redirect_uri: str | None = None,
        agent: UserAgent | None = None,
    ) -> None:
        if document is not None:
            check_document_address(document)
        if client_secret is not None and client_id is None:
            raise ConfigError("A client secret belongs to a client id: give both")
        if client is not None and client_id is not None:
            raise ConfigError("Give either a client id or a client: each says who this client is")
        self.issuer = issuer
        self._client = client
        known = client_id if client is None else client.client_id
        self._given = None if known is None else Registration(client_id=known, client_secret=client_secret)
        self._document = document
        self._name = name
        self._redirect_uri = redirect_uri
        self._agent: UserAgent = agent or Browser()

    def __repr__(self) -> str:
        return f"<SignIn {self._name}{f' at {self.issuer}' if self.issuer else ''}>"

    async def obtain(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        """See `Grant.obtain`. A registration that the server has forgotten is made anew, once."""
        known = endpoint.registration is not None
        try:
            return await self._obtained(endpoint, scopes)
        except SignInRefused as refusal:
            if not known or not forgotten(refusal, endpoint.registration):
                raise
        endpoint.registration = None
        return await self._obtained(endpoint, scopes)

    def client(self, endpoint: TokenEndpoint) -> ClientAuthentication | None:
        """See `Grant.client`."""
        if self._client is not None:
            return self._client
        return None if endpoint.registration is None else client_of(endpoint.registration)

    async def _obtained(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        async with AsyncExitStack() as stack:
            visit = await self._visit(endpoint, stack)
            registration = endpoint.registration = await self._registered(endpoint, visit.redirect_uri)
            attempt, page = begin(
                endpoint.metadata, registration.client_id, visit.redirect_uri, endpoint.resource, scopes
            )
            # A browser opens anything: file:, and programs of this machine that have a scheme.
            endpoint.fetcher.rules.checked(page)
            code = accept(attempt, await visit.go(page, partial(is_answer, attempt)))
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
        return await endpoint.request(form, self.client(endpoint))

    async def _visit(self, endpoint: TokenEndpoint, stack: AsyncExitStack) -> Visit:
        """Listen where the client is registered to listen; elsewhere where that is taken, which needs registering."""
        kept = endpoint.registration
        if self._redirect_uri is None and _made(kept) and kept is not None and kept.redirect_uris:
            try:
                return await stack.enter_async_context(self._agent.visit(kept.redirect_uris[0]))
            except (SignInError, ConfigError):
                endpoint.registration = None
        return await stack.enter_async_context(self._agent.visit(self._redirect_uri))

    async def _registered(self, endpoint: TokenEndpoint, redirect_uri: str) -> Registration:
        """What the server knows this client as, in the order of client-registration."""
        metadata = endpoint.metadata
        if self._given is not None:
            self.issuer = bound(self.issuer, endpoint.issuer)
            return self._given
        by_address = by_document(metadata, self._document)
        if by_address is not None:
            return by_address
        kept = endpoint.registration
        if kept is not None and _made(kept) and redirect_uri in kept.redirect_uris and not kept.expired:
            return kept
        try:
            return await register(endpoint.fetcher, metadata, self._name, [redirect_uri], dpop=endpoint.bound)
        except SignInRefused as refusal:
            # Servers differ on which names of this machine a native application may use (RFC 8252, 8.3).
            other = redirect_uri.replace("//127.0.0.1:", "//localhost:")
            if refusal.error != "invalid_redirect_uri" or other == redirect_uri or self._redirect_uri is not None:
                raise
            raise SignInRefused(
                f"{refusal.message}. Give the address to come back to, such as redirect_uri={other!r}",
                refusal.error,
                refusal.status,
            ) from None


def _made(registration: Registration | None) -> bool:
    return registration is not None and registration.source == "registered"
