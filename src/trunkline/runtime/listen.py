"""The listen hub: changes in, notifications for each open subscription out.

What it is for: `subscriptions/listen` streams and legacy GET streams (patterns/subscriptions).
What may live here: filters, the index of listeners, coalescing.
What may not: how a notification is written to a client.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from trunkline.engine.doors import Bus, Change, Ear
from trunkline.errors import InvalidParams

METHOD_OF: dict[str, str] = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
    "resource": "notifications/resources/updated",
}
_FLAGS: dict[str, str] = {
    "toolsListChanged": "tools",
    "promptsListChanged": "prompts",
    "resourcesListChanged": "resources",
}
_MAX_URIS = 10_000


class Filter(msgspec.Struct, frozen=True):
    """What a listener asked for: kinds of list changes, and resources by URI."""

    kinds: frozenset[str] = frozenset()
    uris: frozenset[str] = frozenset()

    def wire(self) -> dict[str, object]:
        """As the acknowledgement tells it."""
        wire: dict[str, object] = {flag: True for flag, kind in _FLAGS.items() if kind in self.kinds}
        if self.uris:
            wire["resourceSubscriptions"] = sorted(self.uris)
        return wire


def parse_filter(value: object, capabilities: Mapping[str, object]) -> Filter:
    """The part of a requested filter that the server honours (Acknowledgment). Raises `InvalidParams`."""
    if not isinstance(value, dict):
        raise InvalidParams("Invalid params: subscriptions/listen needs 'notifications', an object")
    kinds = set()
    for flag, kind in _FLAGS.items():
        wanted = value.get(flag, False)
        if not isinstance(wanted, bool):
            raise InvalidParams(f"Invalid params: notifications.{flag} is a boolean")
        if wanted and _offers(capabilities, kind, "listChanged"):
            kinds.add(kind)
    uris = value.get("resourceSubscriptions", [])
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris) or len(uris) > _MAX_URIS:
        raise InvalidParams(
            f"Invalid params: notifications.resourceSubscriptions is a list of at most {_MAX_URIS} URIs"
        )
    if not _offers(capabilities, "resources", "subscribe"):
        uris = []
    return Filter(frozenset(kinds), frozenset(uris))


class News(NamedTuple):
    """Something an extension has to tell about `name`; what it is is asked when it is sent."""

    ear: Ear
    name: str


class Subscription:
    """One open listener. Changes that were not taken yet are kept once each, so the queue is bounded by the filter."""

    __slots__ = ("_closed", "_hub", "_pending", "_waiter", "filter", "owner")

    def __init__(self, hub: "ListenHub", filter: Filter, owner: str) -> None:
        self.filter = filter
        self.owner = owner
        self._hub = hub
        self._pending: dict[Change | News, None] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    async def next(self) -> list[Change | News]:
        """Wait for changes; an empty list means that the subscription was closed."""
        if not self._pending and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        changes, self._pending = list(self._pending), {}
        return changes

    def close(self) -> None:
        """End it; `next` returns what is left, then nothing."""
        self._closed = True
        self._hub.remove(self)
        self._wake()

    def offer(self, change: Change) -> None:
        """Note a change that passed the filter."""
        if change.owner is None or change.owner == self.owner:
            self._pending[change] = None
            self._wake()

    def offer_news(self, ear: Ear, name: str) -> None:
        """Note news of an extension."""
        self._pending[News(ear, name)] = None
        self._wake()

    def offer_everything(self) -> None:
        """Whatever it listens to may have changed unseen."""
        for kind in self.filter.kinds:
            self.offer(Change(kind))  # type: ignore[arg-type]
        for uri in self.filter.uris:
            self.offer(Change("resource", uri))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ListenHub:
    """Fans changes of the bus out to subscriptions, by kind and by URI.

    hub = ListenHub(bus)
    hub.start()
    subscription = hub.open(Filter(kinds=frozenset({"tools"})), owner=principal.owner)
    changes = await subscription.next()
    """

    def __init__(self, bus: Bus) -> None:
        self._by_kind: dict[str, set[Subscription]] = {kind: set() for kind in _FLAGS.values()}
        self._by_uri: dict[str, set[Subscription]] = {}
        self._bus = bus
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Join the bus."""
        if self._unsubscribe is None:
            self._unsubscribe = self._bus.subscribe(self._fan_out)

    def open(self, filter: Filter, owner: str) -> Subscription:
        """Begin to listen."""
        subscription = Subscription(self, filter, owner)
        self._add(subscription)
        return subscription

    def change(self, subscription: Subscription, filter: Filter) -> None:
        """Let an open subscription listen to something else from now on."""
        self.remove(subscription)
        subscription.filter = filter
        self._add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        for kind in subscription.filter.kinds:
            self._by_kind[kind].discard(subscription)
        for uri in subscription.filter.uris:
            listeners = self._by_uri.get(uri)
            if listeners is not None:
                listeners.discard(subscription)
                if not listeners:
                    del self._by_uri[uri]

    def stop(self) -> None:
        """Close every subscription and leave the bus."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for listeners in self._all():
            for subscription in list(listeners):
                subscription.close()

    def _all(self) -> "list[set[Subscription]]":
        return [*self._by_kind.values(), *self._by_uri.values()]

    def _add(self, subscription: Subscription) -> None:
        for kind in subscription.filter.kinds:
            self._by_kind[kind].add(subscription)
        for uri in subscription.filter.uris:
            self._by_uri.setdefault(uri, set()).add(subscription)

    def _fan_out(self, change: Change) -> None:
        if change.kind == "everything":
            for subscription in {one for some in self._all() for one in some}:
                if change.owner is None or change.owner == subscription.owner:
                    subscription.offer_everything()
            return
        if change.kind == "resource":
            listeners = self._by_uri.get(change.uri or "", ())
        else:
            listeners = self._by_kind[change.kind]
        for subscription in list(listeners):
            subscription.offer(change)


def _offers(capabilities: Mapping[str, object], kind: str, feature: str) -> bool:
    capability = capabilities.get(kind)
    return isinstance(capability, Mapping) and capability.get(feature) is True
