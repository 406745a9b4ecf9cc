"""Assertions a client signs about itself.

What it is for: `private_key_jwt` (RFC 7523, 2.2 and 3; OAuth client credentials extension).
What may live here: the key, its algorithm, the claims. What may not: where an assertion is sent.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trunkline.errors import ConfigError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

LIFE = 60
"""Seconds for which an assertion is good: for one request."""

_CURVES: dict[str, tuple[str, ...]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    # Servers of before RFC 9864 know only the older name, of which joserfc warns.
    "Ed25519": ("Ed25519", "EdDSA"),
}
_RSA = ("RS256", "PS256", "RS384", "PS384", "RS512", "PS512")
_KINDS = "a PEM or a JWK with a private key: RSA, P-256, P-384, P-521 or Ed25519"


class Signer:
    """Holds a private key and signs with it.

    Parameters:
        key: of joserfc, see `from_key`.
        algorithm: to sign with; by default the first the key is good for that the server lists.
        key_id: the `kid` of the header; by default that of the JWK, if it has one.
    """

    def __init__(self, key: "RSAKey | ECKey | OKPKey", algorithm: str | None = None, key_id: str | None = None) -> None:
        self._key = key
        self._algorithms = _algorithms(key)
        self._key_id = key_id or key.kid
        if not self._algorithms or not key.is_private:
            raise ConfigError(f"This is no key to sign with: {_KINDS} is needed")
        if algorithm is not None:
            if algorithm not in self._algorithms:
                raise ConfigError(f"{algorithm} does not fit this key, which can do {', '.join(self._algorithms)}")
            self._algorithms = (algorithm,)

    @classmethod
    def from_key(
        cls, key: str | bytes | Mapping[str, str], algorithm: str | None = None, key_id: str | None = None
    ) -> "Signer":
        """Read a private key. Raises `ConfigError`, which tells nothing of it, for what is none.

        Parameters:
            key: PEM (PKCS#8 or the older forms) or a JWK.

            Signer.from_key(Path("client.pem").read_text())
        """
        return cls(_read(key), algorithm, key_id)

    def assertion(self, client_id: str, audience: str, accepted: Sequence[str] | None = None) -> str:
        """A new assertion; every request needs one of its own.

        Parameters:
            client_id: who it is about, and who says so.
            audience: the authorization server.
            accepted: the algorithms that it lists; where none fits ours it is for the server to refuse.
        """
        from joserfc import jwt

        algorithm = next((one for one in self._algorithms if one in (accepted or ())), self._algorithms[0])
        header = {"typ": "JWT", "alg": algorithm, **({"kid": self._key_id} if self._key_id else {})}
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": now,
            "exp": now + LIFE,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(header, claims, self._key, algorithms=[algorithm])

    def __repr__(self) -> str:
        return f"<Signer {self._algorithms[0]}{f' {self._key_id}' if self._key_id else ''}>"


def _read(key: str | bytes | Mapping[str, str]) -> "RSAKey | ECKey | OKPKey":
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    given: str | bytes | dict[str, str | list[str]] = {**key} if isinstance(key, Mapping) else key
    for kind in (ECKey, RSAKey, OKPKey):
        try:
            return kind.import_key(given)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    raise ConfigError(f"This is no key that can be read: {_KINDS} is needed, and without a passphrase")


def _algorithms(key: "RSAKey | ECKey | OKPKey") -> tuple[str, ...]:
    return _RSA if key.key_type == "RSA" else _CURVES.get(str(getattr(key, "curve_name", "")), ())
