"""Which era a server is of.

What it is for: find out as the specification says, remember it, and hand out the right peer.
What may live here: probing and its memory. What may not: anything after the connection is made.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import msgspec

from trunkline.auth.doors import Credentials
from trunkline.client.channel import Headers, Link, OnNotification, OnRequest
from trunkline.client.duplex import DuplexChannel
from trunkline.client.handover import Handover
from trunkline.client.http import CONNECT, HttpChannel, address
from trunkline.client.legacy import LegacyPeer
from trunkline.client.modern import ModernPeer, offered
from trunkline.client.peer import TIMEOUT, Greeting
from trunkline.client.sse2024 import SseLink
from trunkline.errors import HttpFailure, InvalidAnswer, RemoteError, RequestTimeout, TransportError, UnsupportedVersion
from trunkline.protocol.revisions import LATEST_LEGACY, LEGACY, MODERN, Era, common

_log = logging.getLogger("trunkline.client")
PROBE_SECONDS = 10.0
_MODERN_CODES = (-32020, -32021, -32022)
_OLD_TRANSPORT = (400, 404, 405)


class Remembered(msgspec.Struct, frozen=True):
    """What is known of a server: its era, its revision, its transport, and what it said of itself (modern)."""

    era: Era
    revision: str
    sse: bool = False
    discovered: dict[str, object] | None = None


class EraMemory:
    """The eras of the servers met so far, by endpoint or by command; bounded."""

    def __init__(self, limit: int = 1000) -> None:
        self._known: dict[str, Remembered] = {}
        self._limit = limit

    def get(self, key: str) -> Remembered | None:
        """What is known of a server."""
        return self._known.get(key)

    def put(self, key: str, known: Remembered) -> None:
        """Remember; the oldest is forgotten when there are too many."""
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > self._limit:
            del self._known[next(iter(self._known))]

    def forget(self, key: str) -> None:
        """The assumption failed: probe next time."""
        self._known.pop(key, None)


class Approach(msgspec.Struct, frozen=True):
    """How to meet a server.

    Parameters:
        greeting: who we are. memory: what is known of servers; shared between connections.
        on_request, on_event: see `BasePeer`.
        timeout: seconds `initialize` may take. probe: seconds a legacy server may stay silent on `server/discover`.
        era: set to speak one era only, without probing.
        version: the legacy version to offer. connect: seconds a connection may take (HTTP).
        credentials: asked before each request what it is to carry (HTTP).
        handover: where processes of ours keep the legacy session they share.
    """

    greeting: Greeting
    memory: EraMemory
    on_request: OnRequest | None = None
    on_event: OnNotification | None = None
    timeout: float = TIMEOUT
    probe: float = PROBE_SECONDS
    era: Era | None = None
    version: str = LATEST_LEGACY
    handover: Handover | None = None
    connect: float = CONNECT
    credentials: Credentials | None = None


async def meet_http(
    url: str, session: aiohttp.ClientSession, approach: Approach, headers: Headers = (), *, sse: bool | None = None
) -> ModernPeer | LegacyPeer:
    """Connect to an HTTP endpoint (Streamable HTTP, Backward Compatibility).

    Parameters:
        url: the endpoint. session: the pool, from `http.new_session`. headers: sent with every request.
        sse: True for a server known to speak HTTP+SSE of 2024-11-05, False to never try it.

    Raises `TransportError` (also `HttpFailure`, for example 401) or `RemoteError`.
    """
    known = approach.memory.get(url)
    if sse:
        return await _meet_sse(url, session, approach, headers)
    if known is not None and known.era == "legacy" and approach.era != "modern":
        # What is remembered may be out of date: then the server is probed like a new one.
        with contextlib.suppress(HttpFailure, RemoteError, InvalidAnswer):
            if known.sse:
                return await _meet_sse(url, session, approach, headers)
            channel = _channel(url, session, approach, headers)
            return await _meet_legacy(channel, url, approach, channel.name)
    channel = _channel(url, session, approach, headers)
    if approach.era != "legacy":
        peer = await _try_modern(channel, url, approach, approach.memory.get(url))
        if peer is not None:
            return peer
    try:
        return await _meet_legacy(channel, url, approach, channel.name)
    except HttpFailure as failure:
        if failure.status not in _OLD_TRANSPORT or sse is False:
            raise
        return await _after_refusal(url, session, approach, headers, failure)


async def meet_duplex(
    open_link: Callable[[], Awaitable[Link]],
    key: str,
    approach: Approach,
    *,
    on_garbage: Callable[[bytes], None] | None = None,
) -> ModernPeer | LegacyPeer:
    """Connect over a link (stdio, Backward Compatibility): probe with `server/discover`, else `initialize`.

    Parameters:
        open_link: makes a fresh, unopened link; called again when a server does not survive the probe.
        key: the server's name, also in the memory.
        on_garbage: takes lines that are not MCP messages.
    """

    async def fresh() -> DuplexChannel:
        return DuplexChannel(await open_link(), key, on_garbage)

    known = approach.memory.get(key)
    if approach.era == "legacy":
        return await _meet_legacy(await fresh(), key, approach, key)
    if known is not None and known.era == "legacy" and approach.era is None:
        with contextlib.suppress(RemoteError, InvalidAnswer):
            return await _meet_legacy(await fresh(), key, approach, key)
    channel = await fresh()
    peer = await _try_modern(channel, key, approach, None)
    if peer is not None:
        return peer
    if channel.ended:
        await channel.close()
        channel = await fresh()
    try:
        return await _meet_legacy(channel, key, approach, key, keep=True)
    except RemoteError:
        # A modern server that was slow to start leaves the probe unanswered and refuses `initialize`.
        peer = await _try_modern(channel, key, approach, None)
        if peer is None:
            await channel.close()
            raise
        return peer


async def _try_modern(
    channel: HttpChannel | DuplexChannel, key: str, approach: Approach, known: Remembered | None
) -> ModernPeer | None:
    """A modern peer, or None when the server is not modern. Closes the channel when it raises."""
    peer = ModernPeer(
        channel, approach.greeting, channel.name, on_request=approach.on_request, on_event=approach.on_event
    )
    if known is not None and known.discovered is not None:
        peer.adopt(known.discovered)
        return peer
    try:
        modern, discovered = await _probe(peer, channel, approach)
    except BaseException:
        # Also when nobody wants to know any more: a process must not outlive the attempt to meet it.
        await channel.close()
        raise
    if not modern:
        return None
    approach.memory.put(key, Remembered("modern", peer.revision, discovered=discovered))
    return peer


async def _probe(
    peer: ModernPeer, channel: HttpChannel | DuplexChannel, approach: Approach
) -> tuple[bool, dict[str, object] | None]:
    """Ask `server/discover`: whether the server is modern, and what it said of itself."""
    try:
        await channel.start(peer.sink)
        discovered = await peer.discover(approach.probe if channel.duplex else approach.timeout)
        return not _only_legacy(discovered, approach), discovered
    except RemoteError as error:
        return _is_modern(error, approach), None
    except TransportError as error:
        if approach.era == "modern" or not _hints_at_legacy(channel, error):
            raise
        return False, None


def _hints_at_legacy(channel: HttpChannel | DuplexChannel, error: TransportError) -> bool:
    """Whether a failed probe means that the server may be legacy, rather than out of reach."""
    if isinstance(error, HttpFailure):
        return error.status in (*_OLD_TRANSPORT, 406, 415, 422, 501)
    if isinstance(error, RequestTimeout):
        return channel.duplex
    # A server that ends at what it does not know is of the old era; one that was killed has said nothing about its own.
    ended = isinstance(channel, DuplexChannel) and channel.ended and not channel.killed
    return isinstance(error, InvalidAnswer) or ended


async def _meet_legacy(
    channel: HttpChannel | DuplexChannel,
    key: str,
    approach: Approach,
    name: str,
    *,
    sse: bool = False,
    keep: bool = False,
) -> LegacyPeer:
    peer = LegacyPeer(
        channel,
        approach.greeting,
        name,
        on_request=approach.on_request,
        on_event=approach.on_event,
        handover=approach.handover,
    )
    try:
        await channel.start(peer.sink)
        await peer.initialize(approach.version, approach.timeout)
    except BaseException as error:
        approach.memory.forget(key)
        if not (keep and isinstance(error, RemoteError)):
            await peer.close()
        raise
    approach.memory.put(key, Remembered("legacy", peer.revision, sse))
    return peer


def _channel(url: str, session: aiohttp.ClientSession, approach: Approach, headers: Headers) -> HttpChannel:
    return HttpChannel(url, session, headers, connect=approach.connect, credentials=approach.credentials)


async def _meet_sse(url: str, session: aiohttp.ClientSession, approach: Approach, headers: Headers) -> LegacyPeer:
    link = SseLink(url, session, headers, connect=approach.connect, credentials=approach.credentials)
    channel = DuplexChannel(link, address(url))
    return await _meet_legacy(channel, url, approach, channel.name, sse=True)


async def _after_refusal(
    url: str, session: aiohttp.ClientSession, approach: Approach, headers: Headers, refusal: HttpFailure
) -> LegacyPeer:
    """The endpoint refused to be posted to: it may speak HTTP+SSE (HTTP+SSE Transport, Clients, item 2)."""
    try:
        return await _meet_sse(url, session, approach, headers)
    except TransportError as error:
        _log.debug("%s: no HTTP+SSE either: %s", address(url), error)
        raise refusal from error


def _only_legacy(discovered: Mapping[str, object], approach: Approach) -> bool:
    """Whether a server that answers the probe has only legacy versions in common with us."""
    supported = discovered.get("supportedVersions")
    names = [name for name in supported if isinstance(name, str)] if isinstance(supported, list) else []
    if common(MODERN, names):
        return False
    if approach.era == "modern" or not common(LEGACY, names):
        raise TransportError(
            f"The server has no protocol version in common with us; it speaks {', '.join(names)[:100]}"
        )
    return True


def _is_modern(error: RemoteError, approach: Approach) -> bool:
    """Whether an error to the probe identifies a modern server we can speak with. Raises when we cannot."""
    if approach.era == "modern":
        raise error
    if error.remote_code not in _MODERN_CODES:
        return False
    if error.remote_code != UnsupportedVersion.code or common(MODERN, offered(error)):
        return True
    if common(LEGACY, offered(error)):
        return False
    raise error
