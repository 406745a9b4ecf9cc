"""The keys an issuer signs with (RFC 7517).

What it is for: a key for a token, at once nearly always, also while the issuer is away or changes its keys.
What may live here: fetching a key set, keeping it, when to ask again. What may not: tokens and their claims.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from trunkline.auth.issuers import Issuer
from trunkline.errors import InvalidAnswer, IssuerUnavailable, TransportError

if TYPE_CHECKING:
    from joserfc.jwk import Key

logger = logging.getLogger("trunkline.auth")

FRESH = 300.0
"""Seconds a key set is used without asking again; also how long a withdrawn key may still be believed."""

STALE = 24 * 3600.0
"""Seconds a key set is used while the issuer does not answer."""

FORCED = 10.0
"""Seconds between two requests that only a key nobody knows caused: anyone can invent one."""

_PATIENCE = 5.0
_MOST = 100
_MAX_AGE = re.compile(r"max-age=(\d{1,9})")


class _Set(msgspec.Struct):
    keys: list[dict[str, object]]


class KeySet:
    """The public keys of one issuer.

    Parameters:
        issuer: whose they are.
        url: where they are; None takes what the issuer's metadata says.
        fresh: seconds a set is used without asking again; a shorter `max-age` of the answer goes before it.
        clock: monotonic seconds.
    """

    def __init__(
        self, issuer: Issuer, url: str | None = None, fresh: float = FRESH, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._fresh = fresh
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._known = False
        self._fetched = self._forced = -STALE
        self._retry = -STALE
        self._failure = ""
        self.fresh_until = 0.0
        """Seconds of the clock until which what was checked with these keys need not be checked again."""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, kind: str) -> "list[Key]":
        """The keys that may have signed: those of the id, or all of the kind where a token names none.

        Parameters:
            kid: the key's id.
            kind: its `kty`.

        Raises `IssuerUnavailable` while no keys are known.
        """
        now = self._clock()
        if not self._known or now - self._fetched > STALE:
            if now < self._retry:
                raise IssuerUnavailable(self._failure, retry_after=self._retry - now)
            await self._fetch()
        elif now > self.fresh_until and now > self._retry:
            self._begin()
        found = self._matching(kid, kind)
        if not found and self._clock() - max(self._forced, self._fetched) > FORCED:
            self._forced = self._clock()
            try:
                await self._fetch()
            except IssuerUnavailable as error:
                logger.warning("a token names a key that is not known, and the issuer cannot be asked: %s", error)
            found = self._matching(kid, kind)
        return found

    async def close(self) -> None:
        """Ask for nothing any more."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _matching(self, kid: str | None, kind: str) -> "list[Key]":
        return [key for key in self._keys if key.key_type == kind and (kid is None or key.get("kid") == kid)]

    async def _fetch(self) -> None:
        # Whoever waits may leave; the others go on waiting for the same answer.
        await asyncio.shield(self._begin())

    def _begin(self) -> "asyncio.Task[None]":
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.get_running_loop().create_task(self._ask(), name="trunkline-keys")
            self._fetching.add_done_callback(_noted)
        return self._fetching

    async def _ask(self) -> None:
        try:
            url = self._url or (await self._issuer.metadata()).jwks_uri
            if url is None:
                raise InvalidAnswer(f"the metadata of {self._issuer.issuer} name no jwks_uri")
            answer = await self._issuer.fetcher.get(url)
            keys = _usable(answer.read(_Set).keys)
            if not keys:
                raise InvalidAnswer(f"{url} has no key that tokens could be checked with")
        except (TransportError, IssuerUnavailable) as error:
            self._retry = self._clock() + _PATIENCE
            self._failure = f"The keys of {self._issuer.issuer} cannot be fetched: {error.message}"
            raise IssuerUnavailable(self._failure, retry_after=_PATIENCE) from None
        self._keys, self._known = keys, True
        self._fetched = self._clock()
        self.fresh_until = self._fetched + _life(answer.headers, self._fresh)


def _noted(task: "asyncio.Task[None]") -> None:
    """A request in the background has nobody who would hear of its failure."""
    if not task.cancelled() and task.exception() is not None:
        logger.warning("%s", task.exception())


def _usable(listed: list[dict[str, object]]) -> "tuple[Key, ...]":
    """The public keys for signatures; one that cannot be read, or is secret, does not spoil the others."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    keys = []
    for jwk in listed[:_MOST]:
        if jwk.get("kty") not in ("EC", "RSA", "OKP") or jwk.get("use", "sig") != "sig":
            continue
        try:
            # Only what is public is looked at, whatever else somebody published by mistake.
            keys.append(
                import_key({name: value for name, value in jwk.items() if name in _PUBLIC and isinstance(value, str)})
            )
        except (JoseError, ValueError, TypeError, KeyError) as error:
            logger.warning("a key of the issuer cannot be used: %s", type(error).__name__)
    return tuple(keys)


_PUBLIC = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "alg"})


def _life(headers: Mapping[str, str], fresh: float) -> float:
    """How long an answer may be used: what it says, within what we want."""
    said = next((value for name, value in headers.items() if name.lower() == "cache-control"), "")
    age = _MAX_AGE.search(said)
    return fresh if age is None else min(fresh, max(float(age[1]), min(fresh, 10.0)))
