"""What was read from one upstream, kept as long as it says that it is good.

What it is for: a resource many ask for is read once (2026-07-28, utilities/caching), and nobody gets what is another's.
What may live here: what may be kept, for whom, how much, how long. What may not: reading, lists (`shelf.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from msgspec import UNSET

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.gateway.relaying import offered
from trunkline.protocol import json
from trunkline.protocol.messages import CAPABILITIES_KEY, CLIENT_INFO_KEY, LOG_LEVEL_KEY, VERSION_KEY

ENTRIES = 1000
BYTES = 16_000_000
"""Results of one upstream that are kept, and about what their contents may take together."""

_SHARE = 8
"""A result that takes more than this part of all is not kept."""

_LONGEST = 86_400.0
"""Seconds a result is kept at most, whatever its `ttlMs` says."""

_PLAIN = frozenset({VERSION_KEY, CLIENT_INFO_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY, "progressToken"}) | frozenset(
    {"traceparent", "tracestate", "baggage"}
)
"""Members of a request's `_meta` that do not change what is answered."""

Read = Callable[[], Awaitable[Result]]
Key = tuple[str, bytes, str | None]
"""URI, what the client can do, and whose it is; None is everybody's."""


class _Kept(NamedTuple):
    result: Result
    until: float
    size: int
    given: bool = False
    """To somebody who did not wait for it to be read."""


class Reads:
    """Results of `resources/read` of one upstream.

    Parameters:
        entries, size: how many are kept, and how many bytes of contents.
        clock: monotonic seconds.
    """

    def __init__(self, entries: int = ENTRIES, size: int = BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self.hits = 0
        """Requests answered without asking the upstream."""
        self._entries = entries
        self._bytes = size
        self._clock = clock
        self._kept: dict[Key, _Kept] = {}  # the order is that of use
        self._size = 0
        self._flights: dict[Key, asyncio.Future[None]] = {}
        self._edition = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, context: Context, params: Mapping[str, object], read: Read) -> Result:
        """Answer from what is kept, or read; together with everyone who wants the same and may see it.

        Parameters:
            context: the caller's request.
            params: its parameters, under the upstream's own names.
            read: asks the upstream.
        """
        if not _plain(context, params):
            return await read()
        everybody: Key = (str(params["uri"]), json.encode(offered(context)), None)
        own: Key = (*everybody[:2], context.principal.owner)
        found = self._find(everybody, own)
        if found is not None:
            return found
        # What everybody could see last time is read once for all; should it have become private, each reads for itself.
        flight = everybody if everybody in self._kept else own
        waited = self._flights.get(flight)
        if waited is not None:
            await asyncio.shield(waited)
            found = self._find(everybody, own)
            return await read() if found is None else found
        return await self._lead(flight, context, (everybody, own), read)

    def drop(self, uri: str | None = None) -> bool:
        """A resource changed, or all may have; also what is just being read.

        Returns whether any of it was given out: perhaps to somebody who had asked because of the change.
        """
        self._edition += 1
        dropped = [self._remove(key) for key in list(self._kept) if uri is None or key[0] == uri]
        return any(kept.given for kept in dropped)

    async def _lead(self, flight: Key, context: Context, keys: tuple[Key, Key], read: Read) -> Result:
        done = self._flights[flight] = asyncio.get_running_loop().create_future()
        edition = self._edition
        try:
            result = await read()
            if edition == self._edition and not context.asked:
                self._keep(keys, result)
            return result
        finally:
            del self._flights[flight]
            done.set_result(None)

    def _find(self, *keys: Key) -> Result | None:
        now = self._clock()
        for key in keys:
            kept = self._kept.get(key)
            if kept is not None and now < kept.until:
                self._kept[key] = self._kept.pop(key)._replace(given=True)
                self.hits += 1
                return {**kept.result, "ttlMs": int((kept.until - now) * 1000)}
        return None

    def _keep(self, keys: tuple[Key, Key], result: Result) -> None:
        everybody, own = keys
        for key in keys:
            if key in self._kept:
                self._remove(key)
        ttl = json.number(result.get("ttlMs"))
        size = _size(result)
        if (
            ttl is None
            or ttl <= 0
            or result.get("resultType", "complete") != "complete"
            or size > self._bytes // _SHARE
        ):
            return
        key = everybody if result.get("cacheScope") == "public" else own
        self._kept[key] = _Kept(dict(result), self._clock() + min(float(ttl) / 1000, _LONGEST), size)
        self._size += size
        while len(self._kept) > self._entries or self._size > self._bytes:
            self._remove(next(iter(self._kept)))

    def _remove(self, key: Key) -> _Kept:
        kept = self._kept.pop(key)
        self._size -= kept.size
        return kept


def _plain(context: Context, params: Mapping[str, object]) -> bool:
    """Whether nothing but the resource and the caller decide on the answer: an input round does, for one."""
    given = context.params
    if given.request_state is not UNSET or given.input_responses is not UNSET or context.replay is not None:
        return False
    meta = params.get("_meta", {})
    return params.keys() <= {"uri", "_meta"} and isinstance(meta, dict) and meta.keys() <= _PLAIN


def _size(result: Result) -> int:
    """About how many bytes a result takes."""
    contents = result.get("contents")
    parts = contents if isinstance(contents, list) else []
    texts = [part.get(member) for part in parts if isinstance(part, dict) for member in ("text", "blob")]
    return 500 * (1 + len(parts)) + sum(len(text) for text in texts if isinstance(text, str))
