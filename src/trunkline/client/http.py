"""The Streamable HTTP channel.

What it is for: one POST per message, the answer read as JSON or as an event stream; GET streams for legacy peers.
What may live here: HTTP and framing. What may not: eras, sessions, retries, JSON-RPC rules.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import aiohttp

from trunkline.client.channel import MAX_MESSAGE, Body, Call, Headers, is_response, unpack
from trunkline.errors import HttpFailure, InvalidAnswer, ParseError, TransportError
from trunkline.protocol import sse

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=None)
_POST = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
    ("Accept-Encoding", "identity"),
)
_GET = (("Accept", "text/event-stream"), ("Cache-Control", "no-store"), ("Accept-Encoding", "identity"))
_REDIRECTS = 3


def new_session() -> aiohttp.ClientSession:
    """A connection pool for any number of channels of one event loop; whoever makes it closes it.

    It keeps no cookies, because a server could otherwise tie requests of different callers together, and drops idle
    connections before common servers do, so that a request seldom meets a connection that is just being closed.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=_NO_TIMEOUT,
        headers={"User-Agent": "trunkline"},
    )


def origin(url: str) -> tuple[str, str, int | None]:
    """The scheme, host and port of a URL, to compare origins."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def join(base: str, reference: str) -> str | None:
    """The URL a server's reference means; None where it leads to another origin, or cannot be read."""
    try:
        url = urljoin(base, reference)
        return url if origin(url) == origin(base) else None
    except ValueError:
        return None


