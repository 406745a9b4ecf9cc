"""A client that acts for itself.

What it is for: tokens without a person, by credentials that were registered beforehand (OAuth client credentials
extension).
What may live here: that grant. What may not: how the client proves who it is, see `client_authentication`.
"""

from collections.abc import Mapping

from trunkline.auth.assertions import Signer
from trunkline.auth.client_authentication import KeyClient, SecretClient
from trunkline.auth.doors import ClientAuthentication, TokenEndpoint
from trunkline.auth.one_issuer import bound
from trunkline.auth.tokens import TokenResponse
from trunkline.errors import ConfigError


class ClientCredentials:
    """Tokens for the client itself, by a secret or, better, by a key (RFC 6749, 4.4; RFC 7523, 2.2).

    Parameters:
        client_id: as the authorization server knows it.
        secret: the client's secret.
        key: its private key instead, PEM or JWK, or a `Signer` for one that is particular about algorithm or `kid`.
        issuer: the authorization server that knows the client. Without it, the first one that the MCP server names is
            taken to be it, and shown the credentials.

    Raises `ConfigError` for neither or both of secret and key, and for what is no key.

        Client(url, auth=ClientCredentials("reports", key=Path("reports.pem").read_text(), issuer="https://id.example.com"))
    """

    interactive = False

    def __init__(
        self,
        client_id: str,
        secret: str | None = None,
        *,
        key: Signer | str | bytes | Mapping[str, str] | None = None,
        issuer: str | None = None,
    ) -> None:
        self.issuer = issuer
        self._client = confidential(client_id, secret, key)

    async def obtain(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        """See `Grant.obtain`."""
        self.issuer = bound(self.issuer, endpoint.issuer)
        form = {"grant_type": "client_credentials"}
        if scopes:
            form["scope"] = " ".join(sorted(scopes))
        return await endpoint.request(form, self._client)

    def client(self, endpoint: TokenEndpoint) -> ClientAuthentication:
        """See `Grant.client`."""
        return self._client

    def __repr__(self) -> str:
        return f"<ClientCredentials of {self._client.client_id}{f' at {self.issuer}' if self.issuer else ''}>"


def confidential(
    client_id: str, secret: str | None, key: Signer | str | bytes | Mapping[str, str] | None
) -> SecretClient | KeyClient:
    """A client that can prove who it is. Raises `ConfigError` for neither or both of secret and key."""
    if secret and key is None:
        return SecretClient(client_id, secret)
    if key is not None and secret is None:
        return KeyClient(client_id, key if isinstance(key, Signer) else Signer.from_key(key))
    raise ConfigError(f"The client {client_id} needs either a secret or a key to prove who it is")
