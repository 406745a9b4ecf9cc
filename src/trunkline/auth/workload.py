"""A workload that acts for itself.

What it is for: a token that the platform gave a workload becomes an access token, without any secret (workload identity
federation extension; RFC 7523, 2.1).
What may live here: that grant, and which tokens are fit to be shown to whom. What may not: where platforms keep them,
see `workload_tokens`.
"""

import time
from typing import Protocol

import msgspec

from trunkline.auth.addresses import shown
from trunkline.auth.client_authentication import PublicClient
from trunkline.auth.doors import ClientAuthentication, TokenEndpoint
from trunkline.auth.enterprise import JWT_BEARER
from trunkline.auth.one_issuer import bound
from trunkline.auth.tokens import TokenResponse
from trunkline.errors import ConfigError, SignInError

_SKEW = 5.0
"""Seconds after its end until which a token may still be taken, by a server whose clock is behind."""


class WorkloadTokens(Protocol):
    """Where a platform keeps the tokens of a workload."""

    async def token(self, audience: str) -> str:
        """The freshest token; for this audience, where that can be chosen. Raises `SignInError`, `TransportError`."""


class _Claims(msgspec.Struct):
    aud: str | list[str]
    exp: float | None = None


class WorkloadIdentity:
    """Tokens for a workload, by the identity its platform gives it.

    A token whose audience is someone else is not shown to an authorization server: it could be used in the workload's
    name at the one that it is for. So an MCP server that names an authorization server of its own learns nothing.

    Parameters:
        tokens: where the workload's tokens are, for example `TokenFile("/var/run/secrets/tokens/mcp")`.
        audience: whom tokens are for; by default the issuer that the MCP server names, or its token endpoint. Another
            one, agreed on with its operator, needs the issuer.
        client_id: for authorization servers that want one beside the token.
        issuer: the authorization server that trusts the workload; None takes whichever the token is for.

    Raises `ConfigError` for an audience without an issuer.

        Client(url, auth=WorkloadIdentity(TokenFile("/var/run/secrets/tokens/mcp")))
    """

    interactive = False

    def __init__(
        self,
        tokens: WorkloadTokens,
        *,
        audience: str | None = None,
        client_id: str | None = None,
        issuer: str | None = None,
    ) -> None:
        if audience is not None and issuer is None:
            raise ConfigError(
                f"Tokens for {shown(audience)} could be shown to whomever an MCP server names: give the issuer of the "
                "authorization server that they are meant for"
            )
        self.issuer = issuer
        self._tokens = tokens
        self._audience = audience
        self._client = None if client_id is None else PublicClient(client_id)

    async def obtain(self, endpoint: TokenEndpoint, scopes: frozenset[str]) -> TokenResponse:
        """See `Grant.obtain`. A token that is refused is not sent again, and no other grant is tried."""
        if self.issuer is not None:
            bound(self.issuer, endpoint.issuer)
        offered = endpoint.metadata.grant_types_supported
        if offered is not None and JWT_BEARER not in offered:
            raise SignInError(
                f"The authorization server {shown(endpoint.issuer)} does not take workload identities: its metadata "
                f"names the grants {shown(', '.join(offered))}"
            )
        assertion = await self._tokens.token(self._audience or endpoint.issuer)
        self._check(assertion, endpoint)
        form = {"grant_type": JWT_BEARER, "assertion": assertion}
        if scopes:
            form["scope"] = " ".join(sorted(scopes))
        return await endpoint.request(form, self._client)

    def client(self, endpoint: TokenEndpoint) -> ClientAuthentication | None:
        """See `Grant.client`."""
        return self._client

    def __repr__(self) -> str:
        return f"<WorkloadIdentity of {self._tokens!r}>"

    def _check(self, assertion: str, endpoint: TokenEndpoint) -> None:
        """Whether the token is one to show: for this server, and not over."""
        claims = _claims(assertion)
        if claims is None:
            raise SignInError(f"{self._tokens!r} gave what is not a signed JWT, so it is not sent anywhere")
        named = {claims.aud} if isinstance(claims.aud, str) else set(claims.aud)
        if not named & self._audiences(endpoint):
            raise SignInError(
                f"The workload's token is for {shown(', '.join(sorted(named)))} and not for {shown(endpoint.issuer)}, "
                "so it is not shown to it; have the platform make tokens for that audience, or give the audience that "
                "was agreed on, and its issuer"
            )
        if claims.exp is not None and time.time() > claims.exp + _SKEW:
            ago = time.time() - claims.exp
            raise SignInError(
                f"The workload's token ended {ago:.0f} seconds ago, and the platform did not renew it: {self._tokens!r}"
            )

    def _audiences(self, endpoint: TokenEndpoint) -> set[str]:
        """What a token for this authorization server may have as its audience.

        The extension names the token endpoint, the conformance suite and the draft that renews RFC 7523 the issuer.
        """
        if self._audience is not None:
            return {self._audience}
        issuer = endpoint.issuer.rstrip("/")
        return {issuer, f"{issuer}/", endpoint.metadata.token_endpoint or issuer}


def _claims(assertion: str) -> _Claims | None:
    """What a token says; whether that is true is for the authorization server to find out."""
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        return msgspec.json.decode(jws.extract_compact(assertion.encode("ascii")).payload, type=_Claims)
    except (JoseError, msgspec.MsgspecError, ValueError, TypeError):
        return None
