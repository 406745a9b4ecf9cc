"""A connection that is made when needed and made again when lost.

What it is for: one peer at a time, reconnection, and repeating a request where that is safe.
What may live here: those decisions. What may not: typed results, caching, input rounds.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from trunkline.client.channel import OnNotification
from trunkline.client.duplex import DuplexChannel
from trunkline.client.eras import Approach
from trunkline.client.peer import BasePeer, Peer
from trunkline.client.targets import Target
from trunkline.errors import (
    HttpFailure,
    Interrupted,
    InvalidAnswer,
    Overloaded,
    RemoteError,
    ReplicaLost,
    RequestTimeout,
    StorageUnavailable,
    TransportError,
    UpstreamUnavailable,
)

JsonObject = dict[str, object]
_log = logging.getLogger("trunkline.client")
_WRONG_ERA = (400, 404, 405, 406)
_BUSY = (429, 503)
_PAUSES = {
    # Gone with a process that is being replaced, or with a proxy's idle connection: it is there again at once.
    "lost": (0.1, 0.5),
    # It has asked for less, without saying how long: more than a moment, and still nothing a person minds.
    "busy": (0.3, 1.0),
    # It is there and answers; only we spoke of the wrong era.
    "misunderstood": (0.0, 0.0),
}
"""Seconds between a request and its repetition, least and most, by what went wrong; drawn evenly, so that those who
failed together do not come back together."""
_MAX_RETRY_AFTER = 10.0
_TRIES = 4
"""How often one request may be sent: whoever takes its server's place may be replaced in turn."""

_LOST = (Interrupted.code, ReplicaLost.code, StorageUnavailable.code)
"""The server, or what it needs, ended while it answered: the request may have run."""

_OWN_CODES = range(-32603, -32600)


