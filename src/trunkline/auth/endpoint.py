"""The token endpoint of one authorization server, for one resource.

What it is for: what every token request has in common: the resource parameter, client authentication, DPoP proofs and
nonces, the answer read and checked.
What may live here: that. What may not: grants, where tokens are kept.
"""

import logging
from collections.abc import Mapping

from trunkline.auth.addresses import shown
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.doors import ClientAuthentication, Proven
from trunkline.auth.fetching import Fetched, Fetcher
from trunkline.auth.proofs import ProofKey
from trunkline.auth.tokens import Registration, TokenResponse, read_tokens
from trunkline.errors import SignInError, SignInRefused

_log = logging.getLogger("trunkline.auth")
_TRIES = 3
"""Requests with a new nonce each, at most: a server may change it between two of them (RFC 9449, 8)."""


class Endpoint:
    """A `TokenEndpoint`.

    Parameters:
        metadata: validated: its issuer is the one it was asked of.
        resource: what tokens are for (RFC 8707).
        key: what tokens are to be bound to; None for bearer tokens.
        required: only tokens that are bound will do.
    """

    def __init__(
        self,
        metadata: ServerMetadata,
        resource: str,
        fetcher: Fetcher,
        *,
        key: ProofKey | None = None,
        required: bool = False,
        registration: Registration | None = None,
    ) -> None:
        self.metadata = metadata
        self.issuer = metadata.issuer
        self.resource = resource
        self.fetcher = fetcher
        self.key = key
        self.registration = registration
        self._required = required
        self._nonce: str | None = None

    def __repr__(self) -> str:
        return f"<Endpoint of {self.issuer} for {self.resource}>"

    @property
    def bound(self) -> bool:
        """Whether tokens are asked for that are bound to a key."""
        return self.key is not None

    async def request(self, form: Mapping[str, str], client: ClientAuthentication | None) -> TokenResponse:
        """See `TokenEndpoint.request`."""
        url = self.metadata.token_endpoint
        if url is None:
            raise SignInError(f"The authorization server {shown(self.issuer)} has no token endpoint")
        for _ in range(_TRIES):
            answer = await self._send(url, form, client)
            try:
                return self._checked(read_tokens(answer.status, answer.body, shown(self.issuer)))
            except SignInRefused as refusal:
                # RFC 9449, 8: the nonce came with the refusal, and the request is made again with it.
                if refusal.error != "use_dpop_nonce" or self.key is None or "DPoP-Nonce" not in answer.headers:
                    raise
        raise SignInError(f"The authorization server {shown(self.issuer)} asks for another nonce again and again")

    async def _send(self, url: str, form: Mapping[str, str], client: ClientAuthentication | None) -> Fetched:
        proven = Proven() if client is None else await client.prove(self.metadata)
        headers = list(proven.headers)
        if self.key is not None:
            headers.append(("DPoP", self.key.proof("POST", url, nonce=self._nonce)))
        answer = await self.fetcher.post(url, {"resource": self.resource, **form, **proven.form}, headers)
        self._nonce = answer.headers.get("DPoP-Nonce", self._nonce)
        return answer

    def _checked(self, response: TokenResponse) -> TokenResponse:
        kind = response.token_type.lower()
        if kind == "dpop" and self.key is None:
            raise SignInError(f"The authorization server {shown(self.issuer)} bound a token to a key nobody gave it")
        if self._required and kind != "dpop":
            raise SignInError(
                f"The authorization server {shown(self.issuer)} issued a token that is not bound to a key, which was "
                "required"
            )
        if kind not in ("bearer", "dpop"):
            raise SignInError(f"The authorization server {shown(self.issuer)} issued a token of an unknown type")
        return response
