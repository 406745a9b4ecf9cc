"""An issuer for benchmarks: its key is known to everyone, so that every process has it without asking."""

import time
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

if TYPE_CHECKING:
    from joserfc.jwk import Key

ISSUER = "https://id.bench.example"
AUDIENCE = "https://bench.example/mcp"
_NUMBER = 20260728


def signer() -> ECKey:
    """The key of the issuer."""
    key = ECKey.import_key(ec.derive_private_key(_NUMBER, ec.SECP256R1()))
    key.ensure_kid()
    return key


class Known:
    """A key set that is there without being fetched."""

    fresh_until = float("inf")

    def __init__(self) -> None:
        self._key = signer()

    async def find(self, kid: str | None, kind: str) -> "list[Key]":
        """The one key."""
        return [self._key]

    async def close(self) -> None:
        """Nothing runs."""


def access_token(thumbprint: str | None = None) -> str:
    """A token that is good for a day, bound to a key where one is given."""
    now, key = int(time.time()), signer()
    claims: dict[str, object] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "caller", "client_id": "bench", "scope": "mcp"}
    claims |= {"iat": now, "exp": now + 86400, "jti": "bench"}
    if thumbprint is not None:
        claims["cnf"] = {"jkt": thumbprint}
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.kid}, claims, key)