def address(url: str) -> str:
    """A URL for people: without user info and query, which may hold secrets."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"


class HttpChannel:
    """One MCP endpoint.

    Parameters:
        url: the endpoint.
        session: the pool, from `new_session`; not closed by the channel.
        headers: sent with every request, for example `Authorization`; never shown.
        limit: bytes one message may have.
    """

    duplex = False

    def __init__(
        self, url: str, session: aiohttp.ClientSession, headers: Headers = (), limit: int = MAX_MESSAGE
    ) -> None:
        self.url = url
        self.name = address(url)
        """The endpoint for people."""
        self.ids: Iterator[int] = itertools.count(1)
        self._session = session
        self._post_headers = (*_POST, *headers)
        self._get_headers = (*_GET, *headers)
        self._limit = limit
        self._streams: set[aiohttp.ClientResponse] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<HttpChannel {self.name}>"

    async def start(self, sink: Callable[[Body], None]) -> None:
        """Nothing to open: every message is its own request."""

    async def exchange(self, call: Call) -> Body:
        """POST a request and read its response; an event stream is closed when the caller is cancelled."""
        async with self._open("POST", self._post_headers + call.sent_headers, call.body) as response:
            call.status, call.headers = response.status, response.headers
            if response.status < 300 and response.content_type == "text/event-stream":
                return await self._follow(response, call)
            return await self._answer(response, await self._read(response), call)

    async def resume(self, call: Call, headers: Headers) -> Body:
        """Reconnect a broken stream with `Last-Event-ID` (2025-11-25, Resumability and Redelivery)."""
        headers += (("Last-Event-ID", call.last_event_id or ""),)
        async with self._open("GET", self._get_headers + headers) as response:
            call.status = response.status
            self._require_stream(response)
            return await self._follow(response, call)

    async def stream(self, headers: Headers, call: Call, opened: Callable[[], None]) -> None:
        """Read a standalone GET stream until it ends, handing every message to `call.take`."""
        if call.last_event_id is not None:
            headers += (("Last-Event-ID", call.last_event_id),)
        async with self._open("GET", self._get_headers + headers) as response:
            call.status = response.status
            self._require_stream(response)
            opened()
            async for message in self._messages(response, call):
                await call.take(call, message)

    async def send(self, body: bytes, headers: Headers = ()) -> None:
        """POST a notification or a response."""
        async with self._open("POST", self._post_headers + headers, body) as response:
            await self._read(response)
            if response.status >= 300:
                raise self._failure(response)

    async def delete(self, headers: Headers) -> None:
        """DELETE the endpoint: ends a legacy session. Servers may refuse; that is no error."""
        async with self._open("DELETE", self._get_headers + headers) as response:
            await self._read(response)

    async def close(self) -> None:
        """Close the streams that are open; the pool stays."""
        self._closed = True
        for response in tuple(self._streams):
            response.close()

    @asynccontextmanager
    async def _open(
        self, verb: str, headers: Headers, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._closed:
            raise TransportError(f"The connection to {self.name} is closed", delivered=False)
        response = await self._request(verb, headers, body)
        self._streams.add(response)
        try:
            if self._closed:
                raise TransportError(f"The connection to {self.name} was closed meanwhile")
            yield response
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"The connection to {self.name} broke: {reason(error)}") from None
        finally:
            self._streams.discard(response)
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    async def _request(self, verb: str, headers: Headers, body: bytes | None) -> aiohttp.ClientResponse:
        for _ in range(_REDIRECTS):
            try:
                response = await self._session.request(
                    verb, self.url, data=body, headers=headers, allow_redirects=False, timeout=_NO_TIMEOUT
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ValueError) as error:
                raise TransportError(f"Cannot connect to {self.name}: {reason(error)}", delivered=False) from None
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                raise TransportError(f"The connection to {self.name} broke: {reason(error)}") from None
            if response.status not in (307, 308):
                return response
            response.close()
            self._move(response)
        raise TransportError(f"{self.name} redirects in a circle", delivered=False)

    def _move(self, response: aiohttp.ClientResponse) -> None:
        """Follow a redirect inside the origin only: headers may hold credentials meant for this origin."""
        location = response.headers.get("Location", "")
        moved = join(self.url, location)
        if moved is None:
            raise HttpFailure(
                f"{self.name} redirects to another origin, {location[:200]!r}: use that address if you trust it",
                response.status,
                response.headers,
            )
        self.url = moved

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._limit:
                raise InvalidAnswer(f"{self.name} sent more than {self._limit} bytes in one message")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _answer(self, response: aiohttp.ClientResponse, raw: bytes, call: Call) -> Body:
        """Find the response in a body that is not a stream; any status may carry a JSON-RPC error."""
        try:
            messages = unpack(raw, self.name)
        except (ParseError, InvalidAnswer) as error:
            if response.status >= 300:
                raise self._failure(response) from None
            if response.content_type != "application/json":
                raise InvalidAnswer(f"{self.name} answered {response.status} with {response.content_type}") from None
            raise InvalidAnswer(f"{self.name} sent an answer that cannot be read: {error}") from None
        answer: Body | None = None
        for message in messages:
            # An error that could not be tied to the request has no id, or one the server made up.
            if is_response(message, call.id) or (response.status >= 400 and "error" in message):
                answer = message
            else:
                await call.take(call, message)
        if answer is None:
            raise InvalidAnswer(f"{self.name} answered {call.method} without its response")
        return answer

    async def _follow(self, response: aiohttp.ClientResponse, call: Call) -> Body:
        async for message in self._messages(response, call):
            if is_response(message, call.id):
                # The end of the stream usually stands right behind; with it read, the connection can be used again.
                await asyncio.sleep(0)
                return message
            await call.take(call, message)
        raise TransportError(f"{self.name} ended the stream of {call.method} before its response; it may have run")

    async def _messages(self, response: aiohttp.ClientResponse, call: Call) -> AsyncIterator[Body]:
        parser = sse.Parser(self._limit)
        async for chunk in response.content.iter_any():
            try:
                for event in parser.feed(chunk):
                    call.last_event_id = parser.last_id or call.last_event_id
                    call.retry = event.retry if event.retry is not None else call.retry
                    if event.data and event.event == "message":
                        for message in unpack(event.data, self.name):
                            yield message
            except ParseError as error:
                raise InvalidAnswer(f"{self.name} sent an event that cannot be read: {error}") from None
            call.last_event_id = parser.last_id or call.last_event_id

    def _require_stream(self, response: aiohttp.ClientResponse) -> None:
        if response.status >= 300 or response.content_type != "text/event-stream":
            raise self._failure(response)

    def _failure(self, response: aiohttp.ClientResponse) -> HttpFailure:
        what = f"{self.name} answered {response.status} {response.reason or ''}".rstrip()
        return HttpFailure(what + _ADVICE.get(response.status, ""), response.status, response.headers)


_ADVICE = {
    401: ": it wants credentials; give an Authorization header",
    403: ": these credentials may not do this, or the server refuses this Host or Origin",
    404: ": check the path of the address",
    429: ": too many requests, try again later",
    503: ": try again later",
}


def reason(error: BaseException) -> str:
    """Why aiohttp failed, in one line; without the address, which its own texts repeat with the query."""
    if isinstance(error, aiohttp.InvalidURL):
        return "the address is not a URL"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the answer is not HTTP ({error.message.partition(':')[0]})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer ended too early"
    text = str(getattr(error, "os_error", None) or error)
    return text or type(error).__name__
