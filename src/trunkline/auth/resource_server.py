"""An OAuth resource server.

What it is for: a request's access token becomes a principal, or an answer that says how to get one
(authorization, Access Token Usage; RFC 6750, RFC 9449, RFC 9728).
What may live here: which check comes after which, and what of it is remembered. What may not: the checks themselves.
"""

import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from trunkline.auth.claims import LEEWAY, Claims, TokenRefused, read_claims
from trunkline.auth.dpop import ALGORITHMS, NONCE_LIFE, WINDOW, Nonces, NonceWanted, ProofRefused, Verifier
from trunkline.auth.granting import Challenger, Granted, Scheme
from trunkline.auth.introspection import Introspection, Introspector
from trunkline.auth.issuers import Issuer
from trunkline.auth.keysets import FRESH, KeySet
from trunkline.auth.proofs import token_hash
from trunkline.auth.replay import LocalWindow, Seen, SharedWindow
from trunkline.auth.scopes import Rulebook, Scopes
from trunkline.auth.signed import is_signed, verified
from trunkline.engine.doors import KeyRing, Notes, RequestFacts
from trunkline.engine.memory import MemoryNotes
from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError, IssuerUnavailable, Refused, Unauthenticated

logger = logging.getLogger("trunkline.auth")

K = TypeVar("K")
V = TypeVar("V")

WELL_KNOWN = "/.well-known/oauth-protected-resource"
"""Where protected resource metadata is (RFC 9728, 3)."""

