"""Results that may be used again.

What it is for: keep list and read results for as long as the server allows (utilities/caching).
What may live here: keys, freshness, invalidation, the bound. What may not: requests.
"""

import time
from collections.abc import Callable, Mapping

from trunkline.protocol import json
from trunkline.protocol.revisions import CACHEABLE

_DAY = 86_400.0
_DROPPED_BY = {
    "notifications/tools/list_changed": ("tools/list",),
    "notifications/prompts/list_changed": ("prompts/list",),
    "notifications/resources/list_changed": ("resources/list", "resources/templates/list"),
}


class Cache:
    """Fresh results of one client, which stands for one caller: private results may be kept too.

    Parameters:
        limit: how many results are kept; the least recently used goes first.
        clock: seconds, monotonic.
    """

    def __init__(self, limit: int = 256, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._kept: dict[tuple[str, bytes], tuple[float, dict[str, object]]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, method: str, params: Mapping[str, object]) -> dict[str, object] | None:
        """The fresh result of an equal request, or None."""
        key = _key(method, params)
        entry = self._kept.pop(key, None)
        if entry is None or entry[0] <= self._clock():
            return None
        self._kept[key] = entry
        return entry[1]

    def put(self, method: str, params: Mapping[str, object], result: dict[str, object]) -> None:
        """Keep a result if the server allows it; results of input rounds and interim results are never kept."""
        if method not in CACHEABLE or "inputResponses" in params or "requestState" in params:
            return
        life = json.number(result.get("ttlMs"))
        if life is None or life <= 0 or result.get("resultType", "complete") != "complete":
            return
        self._kept[_key(method, params)] = (self._clock() + min(life / 1000, _DAY), result)
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def notice(self, notification: str, params: Mapping[str, object]) -> None:
        """Drop what a notification makes stale (Interaction with Notifications)."""
        if notification == "notifications/resources/updated":
            uri = str(params.get("uri"))
            self._drop(lambda key: key[0] == "resources/read" and json.encode(uri) in key[1])
            return
        methods = _DROPPED_BY.get(notification, ())
        self._drop(lambda key: key[0] in methods)

    def drop(self, method: str) -> None:
        """Drop every result of a method."""
        self._drop(lambda key: key[0] == method)

    def clear(self) -> None:
        """Drop everything."""
        self._kept.clear()

    def _drop(self, stale: Callable[[tuple[str, bytes]], bool]) -> None:
        for key in [key for key in self._kept if stale(key)]:
            del self._kept[key]


def _key(method: str, params: Mapping[str, object]) -> tuple[str, bytes]:
    return method, json.encode({key: params[key] for key in sorted(params) if key != "_meta"})
