"""Change notifications of one upstream.

What it is for: one listening stream that always asks for what is wanted now, re-opened when it breaks.
What may live here: the filter, its replacement without a gap. What may not: what a change means.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing

from trunkline.client.peer import Notification, Peer
from trunkline.errors import MethodNotFound, RemoteError, TransportError
from trunkline.gateway.listing import Kind

_log = logging.getLogger("trunkline.gateway")

URIS = 10_000
"""Resources of one upstream that may be listened to at once."""

_LONGEST_PAUSE = 60.0
_STEADY = 30.0
"""Seconds after which a stream that ends was a good one."""

_FLAGS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}

LISTS: dict[str, tuple[Kind, ...]] = {
    "notifications/tools/list_changed": ("tools",),
    "notifications/prompts/list_changed": ("prompts",),
    "notifications/resources/list_changed": ("resources", "templates"),
}
UPDATED = "notifications/resources/updated"


class Following:
    """What is listened to at one upstream.

    Parameters:
        upstream: its name, for the log.
        told: takes each notification.
        missed: called when notifications may have been lost.
    """

    def __init__(self, upstream: str, told: Callable[[Notification], None], missed: Callable[[], None]) -> None:
        self._upstream = upstream
        self._told = told
        self._missed = missed
        self._uris: Counter[str] = Counter()
        self._peer: Peer | None = None
        self._task: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None

    def begin(self, peer: Peer) -> None:
        """Listen at a new connection, from now on."""
        self._peer = peer
        self._listen()

    def pause(self) -> None:
        """The connection is gone; what is followed is remembered for the next one."""
        self._peer = None
        task, self._task = self._task, None
        if task is not None:
            self._retire(task)
        for task in self._retiring:
            task.cancel()

    async def end(self) -> None:
        """Listen no more."""
        self.pause()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def follow(self, uri: str) -> bool:
        """Listen to a resource; False when too many are listened to."""
        if uri not in self._uris and len(self._uris) >= URIS:
            return False
        self._uris[uri] += 1
        if self._uris[uri] == 1:
            self._listen_soon()
        return True

    def unfollow(self, uri: str) -> None:
        """One listener to a resource less."""
        if uri not in self._uris:
            return
        self._uris[uri] -= 1
        if self._uris[uri] == 0:
            del self._uris[uri]
            self._listen_soon()

    def _listen_soon(self) -> None:
        """One stream for all that is followed at once: a client may ask for thousands of resources in one request."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self._listen)

    def _listen(self) -> None:
        """Open a stream for what is wanted now; the old one ends when the new one is acknowledged."""
        self._due = None
        peer, old = self._peer, self._task
        if peer is None:
            return
        wanted = self._filter(peer.capabilities)
        self._task = None
        if old is not None:
            self._retire(old)
        if wanted:
            self._task = asyncio.get_running_loop().create_task(self._keep(peer, wanted, old))
            if old is not None:
                # Who is replaced before it was acknowledged has not ended the one before it.
                self._task.add_done_callback(lambda _: old.cancel())
        elif old is not None:
            old.cancel()

    def _retire(self, task: asyncio.Task[None]) -> None:
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _filter(self, capabilities: Mapping[str, object]) -> dict[str, object]:
        wanted: dict[str, object] = {}
        for name, flag in _FLAGS.items():
            declared = capabilities.get(name)
            if isinstance(declared, Mapping) and declared.get("listChanged") is True:
                wanted[flag] = True
        resources = capabilities.get("resources")
        if self._uris and isinstance(resources, Mapping) and resources.get("subscribe") is True:
            wanted["resourceSubscriptions"] = sorted(self._uris)
        return wanted

    async def _keep(self, peer: Peer, wanted: dict[str, object], old: asyncio.Task[None] | None) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                async with aclosing(peer.listen(wanted)) as stream:
                    async for notification in stream:
                        if old is not None:
                            old.cancel()
                            old = None
                        self._told(notification)
            except RemoteError as error:
                if error.remote_code == MethodNotFound.code:
                    _log.info("upstream %s: tells no changes", self._upstream)
                    return
                _log.info("upstream %s: listening ended: %s", self._upstream, error.message)
            except TransportError as error:
                _log.info("upstream %s: listening ended: %s", self._upstream, error.message)
            # Some servers acknowledge and hang up: they are asked ever more seldom.
            failures = 1 if loop.time() - began > _STEADY else failures + 1
            await asyncio.sleep(min(2.0 ** (failures - 1), _LONGEST_PAUSE))
            self._missed()
