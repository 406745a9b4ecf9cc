"""Proofs that a caller holds the key its token is bound to (RFC 9449).

What it is for: make the key and, for each request, the `DPoP` header.
What may live here: the client's half: the key pair and the proof it signs. What may not: checking proofs, nonces.
"""

import base64
import hashlib
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from trunkline.errors import ConfigError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

PROOF_TYPE = "dpop+jwt"
"""The `typ` of a proof (RFC 9449, section 4.2)."""

_ALGORITHM = "ES256"


class ProofKey:
    """A key pair that access tokens are bound to; each request carries a proof signed by it.

    Attributes:
        public_jwk: the public half, as it stands in each proof.
        thumbprint: its SHA-256 thumbprint (RFC 7638), which the token carries as `cnf.jkt`.

        key = ProofKey.make()
        headers = {"DPoP": key.proof("POST", "https://mcp.example.com/mcp", token=token)}
    """

    def __init__(self, key: "ECKey") -> None:
        self._key = key
        self.public_jwk: dict[str, str] = _members(key, private=False)
        self.thumbprint: str = key.thumbprint()

    @classmethod
    def make(cls) -> "ProofKey":
        """A new key on the curve P-256, for ES256, which every server should support (DPoP extension, client)."""
        from joserfc.jwk import ECKey

        return cls(ECKey.generate_key("P-256"))

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, str]) -> "ProofKey":
        """The key that `private_jwk` gave. Raises `ConfigError`, which tells nothing of the key, for anything else."""
        from joserfc.errors import JoseError
        from joserfc.jwk import ECKey

        try:
            key = ECKey.import_key(dict(jwk))
            usable = key.is_private and key.curve_name == "P-256"
        except (JoseError, ValueError, TypeError, KeyError):
            usable = False
        if not usable:
            raise ConfigError("A key for proofs must be a private JWK on the curve P-256; sign in again to make one")
        return cls(key)

    def private_jwk(self) -> dict[str, str]:
        """Both halves, for a store that keeps secrets."""
        return _members(self._key, private=True)

    def proof(
        self, method: str, url: str, *, token: str | None = None, nonce: str | None = None, now: float | None = None
    ) -> str:
        """The value of the `DPoP` header of one request; each request and each repetition needs a new one.

        Parameters:
            method: the HTTP method of the request.
            url: its URL; the query and the fragment do not count (RFC 9449, section 4.2).
            token: the access token it carries; None for a request to a token endpoint.
            nonce: what the server gave last in `DPoP-Nonce`.
            now: seconds since 1970; by default the time of this machine.

            key.proof("POST", "https://id.example.com/token")
        """
        from joserfc import jwt

        claims: dict[str, object] = {
            "jti": uuid.uuid4().hex,
            "htm": method,
            "htu": urlunsplit((*urlsplit(url)[:3], "", "")),
            "iat": int(time.time() if now is None else now),
        }
        if token is not None:
            claims["ath"] = token_hash(token)
        if nonce is not None:
            claims["nonce"] = nonce
        return jwt.encode({"typ": PROOF_TYPE, "alg": _ALGORITHM, "jwk": self.public_jwk}, claims, self._key)

    def __repr__(self) -> str:
        return f"ProofKey({self.thumbprint})"


def token_hash(token: str) -> str:
    """What a proof says of the access token it goes with, its `ath` (RFC 9449, section 4.2).

    token_hash("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU")  # "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    """
    return base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).decode().rstrip("=")


def _members(key: "ECKey", *, private: bool) -> dict[str, str]:
    return {name: value for name, value in key.as_dict(private=private).items() if isinstance(value, str)}
