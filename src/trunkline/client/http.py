"""The Streamable HTTP channel.

What it is for: one POST per message, the answer read as JSON or as an event stream; GET streams for legacy peers.
What may live here: HTTP and framing. What may not: eras, sessions, retries, JSON-RPC rules.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import aiohttp

from trunkline.auth.doors import Credentials
from trunkline.client.channel import MAX_MESSAGE, Body, Call, Headers, is_response, unpack
from trunkline.client.patience import Patience, Pulse, timed_out
from trunkline.errors import HttpFailure, InvalidAnswer, ParseError, TransportError
from trunkline.protocol import sse

CONNECT = 10.0
"""Seconds a connection may take unless said otherwise: the name looked up, TCP, TLS."""

_POST = (("Accept", "application/json, text/event-stream"), ("Accept-Encoding", "identity"))
_GET = (("Accept", "text/event-stream"), ("Cache-Control", "no-store"), ("Accept-Encoding", "identity"))
_REDIRECTS = 3
CHALLENGES = 6
"""How often a request is sent again with other credentials: for a nonce, a refreshed token, a new one, more scopes."""


def new_session() -> aiohttp.ClientSession:
    """A connection pool for any number of channels of one event loop; whoever makes it closes it.

    It keeps no cookies, because a server could otherwise tie requests of different callers together, and drops idle
    connections before common servers do, so that a request seldom meets a connection that is just being closed.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=connecting(CONNECT),
        headers={"User-Agent": "trunkline"},
    )


