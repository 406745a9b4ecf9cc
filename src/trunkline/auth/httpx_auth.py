"""Sign-in for clients of other libraries.

What it is for: everything that signs a trunkline `Client` in (DPoP, enterprise-managed access, workload identity, ...)
as an `Auth` of httpx, which the official SDK's client takes.
What may live here: that adapter. What may not: any rule of its own about tokens; imports of httpx but inside.
"""

from collections.abc import AsyncGenerator, Generator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from trunkline.auth.addresses import same_origin
from trunkline.auth.doors import Credentials, Grant
from trunkline.auth.oauth import OAuth
from trunkline.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

_LIBRARIES = ("httpx2", "httpx")
"""The official SDK uses the first from version 2 on, before that the second."""

_TRIES = 6
"""Requests for one that is challenged: a nonce, a first token, a step-up, each at most a few times."""


class _Request(Protocol):
    """What is used of a request of either library."""

    method: str
    url: object
    headers: MutableMapping[str, str]

    async def aread(self) -> bytes:
        """The whole body, kept so that it can be sent again."""


class _Response(Protocol):
    """What is used of an answer of either library."""

    status_code: int
    url: object
    headers: MutableMapping[str, str]


class _Flow:
    """The methods of an `Auth`."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def async_auth_flow(self, request: _Request) -> AsyncGenerator[_Request, _Response]:
        """Send the request with what it has to carry, and again where a challenge could be answered."""
        url = str(request.url)
        await request.aread()
        for left in reversed(range(_TRIES)):
            sent = await self._credentials.headers(request.method, url)
            for name in ("Authorization", "DPoP"):
                request.headers.pop(name, None)
            for name, value in sent:
                request.headers[name] = value
            response = yield request
            if not same_origin(url, str(response.url)):
                # A client that follows redirects was led elsewhere: what is said there is no word of this server.
                return
            status = response.status_code
            self._credentials.seen(url, sent, status, response.headers)
            if status not in (401, 403) or not left:
                return
            if not await self._credentials.challenged(request.method, url, sent, status, response.headers):
                return

    def sync_auth_flow(self, request: _Request) -> Generator[_Request, _Response, None]:
        """Signing in waits for others, which only an asynchronous client can."""
        raise ConfigError("This signs asynchronous clients in: use AsyncClient")

    def __repr__(self) -> str:
        return f"<httpx_auth by {self._credentials!r}>"


def httpx_auth(auth: Credentials | Grant) -> "httpx2.Auth":
    """An `Auth` for httpx2 and httpx, whichever of them is installed, and so for the official SDK's client.

    Parameters:
        auth: what a `Client` takes as `auth`: a grant, or `OAuth` with its options. One is for one server; the event
            loop has to be asyncio's.

    Raises `ConfigError` when neither library is installed.

        async with httpx2.AsyncClient(auth=httpx_auth(OAuth(SignIn(), dpop="required"))) as http_client:
            async with streamable_http_client(url, http_client=http_client) as streams: ...
    """
    bases = []
    for library in _LIBRARIES:
        try:
            bases.append(import_module(library).Auth)
        except ImportError:
            continue
    if not bases:
        raise ConfigError("There is no httpx to sign in: install trunkline[httpx]")
    made = type("HttpxAuth", (_Flow, *bases), {"requires_request_body": True})
    return cast("httpx2.Auth", made(auth if isinstance(auth, Credentials) else OAuth(auth)))