class Connection:
    """The peer of a target, kept while it works.

    Parameters:
        target: whom to meet. approach: how.
        ready: what to do with every new peer before it is used.
    """

    def __init__(
        self, target: Target, approach: Approach, ready: Callable[[Peer], Awaitable[None]] | None = None
    ) -> None:
        self.target = target
        self.closed = False
        self._approach = approach
        self._ready = ready
        self._peer: Peer | None = None
        self._meeting = asyncio.Lock()
        self._attempt: asyncio.Future[Peer] | None = None

    async def peer(self) -> Peer:
        """The peer, met now if there is none or the last one is gone. Raises `TransportError`."""
        peer = self._peer
        if peer is not None and not _gone(peer):
            return peer
        async with self._meeting:
            if self.closed:
                raise TransportError(f"The connection to {self.target.name} is closed", delivered=False)
            if self._peer is not None and not _gone(self._peer):
                return self._peer
            await self._leave()
            self._peer = await self._met()
            return self._peer

    async def request(
        self,
        method: str,
        params: JsonObject,
        *,
        timeout: float | None,
        maximum: float,
        repeatable: bool,
        on_notification: OnNotification | None = None,
        tries: int = _TRIES,
    ) -> JsonObject:
        """Send a request; again when that is safe and likely to help, a few times.

        Parameters:
            repeatable: whether the request may run twice.
            tries: how often it may be sent.
        """
        for number in range(tries):
            peer = await self.peer()
            try:
                return await peer.request(
                    method, params, timeout=timeout, maximum=maximum, on_notification=on_notification
                )
            except (TransportError, RemoteError) as error:
                wait = await self._next_chance(peer, error, repeatable) if number < tries - 1 else None
                if wait is None:
                    raise
                _log.info("%s: %s is sent again: %s", self.target.name, method, error)
            await asyncio.sleep(wait * 2**number)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close the peer and what the target shares."""
        self.closed = True
        if self._attempt is not None:
            self._attempt.cancel()
        async with self._meeting:
            await self._leave()
        await self.target.close()

    async def _next_chance(self, peer: Peer, error: Exception, repeatable: bool) -> float | None:
        """Seconds to wait before the request is sent again, or None when it must not be."""
        if isinstance(error, RemoteError):
            if error.remote_status in _BUSY:
                return _pause("busy")
            if error.remote_code in _LOST or _helps(error):
                return _pause("lost") if repeatable else None
            return _pause("misunderstood") if await self._era_changed(peer, error) else None
        if isinstance(error, HttpFailure):
            if error.status in _BUSY:
                return _retry_after(error)
            if error.status in _WRONG_ERA and await self._era_changed(peer, error):
                return _pause("misunderstood")
            return _pause("lost") if repeatable and error.status >= 500 else None
        if isinstance(error, InvalidAnswer) or (isinstance(error, RequestTimeout) and error.delivered):
            return None
        if not isinstance(error, TransportError) or not (repeatable or not error.delivered):
            return None
        return _pause("lost")

    async def _era_changed(self, peer: Peer, error: RemoteError | HttpFailure) -> bool:
        """Probe anew when an answer looks as if the server is of another era than assumed (versioning)."""
        if isinstance(error, RemoteError):
            modern = error.remote_code in (-32020, -32022)
            suspicious = modern if peer.era == "legacy" else not modern and error.remote_status in _WRONG_ERA
            if not suspicious or (peer.era == "modern" and error.remote_code in (*_OWN_CODES, -32021)):
                return False
        async with self._meeting:
            if self._peer is not peer:
                return True
            self._approach.memory.forget(self.target.key)
            fresh = await self._met()
            if fresh.era == peer.era and not _is_duplex(peer):
                # The answer meant something else; other requests go on undisturbed.
                await fresh.close()
                return False
            self._peer = fresh
            await peer.close()
            return True

    async def _met(self) -> Peer:
        """Meet the target; `close` does not wait for an attempt that is under way, it ends it."""
        self._attempt = asyncio.ensure_future(self._approach_target())
        try:
            return await self._attempt
        except asyncio.CancelledError:
            if not self.closed:
                raise
            raise TransportError(f"The connection to {self.target.name} is closed", delivered=False) from None
        finally:
            self._attempt = None

    async def _approach_target(self) -> Peer:
        peer = await self.target.meet(self._approach)
        try:
            if self._ready is not None:
                await self._ready(peer)
        except BaseException:
            await peer.close()
            raise
        return peer

    async def _leave(self) -> None:
        peer, self._peer = self._peer, None
        if peer is not None:
            await peer.close()


def passing(error: Exception) -> float | None:
    """Seconds to leave a server alone, at least, before what failed with this is sent again; None where that is vain.

    For requests that may run any number of times, by those who have all the time a task has.
    """
    if isinstance(error, RemoteError):
        data = error.data if isinstance(error.data, dict) else {}
        busy = error.remote_status in _BUSY or error.remote_code in (Overloaded.code, *_LOST)
        wait = data.get("dev.trunkline/retryAfterMs")
        return (wait / 1000 if isinstance(wait, int) else 0.0) if busy or _helps(error) else None
    if isinstance(error, HttpFailure):
        return _asked_wait(error) or 0.0 if error.status in _BUSY or error.status >= 500 else None
    return 0.0 if isinstance(error, TransportError) and not isinstance(error, InvalidAnswer) else None


def _gone(peer: Peer) -> bool:
    return isinstance(peer, BasePeer) and isinstance(peer.channel, DuplexChannel) and peer.channel.ended


def _helps(error: RemoteError) -> bool:
    """Whether a gateway says that its upstream, which failed, may answer another time."""
    data = error.data
    retry = data.get("dev.trunkline/retry") if isinstance(data, dict) else None
    return error.remote_code == UpstreamUnavailable.code and retry is True


def _is_duplex(peer: Peer) -> bool:
    return isinstance(peer, BasePeer) and peer.channel.duplex


def _pause(why: str) -> float:
    return random.uniform(*_PAUSES[why])  # noqa: S311


def _retry_after(failure: HttpFailure) -> float | None:
    """The wait a busy server asks for, if it is short enough to be worth it."""
    seconds = _asked_wait(failure)
    seconds = _pause("busy") if seconds is None else seconds
    return seconds if seconds <= _MAX_RETRY_AFTER else None


def _asked_wait(failure: HttpFailure) -> float | None:
    text = failure.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
