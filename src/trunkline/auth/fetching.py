"""Requests to addresses that another party named.

What it is for: one way to fetch metadata and keys, to register and to ask for tokens, with every bound in place.
What may live here: that. What may not: what the documents mean; which addresses are allowed, see `addresses`.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import TypeVar

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from trunkline.auth import documents
from trunkline.auth.addresses import AddressRules, where
from trunkline.errors import AddressRefused, InvalidAnswer, TransportError

LIMIT = 1024 * 1024
"""Bytes an answer may have."""

SECONDS = 15.0
"""Seconds a request may take in all: the name looked up, the connection made, the answer read."""

T = TypeVar("T", bound=msgspec.Struct)
_REDIRECTS = (301, 302, 303, 307, 308)
_HOPS = 3
_PLAIN = (("Accept", "application/json"), ("Accept-Encoding", "identity"))


class Fetched(msgspec.Struct, frozen=True):
    """An answer, read to its end. `body` may hold secrets.

    Parameters:
        url: what was asked for. headers: names in any case.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Fetched {self.status} of {where(URL(self.url))}, {len(self.body)} bytes>"

    def read(self, kind: type[T]) -> T:
        """The document of a 200. Raises `InvalidAnswer` for any other status, and for what is no such document."""
        if self.status != 200:
            raise InvalidAnswer(f"{where(URL(self.url))} answered {self.status}")
        return documents.read(kind, self.body, where(URL(self.url)))


class Fetcher:
    """Makes requests inside the rules; it holds no connections, so there is nothing to close.

    A name is looked up once, and the connection goes to the very addresses that were checked: a name that resolves to
    another address a moment later (DNS rebinding) gains nothing. Cookies and proxies of the environment do not exist.

    Parameters:
        rules: which addresses are allowed.
        limit: bytes an answer may have. seconds: a request may take in all.
        tls: how certificates are checked; by default against those of the system.
        resolver: looks names up; by default the system's.

        metadata = (await Fetcher(AddressRules.around(url)).get(address)).read(ServerMetadata)
    """

    def __init__(
        self,
        rules: AddressRules,
        *,
        limit: int = LIMIT,
        seconds: float = SECONDS,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self.rules = rules
        self._limit = limit
        self._seconds = seconds
        self._tls: ssl.SSLContext | bool = tls or True
        self._resolver = resolver

    async def get(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> Fetched:
        """GET; a redirect is followed inside the origin only, and checked like the first address.

        Raises `AddressRefused`, `TransportError`, and `InvalidAnswer` for an answer beyond the bounds.
        """
        target = self.rules.checked(url)
        for _ in range(_HOPS + 1):
            answer = await self._request("GET", target, headers, None)
            if answer.status not in _REDIRECTS:
                return answer
            target = self._moved(target, answer.headers.get("Location", ""))
        raise InvalidAnswer(f"{where(target)} redirects in a circle")

    async def post(self, url: str, form: Mapping[str, str], headers: Iterable[tuple[str, str]] = ()) -> Fetched:
        """POST a form. A redirect is an answer like others: what was sent is for this address alone.

        Raises as `get` does.
        """
        return await self._request("POST", self.rules.checked(url), headers, aiohttp.FormData(dict(form))())

    async def post_json(self, url: str, value: object, headers: Iterable[tuple[str, str]] = ()) -> Fetched:
        """POST a JSON document; see `post`."""
        payload = aiohttp.BytesPayload(msgspec.json.encode(value), content_type="application/json")
        return await self._request("POST", self.rules.checked(url), headers, payload)

    def _moved(self, target: URL, location: str) -> URL:
        try:
            moved = target.join(URL(location))
        except ValueError:
            raise InvalidAnswer(f"{where(target)} redirects to something that is not an address") from None
        if moved.origin() != target.origin():
            raise AddressRefused(f"{where(target)} redirects to another origin, {where(moved)}; that is not followed")
        return self.rules.checked(str(moved))

    async def _request(
        self, verb: str, target: URL, headers: Iterable[tuple[str, str]], data: aiohttp.Payload | None
    ) -> Fetched:
        connector = aiohttp.TCPConnector(
            resolver=_Checked(self.rules, target, self._resolver), use_dns_cache=False, force_close=True, ssl=self._tls
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": "trunkline"},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session:
            try:
                async with (
                    asyncio.timeout(self._seconds),
                    session.request(
                        verb, target, data=data, headers=(*_PLAIN, *headers), allow_redirects=False
                    ) as response,
                ):
                    return Fetched(str(target), response.status, response.headers, await self._read(target, response))
            except TimeoutError:
                raise TransportError(f"{where(target)} did not answer in {self._seconds:g} seconds") from None
            except aiohttp.ClientConnectorError as error:
                raise TransportError(f"Cannot connect to {where(target)}: {_reason(error)}", delivered=False) from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise TransportError(f"The connection to {where(target)} broke: {_reason(error)}") from None

    async def _read(self, target: URL, response: aiohttp.ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            # Nobody asked for it, and what is small on the way may be anything but that unpacked.
            raise InvalidAnswer(f"{where(target)} sent a compressed answer, which was not asked for")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > self._limit:
                raise InvalidAnswer(f"{where(target)} sent more than {self._limit} bytes")
        return bytes(body)


class _Checked(AbstractResolver):
    """Looks up names, and leaves of the addresses those that a request may go to."""

    def __init__(self, rules: AddressRules, target: URL, resolver: AbstractResolver | None) -> None:
        self._rules = rules
        self._target = target
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await (self._resolver or ThreadedResolver()).resolve(host, port, family)
        allowed = [result for result in found if self._rules.permits(self._target, ip_address(result["host"]))]
        if not allowed:
            raise AddressRefused(
                f"{where(self._target)} has no public address, so nothing is sent there; if you trust it, allow it "
                "with `allow`"
            )
        return allowed

    async def close(self) -> None:
        """The resolver belongs to whoever gave it."""


def _reason(error: BaseException) -> str:
    """Why aiohttp failed, in one line and without the address, which may hold a secret in its query."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not valid ({error.certificate_error})"
    return str(getattr(error, "os_error", None) or "") or type(error).__name__