def connecting(seconds: float) -> aiohttp.ClientTimeout:
    """Nothing but making a connection is bounded; everything else has the clock of its call."""
    return aiohttp.ClientTimeout(total=None, connect=seconds)


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
        connect: seconds a connection may take.
        credentials: asked for further headers before each request, and told of each answer.
    """

    duplex = False
    pulse = None

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        headers: Headers = (),
        limit: int = MAX_MESSAGE,
        connect: float = CONNECT,
        credentials: Credentials | None = None,
    ) -> None:
        self.url = url
        self.name = address(url)
        """The endpoint for people."""
        self.ids: Iterator[int] = itertools.count(1)
        self._session = session
        self._post_headers = (*_POST, *headers)
        self._get_headers = (*_GET, *headers)
        self._limit = limit
        self._connect = connect
        self._credentials = credentials
        self._timeout = connecting(connect)
        self._streams: set[aiohttp.ClientResponse] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<HttpChannel {self.name}>"

    async def start(self, sink: Callable[[Body], None]) -> None:
        """Nothing to open: every message is its own request."""

    async def exchange(self, call: Call) -> Body:
        """POST a request and read its response; an event stream is closed when the caller is cancelled."""
        headers = self._post_headers + call.sent_headers
        with await self._open("POST", headers, call.body, call.patience) as response:
            call.pulse.beat()
            call.status, call.headers = response.status, response.headers
            if response.status < 300 and _is_stream(response):
                return await self._follow(response, call)
            return await self._answer(response, await self._read(response, call.pulse), call)

    async def resume(self, call: Call, headers: Headers) -> Body:
        """Reconnect a broken stream with `Last-Event-ID` (2025-11-25, Resumability and Redelivery)."""
        headers += (("Last-Event-ID", call.last_event_id or ""),)
        with await self._open("GET", self._get_headers + headers, patience=call.patience) as response:
            call.status = response.status
            self._require_stream(response)
            return await self._follow(response, call)

    async def stream(self, headers: Headers, call: Call, opened: Callable[[], None]) -> None:
        """Read a standalone GET stream until it ends, handing every message to `call.take`."""
        if call.last_event_id is not None:
            headers += (("Last-Event-ID", call.last_event_id),)
        with await self._open("GET", self._get_headers + headers) as response:
            call.status = response.status
            self._require_stream(response)
            opened()
            async for message in self._messages(response, call):
                await call.take(call, message)

    async def send(self, body: bytes, headers: Headers = ()) -> None:
        """POST a notification or a response."""
        with await self._open("POST", self._post_headers + headers, body) as response:
            await self._read(response)
            if response.status >= 300:
                raise self._failure(response)

    async def delete(self, headers: Headers) -> None:
        """DELETE the endpoint: ends a legacy session. Servers may refuse; that is no error."""
        with await self._open("DELETE", self._get_headers + headers) as response:
            await self._read(response)

    async def close(self) -> None:
        """Close the streams that are open; the pool stays."""
        self._closed = True
        for response in tuple(self._streams):
            response.close()

    async def _open(
        self, verb: str, headers: Headers, body: bytes | None = None, patience: Patience | None = None
    ) -> "_Opened":
        """Send a request; the answer it comes back with is read inside a `with`.

        Parameters:
            patience: the clock of the call; it stands still while somebody signs in.
        """
        credentials = self._credentials
        if credentials is None:
            return _Opened(self, await self._answered(verb, headers, body), self._streams)
        for sent in range(CHALLENGES + 1):
            url = self.url
            with nullcontext() if patience is None else patience.stopped():
                proven = await credentials.headers(verb, url)
            response = await self._answered(verb, headers + proven, body, moves=False)
            credentials.seen(url, proven, response.status, response.headers)
            if sent == CHALLENGES or response.status not in (307, 308, 401, 403):
                break
            if response.status in (307, 308):
                response.close()
                self._move(response)
                continue
            if verb == "DELETE" and "DPoP-Nonce" not in response.headers:
                # Nobody signs in to leave.
                break
            try:
                with nullcontext() if patience is None else patience.stopped():
                    again = await credentials.challenged(verb, url, proven, response.status, response.headers)
            except BaseException:
                response.close()
                raise
            if not again:
                break
            response.close()
        return _Opened(self, response, self._streams)

    async def _answered(
        self, verb: str, headers: Headers, body: bytes | None, *, moves: bool = True
    ) -> aiohttp.ClientResponse:
        """Send a request; `moves` follows redirects, which credentials cannot: a proof names the address."""
        if self._closed:
            raise TransportError(f"The connection to {self.name} is closed", delivered=False)
        # The type travels with the payload: one header less to carry through all of aiohttp's steps.
        data = None if body is None else aiohttp.BytesPayload(body, content_type="application/json")
        for _ in range(_REDIRECTS):
            try:
                response = await self._session.request(
                    verb, self.url, data=data, headers=headers, allow_redirects=False, timeout=self._timeout
                )
            except aiohttp.ConnectionTimeoutError:
                raise timed_out("connect", self._connect, f"Cannot connect to {self.name}", delivered=False) from None
            except (aiohttp.ClientConnectorError, ValueError) as error:
                raise TransportError(f"Cannot connect to {self.name}: {reason(error)}", delivered=False) from None
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                raise self.broken(error) from None
            if not moves or response.status not in (307, 308):
                break
            response.close()
            self._move(response)
        else:
            raise TransportError(f"{self.name} redirects in a circle", delivered=False)
        if self._closed:
            response.close()
            raise TransportError(f"The connection to {self.name} was closed meanwhile")
        return response

    def broken(self, error: Exception) -> TransportError:
        """What is said when the connection breaks under a request that was sent."""
        return TransportError(f"The connection to {self.name} broke: {reason(error)}")

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

    async def _read(self, response: aiohttp.ClientResponse, pulse: Pulse | None = None) -> bytes:
        content = response.content
        if content.is_eof():
            # What is short has come together with its headers.
            chunks = [content.read_nowait()]
            size = len(chunks[0])
        else:
            chunks, size = [], 0
            async for chunk in content.iter_any():
                if pulse is not None:
                    pulse.beat()
                chunks.append(chunk)
                size += len(chunk)
                if size > self._limit:
                    break
        if size > self._limit:
            raise InvalidAnswer(f"{self.name} sent more than {self._limit} bytes in one message")
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
            call.pulse.beat()
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
        if response.status >= 300 or not _is_stream(response):
            raise self._failure(response)

    def _failure(self, response: aiohttp.ClientResponse) -> HttpFailure:
        what = f"{self.name} answered {response.status} {response.reason or ''}".rstrip()
        return HttpFailure(what + _ADVICE.get(response.status, ""), response.status, response.headers)


class _Opened:
    """An answer while it is read; afterwards its connection goes back to the pool, or is closed when more would come.

    Parameters:
        channel: whose it is.
        response: the answer.
        streams: where the channel keeps what is open.
    """

    __slots__ = ("_channel", "_response", "_streams")

    def __init__(
        self, channel: HttpChannel, response: aiohttp.ClientResponse, streams: set[aiohttp.ClientResponse]
    ) -> None:
        self._channel = channel
        self._response = response
        self._streams = streams
        streams.add(response)

    def __enter__(self) -> aiohttp.ClientResponse:
        return self._response

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response = self._response
        self._streams.discard(response)
        # One that was read to its end has given its connection back already.
        if response.connection is not None:
            if response.content.at_eof():
                response.release()
            else:
                response.close()
        if isinstance(error, aiohttp.ClientError | OSError):
            raise self._channel.broken(error) from None


_ADVICE = {
    401: ": it wants credentials; sign in with `auth`, or give an Authorization header",
    403: ": these credentials may not do this, or the server refuses this Host or Origin",
    404: ": check the path of the address",
    429: ": too many requests, try again later",
    503: ": try again later",
}


def _is_stream(response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/event-stream"


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
