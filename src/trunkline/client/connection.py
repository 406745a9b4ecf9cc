"""A connection that is made when needed and made again when lost.

What it is for: one peer at a time, reconnection, and sending a request again.
What may live here: that. What may not: whether it may be sent again, typed results, caching, input rounds.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from trunkline.client.channel import OnNotification
from trunkline.client.duplex import DuplexChannel
from trunkline.client.eras import Approach
from trunkline.client.peer import BasePeer, Peer
from trunkline.client.repeating import AWAY, BRIEF, Repeating
from trunkline.client.targets import Target
from trunkline.errors import HttpFailure, RemoteError, TransportError

JsonObject = dict[str, object]
_log = logging.getLogger("trunkline.client")
_WRONG_ERA = (400, 404, 405, 406)
_ERA_CHANGES = 3
"""How often a server may turn out to be of another era during one request."""

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
        within: float = AWAY,
    ) -> JsonObject:
        """Send a request; again where that is safe and likely to help, for a while.

        Parameters:
            repeatable: whether the request may run twice.
            within: seconds from its first failure, at most, until no further attempt begins; nor does one once
                `timeout` seconds have passed without an answer. 0 sends it once.
        """
        end = time.monotonic() + maximum
        changes = 0
        repeating: Repeating | None = None
        while True:
            peer = await self.peer()
            try:
                return await peer.request(
                    method, params, timeout=timeout, maximum=maximum, on_notification=on_notification
                )
            except (TransportError, RemoteError) as error:
                # Whatever the number of attempts, they have the time of one request.
                maximum = end - time.monotonic()
                if changes < _ERA_CHANGES and await self._era_changed(peer, error):
                    changes += 1
                    continue
                if repeating is None:
                    allowed = BRIEF if _is_duplex(peer) else AWAY if timeout is None else timeout
                    repeating = Repeating(repeatable, min(within, allowed, maximum))
                wait = repeating.wait(error)
                if wait is None:
                    raise
                _log.info("%s: %s is sent again: %s", self.target.name, method, error)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the peer and what the target shares."""
        self.closed = True
        if self._attempt is not None:
            self._attempt.cancel()
        async with self._meeting:
            await self._leave()
        await self.target.close()

    async def _era_changed(self, peer: Peer, error: TransportError | RemoteError) -> bool:
        """Probe anew when an answer looks as if the server is of another era than assumed (versioning)."""
        if isinstance(error, RemoteError):
            modern = error.remote_code in (-32020, -32022)
            suspicious = modern if peer.era == "legacy" else not modern and error.remote_status in _WRONG_ERA
            if not suspicious or (peer.era == "modern" and error.remote_code in (*_OWN_CODES, -32021)):
                return False
        elif not isinstance(error, HttpFailure) or error.status not in _WRONG_ERA:
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


def _gone(peer: Peer) -> bool:
    return isinstance(peer, BasePeer) and isinstance(peer.channel, DuplexChannel) and peer.channel.ended


def _is_duplex(peer: Peer) -> bool:
    return isinstance(peer, BasePeer) and peer.channel.duplex
