"""Proofs as a server checks them (RFC 9449).

What it is for: one verdict on a `DPoP` header: who signed it, for which request, and whether that was just now.
What may live here: the checks of section 4.3, and stateless nonces. What may not: which proofs were seen, see `replay`.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from msgspec import Struct

from trunkline.auth.proofs import PROOF_TYPE
from trunkline.auth.signed import KINDS, signature_holds, unpadded
from trunkline.engine.doors import KeyRing
from trunkline.errors import SealError, TrunklineError

if TYPE_CHECKING:
    from joserfc.jwk import Key

ALGORITHMS = tuple(KINDS)
"""What a proof may be signed with: public keys alone (DPoP extension, Asymmetric algorithms)."""

WINDOW = 300.0
"""Seconds a proof may be old, or ahead: the most the DPoP extension allows."""

NONCE_LIFE = 300.0
"""Seconds a nonce is good for."""

_PURPOSE = "dpop-nonce"
_LONGEST = 8192
_REMEMBERED = 10_000
_MOST_BITS = 4096
_UNRESERVED = re.compile(r"%[0-9A-Fa-f]{2}")
_PORTS = {"http": ":80", "https": ":443"}


class ProofRefused(TrunklineError):
    """The proof does not show that the caller holds the key of its token, for this request and now."""


class NonceWanted(ProofRefused):
    """The proof is good but for its nonce: one of ours, not too old, is wanted in it."""


class Proof(Struct, frozen=True):
    """A proof that holds.

    Parameters:
        id: its `jti`.
        thumbprint: of the key that signed it.
        made: seconds since 1970.
        nonce_made: when the nonce in it was, where it has one of ours.
    """

    id: str
    thumbprint: str
    made: float
    nonce_made: float | None = None


class _Header(Struct):
    typ: str
    alg: str
    jwk: dict[str, object]
    crit: object = None


class _Claims(Struct):
    jti: str
    htm: str
    htu: str
    iat: float
    ath: str | None = None
    nonce: str | None = None


class _Signer(Struct, frozen=True):
    key: "Key"
    thumbprint: str
    algorithm: str


_decode_header = msgspec.json.Decoder(_Header).decode
_decode_claims = msgspec.json.Decoder(_Claims).decode


class Nonces:
    """Nonces without memory: the time, sealed with the keys all replicas share.

    Parameters:
        keys: gives the key ring.
        bound: what they are for; one of another endpoint is none here.
    """

    def __init__(self, keys: Callable[[], KeyRing], bound: str) -> None:
        self._keys = keys
        self._bound = bound.encode()

    def make(self, now: float) -> str:
        """A nonce for the next proof."""
        return self._keys().seal(_PURPOSE, self._bound, b"%d" % now)

    def made(self, nonce: str, now: float) -> float | None:
        """When it was made; None for one that is not ours, or too old."""
        try:
            made = float(self._keys().open(_PURPOSE, self._bound, nonce))
        except (SealError, ValueError):
            return None
        return made if now - NONCE_LIFE <= made <= now + NONCE_LIFE else None


class Verifier:
    """Checks proofs; the keys of callers that come again are read once.

    Parameters:
        window: seconds a proof may be old, or ahead of our clock.
        nonces: makes and knows nonces.
        required: a proof without a nonce of ours is answered with one.
    """

    def __init__(self, window: float, nonces: Nonces, *, required: bool) -> None:
        self._window = window
        self._nonces = nonces
        self._required = required
        self._signers: OrderedDict[str, _Signer] = OrderedDict()

    def check(self, proof: str, method: str, url: str, token: str, now: float) -> Proof:
        """What a proof shows, once all of section 4.3 holds.

        Parameters:
            proof: the value of the `DPoP` header.
            method: of the request. url: as its client wrote it.
            token: the hash of the access token it came with (`token_hash`).
            now: seconds since 1970.

        Raises `ProofRefused`, and `NonceWanted` where all it lacks is a nonce.
        """
        if len(proof) > _LONGEST or proof.count(".") != 2:
            raise ProofRefused("The DPoP header does not hold one proof, a signed JWT")
        signer = self._signer(proof[: proof.index(".")])
        payload = signature_holds(proof, signer.key, signer.algorithm)
        if payload is None:
            raise ProofRefused("The proof is not signed with the key it names")
        claims = _claims(payload)
        if claims.htm != method:
            raise ProofRefused("The proof is for another HTTP method")
        if not _same_target(claims.htu, url):
            raise ProofRefused(f"The proof is for another URL than {url[:200]}")
        if abs(now - claims.iat) > self._window:
            raise ProofRefused(
                f"The proof is not from the last {self._window:g} seconds: the clock of this server says {int(now)}"
            )
        if claims.ath != token:
            raise ProofRefused("The proof is for another access token")
        made = None if claims.nonce is None else self._nonces.made(claims.nonce, now)
        if made is None and self._required:
            raise NonceWanted("The proof needs the nonce of the DPoP-Nonce header")
        return Proof(claims.jti, signer.thumbprint, claims.iat, made)

    def _signer(self, encoded: str) -> _Signer:
        signer = self._signers.get(encoded)
        if signer is None:
            signer = self._signers[encoded] = _read_signer(encoded)
            if len(self._signers) > _REMEMBERED:
                self._signers.popitem(last=False)
        return signer


def _claims(payload: bytes) -> _Claims:
    try:
        claims = _decode_claims(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProofRefused("The proof lacks one of jti, htm, htu and iat, or has it in another form") from None
    if not 0 < len(claims.jti) <= 256:
        raise ProofRefused("The jti of a proof has 1 to 256 characters")
    return claims


def _read_signer(encoded: str) -> _Signer:
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    try:
        header = _decode_header(unpadded(encoded))
        private = header.jwk.keys() & {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
        if header.typ != PROOF_TYPE or header.crit is not None or private:
            raise ProofRefused(f"A proof is a JWT of the type {PROOF_TYPE} with a public key in its header")
        if header.alg not in KINDS or header.jwk.get("kty") != KINDS[header.alg] or not _affordable(header.jwk):
            raise ProofRefused(f"A proof is signed with one of {', '.join(ALGORITHMS)}, and a key of that kind")
        # Members that say how a key may be used are its owner's, and not part of its thumbprint.
        key = import_key({name: str(value) for name, value in header.jwk.items() if name in _MEMBERS})
        return _Signer(key, key.thumbprint(), header.alg)
    except (msgspec.MsgspecError, JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise ProofRefused("The header of the proof, or the key in it, cannot be read") from None


_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})


def _affordable(jwk: dict[str, object]) -> bool:
    """Whether checking a signature takes an ordinary time: anybody can send an RSA key, of any size."""
    modulus, exponent = jwk.get("n", ""), jwk.get("e", "")
    return len(str(modulus)) <= _MOST_BITS // 6 + 1 and len(str(exponent)) <= 6


def _same_target(claimed: str, url: str) -> bool:
    """Whether a proof's `htu` is this request's URL (RFC 9449, 4.3, item 9; RFC 3986, 6.2.2 and 6.2.3)."""
    if "?" in claimed or "#" in claimed:
        # What section 4.2 says may not be in it.
        return False
    return claimed == url or (_normal(claimed) or claimed) == _normal(url)


def _normal(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        if not parts.scheme or not parts.hostname or "@" in parts.netloc:
            return None
        return f"{parts.scheme.lower()}://{_authority(parts)}{_path(parts.path)}"
    except ValueError:
        return None


def _authority(parts: SplitResult) -> str:
    return parts.netloc.lower().removesuffix(_PORTS.get(parts.scheme.lower(), " "))


def _path(path: str) -> str:
    """A path as all write it who mean the same; one slash at the end makes no difference."""

    def plain(escape: re.Match[str]) -> str:
        letter = unquote(escape[0])
        return letter if letter.isascii() and (letter.isalnum() or letter in "-._~") else escape[0].upper()

    normal = _UNRESERVED.sub(plain, path)
    return normal.removesuffix("/")