_CREDENTIALS = re.compile(rb"(bearer|dpop) +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_OURS = re.compile(rb"(bearer|dpop)(?: .*)?", re.IGNORECASE)
_REMEMBERED = 10_000
_REFUSED = 1_000
_REFUSED_FOR = 10.0
_ENDPOINTS = 256
_OVERDUE = 5.0
"""Seconds a token is believed while keys that are no longer fresh are being fetched."""


class DPoPRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of sender-constrained tokens (RFC 9449).

    Parameters:
        mode: `optional` takes tokens with and without a key, `required` only those bound to one, `off` none of these.
        tools: patterns of tools that take a bound token though the rest does not.
        nonces: each proof carries a nonce of ours, so that none can be made in advance.
        window: seconds a proof may be old, or ahead; at most 300.
        replay: who remembers which proofs were used: this `process`, or all replicas (`shared`, by their storage).

    Raises `ConfigError` for a window that is too long, or tools where the mode is `off`.
    """

    mode: Literal["off", "optional", "required"] = "optional"
    tools: tuple[str, ...] = ()
    nonces: bool = False
    window: float = WINDOW
    replay: Literal["process", "shared"] = "process"

    def __post_init__(self) -> None:
        if not 0 < self.window <= WINDOW:
            raise ConfigError(f"dpop.window is more than 0 and at most {WINDOW:g} seconds")
        if self.mode == "off" and self.tools:
            raise ConfigError("dpop.tools need a dpop.mode that is not `off`")


class _Known(msgspec.Struct, frozen=True):
    """A token that was checked, as it was sent: who holds it, or why it is refused. The token itself is not kept."""

    until: float
    scheme: Scheme
    hash: str = ""
    thumbprint: str | None = None
    principal: Principal = ANONYMOUS
    refused: str = ""


class ResourceServer:
    """Authenticates callers by access tokens of one issuer.

    Parameters:
        issuer: whose tokens are taken, byte for byte as its metadata and tokens say.
        audience: whom tokens must be for: the public URL of the endpoint, or whatever name the issuer has for it. Every
            endpoint at the origin of such a URL takes tokens for its own URL as well.
        scopes: which scopes requests take; a list is what all of them take.
        dpop: about tokens bound to a key; a mode alone is the short form.
        introspection: ask the issuer about each token instead of reading it.
        jwks_url: where the keys are; None takes what the issuer's metadata says.
        keys_fresh: seconds after which keys are fetched again; so long a withdrawn one may be believed.
        name: of the resource, for people.
        allow: addresses of the issuer that are requested though they are not public, such as `http://keycloak:8080`.
        seen: remembers proofs; by default as `dpop` says.

    Raises `ConfigError` for options that cannot work.

        Server("files", auth=ResourceServer("https://id.example.com", "https://mcp.example.com/mcp", scopes=["files"]))
    """

    def __init__(
        self,
        issuer: str,
        audience: str | Sequence[str],
        *,
        scopes: Scopes | Sequence[str] = (),
        dpop: DPoPRules | Literal["off", "optional", "required"] = "optional",
        introspection: Introspection | None = None,
        jwks_url: str | None = None,
        keys_fresh: float = FRESH,
        name: str | None = None,
        allow: Sequence[str] = (),
        seen: Seen | None = None,
    ) -> None:
        self.audiences = (audience,) if isinstance(audience, str) else tuple(audience)
        if not self.audiences or not all(self.audiences):
            raise ConfigError("A resource server needs the audience that its tokens are for")
        if isinstance(scopes, str):
            raise ConfigError("scopes is a list of names, or Scopes(...)")
        self._origins = {origin for one in self.audiences if (origin := _origin(one)) is not None}
        self._issuer = Issuer(issuer, tuple(allow))
        self._keys = KeySet(self._issuer, jwks_url, keys_fresh)
        self._introspection = introspection
        self._introspector = None if introspection is None else Introspector(self._issuer, introspection)
        self._rules = Rulebook(scopes if isinstance(scopes, Scopes) else Scopes(always=tuple(scopes)))
        self.dpop = dpop if isinstance(dpop, DPoPRules) else DPoPRules(mode=dpop)
        self._schemes = _SCHEMES[self.dpop.mode]
        self._name = name
        own = Keys()
        self._ring: Callable[[], KeyRing] = lambda: own
        self._seen = seen or LocalWindow()
        self._own_window = seen is None
        self._nonces = Nonces(lambda: self._ring(), self.audiences[0])
        self._proofs = Verifier(self.dpop.window, self._nonces, required=self.dpop.nonces)
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()
        self._wrong: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()
        self._challengers: OrderedDict[str, tuple[Challenger, Mapping[str, Granted]]] = OrderedDict()

    @property
    def public_url(self) -> str | None:
        """The first audience that is an address: where clients find the endpoint."""
        return next((one for one in self.audiences if _origin(one) is not None), None)

    def attach(self, keys: Callable[[], KeyRing], notes: Notes) -> None:
        """Share nonces, and the window of proofs where it is to be, with the other replicas."""
        self._ring = keys
        if self._own_window and self.dpop.replay == "shared" and not isinstance(notes, MemoryNotes):
            self._seen = SharedWindow(notes, 2 * self.dpop.window)

    def metadata(self, url: str) -> Mapping[str, object]:
        """The protected resource metadata of an endpoint (RFC 9728, 2)."""
        said: dict[str, object] = {
            "resource": url,
            "authorization_servers": [self._issuer.issuer],
            "bearer_methods_supported": ["header"],
        }
        if self._rules.always:
            said["scopes_supported"] = sorted(self._rules.always)
        if self._name is not None:
            said["resource_name"] = self._name
        if self.dpop.mode != "off":
            said["dpop_signing_alg_values_supported"] = list(ALGORITHMS)
            said["dpop_bound_access_tokens_required"] = self.dpop.mode == "required"
        return said

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Who holds the token. Raises `Unauthenticated`, `Refused` (400), `IssuerUnavailable`."""
        header = facts.headers.get(b"authorization")
        if header is None:
            self._turn_away(None, facts)
        place = (facts.url, hashlib.sha256(header).digest())
        known = self._known.get(place) or self._wrong.get(place)
        if known is None or known.until <= time.time():
            known = await self._learn(place, header, facts)
        if known.refused:
            self._refuse(facts, known.scheme, "invalid_token", known.refused)
        if known.scheme == "DPoP":
            await self._prove(facts, known)
        elif known.thumbprint is not None:
            # RFC 9449, section 7.2: a bound token without a proof is what a thief would send.
            self._refuse(facts, "DPoP", "invalid_token", "The access token is bound to a key: send it with DPoP")
        elif self.dpop.mode == "required":
            self._refuse(facts, "DPoP", "invalid_token", "Only access tokens that are bound to a key are taken here")
        return known.principal

    async def close(self) -> None:
        """Leave no request to the issuer running."""
        await self._keys.close()
        if self._introspector is not None:
            await self._introspector.close()

    def __repr__(self) -> str:
        return f"ResourceServer({self._issuer.issuer!r}, {self.audiences!r})"

    async def _learn(self, place: tuple[str, bytes], header: bytes, facts: RequestFacts) -> _Known:
        """Check a token that is not known, or was for long enough."""
        found = _CREDENTIALS.fullmatch(header)
        if found is None:
            self._turn_away(header, facts)
        scheme: Scheme = "DPoP" if len(found[1]) == 4 else "Bearer"
        token = found[2].decode("ascii")
        try:
            claims, until = await self._check(token, self._audiences(facts.url))
        except TokenRefused as error:
            self._known.pop(place, None)
            refused = _Known(time.time() + _REFUSED_FOR, scheme, refused=error.message)
            return _remember(self._wrong, place, refused, _REFUSED)
        except IssuerUnavailable as error:
            # Who stands outside need not learn which addresses there are inside.
            logger.warning("callers cannot sign in: %s", error)
            said = "Access tokens cannot be checked at the moment: their issuer cannot be asked. Try again shortly"
            raise IssuerUnavailable(said, error.retry_after) from None
        access = self._challenger(facts)[1].get(scheme)
        principal = Principal(self._issuer.issuer, claims.subject, claims.client, claims.scopes, access=access)
        self._wrong.pop(place, None)
        known = _Known(until, scheme, token_hash(token), claims.thumbprint, principal)
        return _remember(self._known, place, known, _REMEMBERED)

    async def _check(self, token: str, audiences: Collection[str]) -> tuple[Claims, float]:
        """What the token says, and until when that need not be checked again."""
        if self._introspector is not None and self._introspection is not None:
            said = await self._introspector.ask(token)
            if said.get("active") is not True:
                raise TokenRefused("The access token is not active: it has expired, was revoked, or never was one")
            claims = read_claims(said, self._issuer.issuer, audiences, time.time(), asked=True)
            return claims, min(claims.expires + LEEWAY, time.time() + self._introspection.keep)
        if not is_signed(token):
            raise TokenRefused("The access token is not a signed one; this server cannot ask about others")
        said = await verified(token, self._keys)
        claims = read_claims(said, self._issuer.issuer, audiences, time.time())
        fresh = max(self._keys.fresh_until - time.monotonic(), _OVERDUE)
        return claims, min(claims.expires + LEEWAY, time.time() + fresh)

    async def _prove(self, facts: RequestFacts, known: _Known) -> None:
        thumbprint = known.thumbprint
        if self.dpop.mode == "off":
            self._refuse(facts, "Bearer", "invalid_token", "Tokens bound to a key are not taken here")
        if thumbprint is None:
            self._refuse(facts, "DPoP", "invalid_token", "The access token is not bound to a key: send it as Bearer")
        now = time.time()
        try:
            proof = self._proofs.check(_proof(facts), facts.method, facts.url, known.hash, now)
            if proof.thumbprint != thumbprint:
                raise ProofRefused("The proof is signed with another key than the access token is bound to")
            if not await self._seen.first(thumbprint, proof.id, proof.made + self.dpop.window, now):
                raise ProofRefused("The proof was used before: each request needs one of its own")
        except NonceWanted as error:
            self._refuse(facts, "DPoP", "use_dpop_nonce", error.message)
        except ProofRefused as error:
            self._refuse(facts, "DPoP", "invalid_dpop_proof", error.message)
        if self.dpop.nonces and now - (proof.nonce_made or 0.0) > NONCE_LIFE / 2:
            # The next one, before this one ends (RFC 9449, section 8.2).
            facts.answer.append((b"dpop-nonce", self._nonces.make(now).encode()))

    def _audiences(self, url: str) -> Collection[str]:
        """Whom a token may be for. The URL counts only at a configured origin: a Host header makes no audience."""
        return (*self.audiences, url) if _origin(url) in self._origins else self.audiences

    def _challenger(self, facts: RequestFacts) -> tuple[Challenger, Mapping[str, Granted]]:
        made = self._challengers.get(facts.url)
        return self._make_challenger(facts) if made is None else made

    def _make_challenger(self, facts: RequestFacts) -> tuple[Challenger, Mapping[str, Granted]]:
        if not (facts.url.isascii() and facts.url.isprintable()):
            raise Refused(400, "The Host header is malformed")
        base = facts.url.removesuffix(facts.endpoint)
        challenger = Challenger(base + WELL_KNOWN + facts.endpoint, self._rules.always, self._schemes)
        granted: Mapping[str, Granted] = {
            scheme: Granted(self._rules, challenger, scheme, self.dpop.tools) for scheme in self._schemes
        }
        return _remember(self._challengers, facts.url, (challenger, granted), _ENDPOINTS)

    def _turn_away(self, header: bytes | None, facts: RequestFacts) -> NoReturn:
        challenger, _ = self._challenger(facts)
        if header is not None and _OURS.fullmatch(header):
            scheme: Scheme = "DPoP" if header[:4].lower() == b"dpop" else "Bearer"
            said = "The Authorization header is malformed: it takes a scheme, a blank and one token"
            raise Refused(400, said, challenger.refused(scheme, "invalid_request", said))
        raise Unauthenticated("This endpoint needs an access token", challenger.wanted())

    def _refuse(self, facts: RequestFacts, scheme: Scheme, error: str, said: str) -> NoReturn:
        challenger, _ = self._challenger(facts)
        if scheme == "DPoP" and self.dpop.nonces and not any(name == b"dpop-nonce" for name, _ in facts.answer):
            facts.answer.append((b"dpop-nonce", self._nonces.make(time.time()).encode()))
        raise Unauthenticated(said, challenger.refused(scheme, error, said))


_SCHEMES: Mapping[str, tuple[Scheme, ...]] = {
    "off": ("Bearer",),
    # Bearer first: some clients look at the first challenge alone.
    "optional": ("Bearer", "DPoP"),
    "required": ("DPoP",),
}


def _proof(facts: RequestFacts) -> str:
    """The one proof of a request. Raises `ProofRefused`."""
    header = facts.headers.get(b"dpop")
    if header is None or b"," in header or not header.isascii():
        raise ProofRefused("A token that is bound to a key needs one proof with it, in one DPoP header")
    return header.decode("ascii")


def _origin(url: str) -> str | None:
    """Scheme and host of an address as it is written; None for other names."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("http", "https") and parts.netloc else None


def _remember(kept: OrderedDict[K, V], key: K, value: V, most: int) -> V:
    kept[key] = value
    if len(kept) > most:
        kept.popitem(last=False)
    return value
