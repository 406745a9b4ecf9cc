"""Changes between replicas.

What it is for: a listener hears of a change whichever replica it hangs on, and whichever one noticed.
What may live here: the `Bus` over `Replicas`. What may not: how replicas reach each other, who listens.
"""

import itertools
import logging
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from trunkline.engine.doors import Change, Replicas

logger = logging.getLogger("trunkline.runtime")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Change).decode


class SharedBus:
    """Carries changes to the listeners of all replicas.

    Parameters:
        replicas: those that serve the same endpoint.
        name: of the endpoint; changes of another one are not heard.

        bus = SharedBus(replicas, "/mcp")
        bus.publish(Change("tools"))
    """

    def __init__(self, replicas: Replicas, name: str) -> None:
        self._replicas = replicas
        self._topic = f"changes {name}"
        self._listeners: dict[int, Callable[[Change], None]] = {}
        self._ids = itertools.count()
        self._leave: tuple[Callable[[], None], ...] = ()

    def publish(self, change: Change) -> None:
        """Tell every listener here at once, and those of other replicas soon where it is not for this one alone."""
        if not change.here:
            self._replicas.broadcast(self._topic, _encode(change))
        # Listeners keep what waits for them once each, wherever it was heard.
        self._deliver(replace(change, here=False))

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told; returns what ends it."""
        if not self._listeners:
            self._leave = (
                self._replicas.receive(self._topic, self._heard),
                self._replicas.on_gap(lambda: self._deliver(Change("everything"))),
            )
        key = next(self._ids)
        self._listeners[key] = listener

        def unsubscribe() -> None:
            if self._listeners.pop(key, None) is not None and not self._listeners:
                for leave in self._leave:
                    leave()

        return unsubscribe

    def _heard(self, sender: str, message: bytes) -> None:
        try:
            change = _decode(message)
        except msgspec.MsgspecError:
            # A newer replica may tell what this one does not know; its listeners look at everything.
            logger.warning("replica %s tells of a change this one does not understand", sender)
            change = Change("everything")
        self._deliver(change)

    def _deliver(self, change: Change) -> None:
        for listener in list(self._listeners.values()):
            listener(change)
