"""The HTTP+SSE link of 2024-11-05.

What it is for: read messages from one GET stream, POST messages to the address it announces.
What may live here: that transport. What may not: message sorting, the newer Streamable HTTP.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import aiohttp

from trunkline.auth.doors import Credentials
from trunkline.client.channel import MAX_MESSAGE, Headers
from trunkline.client.http import CHALLENGES, CONNECT, connecting, join, reason
from trunkline.client.patience import timed_out
from trunkline.errors import HttpFailure, InvalidAnswer, ParseError, TransportError
from trunkline.protocol import sse

_ENDPOINT_SECONDS = 10


class SseLink:
    """A server that speaks HTTP with SSE (2024-11-05, transports).

    Parameters:
        url: the SSE endpoint. session: the connection pool, from `http.new_session`.
        headers: sent with every request; never shown. limit: bytes one message may have.
        connect: seconds a connection may take. credentials: as for `HttpChannel`.
    """

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        headers: Headers = (),
        limit: int = MAX_MESSAGE,
        connect: float = CONNECT,
        credentials: Credentials | None = None,
    ) -> None:
        self._url = url
        self._session = session
        self._headers = headers
        self._limit = limit
        self._connect = connect
        self._credentials = credentials
        self._timeout = connecting(connect)
        self._endpoint = ""
        self._events: AsyncIterator[sse.Event] | None = None
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """GET the stream and wait for its `endpoint` event, which must stay inside the origin."""
        await self._with_credentials("GET", self._url, self._open)

    async def _open(self, proven: Headers) -> tuple[int, Mapping[str, str]]:
        headers = (("Accept", "text/event-stream"), ("Accept-Encoding", "identity"), *self._headers, *proven)
        try:
            async with asyncio.timeout(self._connect + _ENDPOINT_SECONDS):
                response = await self._session.get(
                    self._url, headers=headers, allow_redirects=False, timeout=self._timeout
                )
                self._stack.callback(response.close)
                if response.status != 200 or response.content_type != "text/event-stream":
                    what = f"The server answered GET with {response.status} and no event stream"
                    raise HttpFailure(what, response.status, response.headers)
                self._events = self._read(response)
                event = await anext(self._events, None)
        except aiohttp.ConnectionTimeoutError:
            await self.close()
            what = "The event stream could not be opened"
            raise timed_out("connect", self._connect, what, delivered=False) from None
        except TimeoutError:
            await self.close()
            raise TransportError("The event stream did not announce its endpoint in time", delivered=False) from None
        except (aiohttp.ClientError, OSError) as error:
            await self.close()
            raise TransportError(f"The event stream could not be opened: {reason(error)}", delivered=False) from None
        except TransportError:
            await self.close()
            raise
        self._announce(event)
        return response.status, response.headers

    def _announce(self, event: sse.Event | None) -> None:
        if event is None or event.event != "endpoint":
            raise InvalidAnswer("The first event of an HTTP+SSE server must be `endpoint`")
        endpoint = join(self._url, event.data)
        if endpoint is None:
            raise InvalidAnswer("The server announced an endpoint at another origin; nothing is sent there")
        self._endpoint = endpoint

    async def send(self, message: bytes) -> None:
        """POST one message to the announced endpoint."""
        await self._with_credentials("POST", self._endpoint, partial(self._post, message))

    async def _post(self, message: bytes, proven: Headers) -> tuple[int, Mapping[str, str]]:
        headers = (("Content-Type", "application/json"), *self._headers, *proven)
        try:
            async with self._session.post(
                self._endpoint, data=message, headers=headers, allow_redirects=False, timeout=self._timeout
            ) as response:
                if response.status >= 300:
                    what = f"The server answered a POST with {response.status}"
                    raise HttpFailure(what, response.status, response.headers)
                return response.status, response.headers
        except aiohttp.ConnectionTimeoutError:
            raise timed_out("connect", self._connect, "The message could not be sent", delivered=False) from None
        except aiohttp.ClientConnectorError as error:
            raise TransportError(f"The message could not be sent: {reason(error)}", delivered=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"The connection broke while a message was sent: {reason(error)}") from None

    async def _with_credentials(
        self, verb: str, url: str, send: Callable[[Headers], Awaitable[tuple[int, Mapping[str, str]]]]
    ) -> None:
        """Send a request, again where the server wants other credentials and there are some."""
        credentials = self._credentials
        if credentials is None:
            await send(())
            return
        for last in (*[False] * (CHALLENGES - 1), True):
            proven = await credentials.headers(verb, url)
            try:
                status, headers = await send(proven)
                credentials.seen(url, proven, status, headers)
                return
            except HttpFailure as failure:
                status, headers = failure.status, failure.headers
                credentials.seen(url, proven, status, headers)
                challenge = status in (401, 403) and not last
                if not challenge or not await credentials.challenged(verb, url, proven, status, headers):
                    raise

    async def receive(self) -> bytes | None:
        """The next message of the stream."""
        if self._events is None:
            return None
        try:
            async for event in self._events:
                if event.event == "message" and event.data:
                    return event.data.encode()
        except (aiohttp.ClientError, OSError, ParseError) as error:
            raise TransportError(f"The event stream broke: {reason(error)}") from None
        return None

    async def close(self) -> None:
        """Close the stream."""
        await self._stack.aclose()

    async def _read(self, response: aiohttp.ClientResponse) -> AsyncIterator[sse.Event]:
        parser = sse.Parser(self._limit)
        async for chunk in response.content.iter_any():
            for event in parser.feed(chunk):
                yield event
