"""Access tokens that are JWTs (RFC 9068).

What it is for: check the signature with the issuer's keys, and what kind of token it is.
What may live here: that, and which algorithms count. What may not: where keys come from, what the claims mean.
"""

import base64
import binascii
import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from trunkline.auth.claims import TokenRefused
from trunkline.auth.keysets import KeySet
from trunkline.errors import ParseError
from trunkline.protocol import json

if TYPE_CHECKING:
    from joserfc.jwk import Key
    from joserfc.jws import JWSRegistry

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("EdDSA", "Ed25519"), "OKP"),
}
"""The algorithms that count, all with a public key, and the `kty` of each: no `none`, no shared secrets."""

TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt", ""})
"""Values of `typ`. RFC 9068 (4) wants the first; many issuers write the third. Proofs and assertions are neither."""

_LONGEST = 16_384
_TRIED = 8
"""Keys that are tried for a token which names none."""


class Header(msgspec.Struct):
    """What of the header of a signed token is acted on."""

    alg: str
    typ: str = ""
    kid: str | None = None
    crit: object = None


_decode_header = msgspec.json.Decoder(Header).decode


def is_signed(token: str) -> bool:
    """Whether it looks like a signed JWT."""
    return token.count(".") == 2 and token.startswith("ey")


async def verified(token: str, keys: KeySet) -> dict[str, object]:
    """The claims of a token the issuer signed. Raises `TokenRefused`, and `IssuerUnavailable` without keys."""
    header = _header(token)
    kind = KINDS.get(header.alg)
    if kind is None:
        raise TokenRefused("The access token is signed with an algorithm that does not count here")
    if header.typ.lower() not in TYPES or header.crit is not None:
        raise TokenRefused("This is a token of another kind, not an access token")
    for key in (await keys.find(header.kid, kind))[:_TRIED]:
        if key.get("alg") in (None, header.alg) and (payload := signature_holds(token, key, header.alg)) is not None:
            try:
                claims = json.parse(payload)
            except ParseError:
                claims = None
            if not isinstance(claims, dict):
                raise TokenRefused("The access token holds no claims")
            return claims
    raise TokenRefused("The access token is not signed with a key of its issuer")


def signature_holds(token: str, key: "Key", algorithm: str) -> bytes | None:
    """What was signed, where the signature is of this key and algorithm; None otherwise."""
    from joserfc import jws
    from joserfc.errors import JoseError

    try:
        if algorithm != "EdDSA":
            return jws.deserialize_compact(token, key, None, _registry(algorithm)).payload
        with warnings.catch_warnings():
            # RFC 9864 gave it other names; issuers still write the old one.
            warnings.simplefilter("ignore")
            return jws.deserialize_compact(token, key, None, _registry(algorithm)).payload
    except (JoseError, ValueError, TypeError):
        return None


@lru_cache(maxsize=len(KINDS))
def _registry(algorithm: str) -> "JWSRegistry":
    """This algorithm alone. Header parameters that are not known do no harm: `crit` names those that would."""
    from joserfc.jws import JWSRegistry

    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = _LONGEST
    return registry


def _header(token: str) -> Header:
    if len(token) > _LONGEST:
        raise TokenRefused(f"The access token is longer than {_LONGEST} characters")
    try:
        return _decode_header(unpadded(token.partition(".")[0]))
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        raise TokenRefused("The access token is damaged") from None


def unpadded(text: str) -> bytes:
    """Base64url as JOSE writes it. Raises `ValueError` or `binascii.Error`."""
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
