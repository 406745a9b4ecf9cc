"""What an authorization server publishes, as a resource server needs it.

What it is for: where the keys and the introspection endpoint of a configured issuer are.
What may live here: its metadata, found in the standard's order and kept for a while. What may not: keys, tokens.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from trunkline.auth.addresses import AddressRules
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.fetching import Fetcher
from trunkline.auth.metadata import find_server
from trunkline.errors import ConfigError, IssuerUnavailable, TransportError

KEPT = 3600.0
"""Seconds the metadata of an issuer is used before it is asked for again."""


class Issuer:
    """An authorization server that the operator named.

    Parameters:
        issuer: its identifier, compared byte for byte with everything that claims to come from it.
        allow: addresses that are requested though they are not public; see `AddressRules.around`.
        clock: monotonic seconds.

    Raises `ConfigError` for an identifier that is none.

        metadata = await Issuer("https://id.example.com").metadata()
    """

    def __init__(self, issuer: str, allow: tuple[str, ...] = (), clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(issuer)
        if parts.scheme not in ("https", "http") or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"The issuer {issuer!r} is not an address such as https://id.example.com")
        self.issuer = issuer
        self.fetcher = Fetcher(AddressRules.around(issuer, allow), seconds=5.0)
        self._clock = clock
        self._known: ServerMetadata | None = None
        self._until = 0.0
        self._turn = asyncio.Lock()

    async def metadata(self) -> ServerMetadata:
        """What it says of itself. Raises `IssuerUnavailable` while nothing is known of it."""
        async with self._turn:
            if self._known is None or self._clock() > self._until:
                try:
                    self._known = await self._find()
                except IssuerUnavailable:
                    # What was right an hour ago is most likely right now.
                    if self._known is None:
                        raise
                self._until = self._clock() + KEPT
            return self._known

    async def _find(self) -> ServerMetadata:
        try:
            return await find_server(self.fetcher, self.issuer)
        except TransportError as error:
            said = f"Nothing is known of the issuer {self.issuer}: {error.message}"
            raise IssuerUnavailable(said, retry_after=5.0) from None

    def __repr__(self) -> str:
        return f"Issuer({self.issuer!r})"
