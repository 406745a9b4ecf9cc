"""What an issuer says of an access token.

What it is for: the same record, whether the token said it itself (RFC 9068) or the issuer was asked (RFC 7662).
What may live here: reading the claims and the checks that hold for both. What may not: signatures, requests.
"""

import math
from collections.abc import Collection, Mapping

import msgspec

from trunkline.errors import TrunklineError

LEEWAY = 30.0
"""Seconds the issuer's clock may differ from ours."""


class TokenRefused(TrunklineError):
    """The access token is not valid here; the text is shown to its holder and never repeats it."""


class Claims(msgspec.Struct, frozen=True):
    """An access token that is valid here.

    Parameters:
        subject: whom it speaks for; the client itself where it speaks for nobody else.
        client: the software it was given to.
        scopes: what it allows.
        expires: seconds since 1970; infinite where only its issuer knows.
        thumbprint: of the key it is bound to (RFC 9449, 6); None for a bearer token.
    """

    subject: str
    client: str | None
    scopes: frozenset[str]
    expires: float
    thumbprint: str | None = None


def read_claims(
    claims: Mapping[str, object], issuer: str, audiences: Collection[str], now: float, *, asked: bool = False
) -> Claims:
    """Check what holds for every access token, and read it.

    Parameters:
        issuer: who must have made it, byte for byte.
        audiences: whom it may be for; one of them must be named, byte for byte (RFC 8707; RFC 9068, 4).
        now: seconds since 1970.
        asked: the issuer itself answered, so that it need not name itself, or an end that is its to watch.

    Raises `TokenRefused`.
    """
    if claims.get("iss") != issuer and not (asked and "iss" not in claims):
        raise TokenRefused("The access token comes from another issuer")
    named = claims.get("aud")
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not any(isinstance(one, str) and one in audiences for one in named):
        raise TokenRefused("The access token is for another audience: sign in for this server")
    expires = _seconds(claims, "exp")
    if expires is None and not asked:
        raise TokenRefused("The access token does not say when it expires")
    if expires is not None and expires + LEEWAY <= now:
        raise TokenRefused("The access token has expired")
    for name in ("nbf", "iat"):
        begin = _seconds(claims, name)
        if begin is not None and begin - LEEWAY > now:
            raise TokenRefused("The access token is not valid yet: a clock is wrong")
    client = _text(claims, "client_id") or _text(claims, "azp") or _text(claims, "cid")
    subject = _text(claims, "sub") or client
    if subject is None:
        raise TokenRefused("The access token does not say whom it speaks for")
    return Claims(subject, client, _scopes(claims), math.inf if expires is None else expires, _thumbprint(claims))


def _scopes(claims: Mapping[str, object]) -> frozenset[str]:
    """`scope` as RFC 8693 (4.2) has it; some issuers write `scp`, and lists."""
    said = claims.get("scope", claims.get("scp"))
    if isinstance(said, str):
        return frozenset(said.split())
    return frozenset(one for one in said if isinstance(one, str)) if isinstance(said, list) else frozenset()


def _thumbprint(claims: Mapping[str, object]) -> str | None:
    bound = claims.get("cnf")
    if bound is None:
        return None
    thumbprint = bound.get("jkt") if isinstance(bound, Mapping) else None
    if not isinstance(thumbprint, str) or not isinstance(bound, Mapping) or len(bound) != 1:
        # Bound to a certificate, say: taking it as a bearer token would undo the binding (RFC 7800, 3.1).
        raise TokenRefused("The access token is bound in a way that is not known here; only DPoP keys are")
    return thumbprint


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"The {name} of the access token is no time")
    return float(value)


def _text(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None
