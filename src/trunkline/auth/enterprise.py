"""Access that an enterprise decides on.

What it is for: who signed in at the enterprise's identity provider gets to every MCP server it approves, silently
(enterprise-managed authorization extension).
What may live here: that grant, and the exchange at the identity provider. What may not: signing people in.

The identity provider turns the identity into an assertion for one authorization server and one MCP server (an ID-JAG,
by RFC 8693); the authorization server turns that into an access token (RFC 7523).
"""

from collections.abc import Awaitable, Callable

import msgspec

from trunkline.auth.addresses import AddressRules, shown
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.doors import ClientAuthentication, TokenEndpoint
from trunkline.auth.fetching import Fetcher
from trunkline.auth.metadata import find_server
from trunkline.auth.one_issuer import bound
from trunkline.auth.tokens import TokenResponse, read_tokens
from trunkline.errors import ConfigError, SignInError

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
REFRESH_TOKEN = "urn:ietf:params:oauth:token-type:refresh_token"  # noqa: S105

Secret = str | Callable[[], Awaitable[str]]
"""A secret, or what gives the present one each time it is needed."""


class IdentityProvider(msgspec.Struct, frozen=True):
    """The identity provider of an enterprise, as its administrator configures it.

    Parameters:
        issuer: its identifier.
        client: what this client is to it; often another id than the authorization server of a server has for it.
        token_endpoint: where tokens are exchanged; by default found by the issuer's metadata.
        fetcher: makes the requests; by default one that reaches the issuer and public addresses.

        IdentityProvider("https://login.example.com", SecretClient("agent", secret))
    """

    issuer: str
    client: ClientAuthentication
    token_endpoint: str | None = None
    fetcher: Fetcher | None = None

    async def assertion(
        self, subject: str, subject_type: str, endpoint: TokenEndpoint, scopes: frozenset[str]
    ) -> TokenResponse:
        """Exchange an identity for an ID-JAG (4 of the extension).

        Parameters:
            subject, subject_type: the identity, and what it is: `ID_TOKEN` or `REFRESH_TOKEN`.
            endpoint: where the assertion will be used. scopes: to ask for.

        Raises `SignInRefused` where policy says no, `SignInError` for an answer that is no ID-JAG, `TransportError`.
        """
        fetcher = self.fetcher or Fetcher(AddressRules.around(self.issuer))
        metadata = await self._metadata(fetcher)
        proven = await self.client.prove(metadata)
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "requested_token_type": ID_JAG,
            "audience": endpoint.issuer,
            "resource": endpoint.resource,
            "subject_token": subject,
            "subject_token_type": subject_type,
            **({"scope": " ".join(sorted(scopes))} if scopes else {}),
            **proven.form,
        }
        answer = await fetcher.post(metadata.token_endpoint or "", form, proven.headers)
        response = read_tokens(answer.status, answer.body, shown(self.issuer))
        if response.issued_token_type != ID_JAG:
            # An access token of the enterprise must not end up at the authorization server of some MCP server.
            raise SignInError(
                f"The identity provider {shown(self.issuer)} answered with {shown(str(response.issued_token_type))} "
                "and not with an ID-JAG, so it is not sent on: it does not do enterprise-managed authorization"
            )
        return response

    async def _metadata(self, fetcher: Fetcher) -> ServerMetadata:
        if self.token_endpoint is not None:
            return ServerMetadata(issuer=self.issuer, token_endpoint=self.token_endpoint)
        metadata = await find_server(fetcher, self.issuer)
        if metadata.token_endpoint is None:
            raise SignInError(f"The identity provider {shown(self.issuer)} has no token endpoint")
        return metadata


class EnterpriseManaged:
    """Tokens for a person who is signed in at the enterprise's identity provider; nobody is asked anything.

    Parameters:
        provider: the identity provider.
        id_token: what it says of the person: a token, or what gives the present one, since they end.
        refresh_token: a refresh token of the identity provider, in place of an ID token.
        client: what this client is to the authorization server of the MCP server.
        issuer: that authorization server. Without it, the first one that the MCP server names is taken to be it, and
            shown the client's credentials.

    Raises `ConfigError` for neither or both of the tokens.

        provider = IdentityProvider("https://login.example.com", SecretClient("agent", secret))
        Client(url, auth=EnterpriseManaged(provider, id_token=read_id_token, client=SecretClient("agent-7", other)))
    """

    interactive = False

    def __init__(
        self,
        provider: IdentityProvider,
        *,
        id_token: Secret | None = None,
        refresh_token: Secret | None = None,
        client: ClientAuthentication,
        issuer: str | None = None,
    ) -> None:
        if (id_token is None) == (refresh_token is None):
            raise ConfigError("Enterprise-managed authorization needs either an ID token or a refresh token")
        self.issuer = issuer
        self._provider = provider
        self._subject: Secret = id_token or refresh_token or ""
        self._subject_type = ID_TOKEN if refresh_token is None else REFRESH_TOKEN
        self._client = client

    async def obtain(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        """See `Grant.obtain`."""
        self.issuer = bound(self.issuer, endpoint.issuer)
        subject = self._subject if isinstance(self._subject, str) else await self._subject()
        assertion = await self._provider.assertion(subject, self._subject_type, endpoint, scopes)
        form = {"grant_type": JWT_BEARER, "assertion": assertion.access_token}
        # What policy left of the scopes; to ask for more would have the assertion refused.
        granted = " ".join(sorted(scopes)) if assertion.scope is None else assertion.scope
        if granted:
            form["scope"] = granted
        return await endpoint.request(form, self._client)

    def client(self, endpoint: TokenEndpoint) -> ClientAuthentication:
        """See `Grant.client`."""
        return self._client

    def __repr__(self) -> str:
        return f"<EnterpriseManaged by {self._provider.issuer}, client {self._client.client_id}>"
