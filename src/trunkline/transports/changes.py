"""What a legacy session hears without asking each time: list changes, and updates of resources it follows.

What it is for: the hub's changes as notifications of one session (2025-11-25, resources, Subscriptions).
What may live here: following and unfollowing on the session's behalf. What may not: how a notification travels.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, InputRequest
from trunkline.errors import ProtocolError
from trunkline.runtime.application import Application
from trunkline.runtime.listen import Filter, parse_filter
from trunkline.transports.stateless import changed

logger = logging.getLogger("trunkline.transports")

_ALL_LISTS = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}


class Silence:
    """The exchange of something the server does on a session's behalf, with no request to answer."""

    interactive = False
    deadline: float | None = None

    async def notify(self, message: bytes) -> None:
        """Nobody hears it."""

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Nobody answers: no requests are sent."""
        return {}

    async def suspend(self, retry: int) -> None:
        """There is nothing to suspend."""


class Changes:
    """The open ear of one session.

    Parameters:
        application: whose changes.
        context: a context of the session, for the provider.
        tell: takes each encoded notification.
    """

    __slots__ = ("_application", "_closed", "_context", "_subscription", "_task", "_tell")

    def __init__(self, application: Application, context: Context, tell: Callable[[bytes], Awaitable[None]]) -> None:
        self._application = application
        self._context = context
        self._tell = tell
        self._closed = False
        offered = parse_filter(_ALL_LISTS, application.engine.capabilities(context.revision))
        self._subscription = application.hub.open(offered, context.principal.owner)
        self._task = asyncio.create_task(self._pump(), name="trunkline changes")

    async def resume(self, uris: Iterable[str]) -> None:
        """Follow what the session had subscribed to before; what is gone by now is left out."""
        for uri in sorted(uris):
            try:
                await self.follow(self._context, uri)
            except ProtocolError as error:
                logger.info("a resource can no longer be followed: %s", error)

    async def align(self, uris: Collection[str]) -> None:
        """Follow these resources and no others."""
        for uri in self._subscription.filter.uris - set(uris):
            await self.unfollow(self._context, uri)
        await self.resume(uris)

    def missed(self) -> None:
        """Whatever the session hears of may have changed unseen."""
        self._subscription.offer_everything()

    async def follow(self, context: Context, uri: str) -> None:
        """Follow a resource. Raises what the provider raises for one that cannot be followed."""
        filter = self._subscription.filter
        if uri in filter.uris:
            return
        await self._application.engine.provider.follow(context, [uri])
        if self._closed or uri in self._subscription.filter.uris:
            # The session ended meanwhile, or asked twice at once: what is unfollowed once is followed once.
            await self._application.engine.provider.unfollow(context, [uri])
            return
        self._application.hub.change(self._subscription, Filter(filter.kinds, self._subscription.filter.uris | {uri}))

    async def unfollow(self, context: Context, uri: str) -> None:
        """Follow a resource no longer."""
        filter = self._subscription.filter
        if uri in filter.uris:
            self._application.hub.change(self._subscription, Filter(filter.kinds, filter.uris - {uri}))
            await self._application.engine.provider.unfollow(context, [uri])

    async def close(self) -> None:
        """Stop listening and unfollow everything."""
        self._closed = True
        self._task.cancel()
        self._subscription.close()
        uris = sorted(self._subscription.filter.uris)
        if uris:
            await self._application.engine.provider.unfollow(self._context, uris)

    async def _pump(self) -> None:
        while changes := await self._subscription.next():
            for change in changes:
                if isinstance(change, Change):
                    await self._tell(changed(change))
