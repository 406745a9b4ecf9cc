"""The lists of one upstream, kept as long as they are good.

What it is for: each list is asked for once for all who want it, all its pages, within bounds.
What may live here: freshness, coalescing, paging. What may not: other upstreams, merging.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice

from trunkline.errors import MethodNotFound, ProtocolError, RemoteError, TrunklineError
from trunkline.gateway.catalog import SILENT_TTL_MS
from trunkline.gateway.definitions import changes, refusals
from trunkline.gateway.listing import KINDS, MEMBERS, METHODS, Kind, Listed, listed
from trunkline.gateway.pins import Judge, Pinning

_log = logging.getLogger("trunkline.gateway")

PAGES = 1000
ITEMS = 20_000
"""What one upstream may list of a kind; what stands behind is left out and told to the operator."""

_TOLD = 20
"""Changes of tools that are told and remembered at once."""

_PAUSE = 2.0
"""Seconds before a list that could not be had is asked for again."""

_BREATH = 0.1
"""Seconds that are added to the wait between two readings of a list that changes all the time."""

_CAPABILITY: dict[Kind, str] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "templates": "resources",
}

Ask = Callable[[str, dict[str, object]], Awaitable[dict[str, object]]]
"""Sends a list request to the upstream."""


class Shelf:
    """What one upstream last told of each kind.

    Parameters:
        upstream: its name, for the log.
        ask: sends a list request.
        admits: which tools are let through.
        changed: told when a list differs from what it was, and whether it was known at all.
    """

    def __init__(
        self, upstream: str, ask: Ask, admits: Callable[[str], bool] | None, changed: Callable[[Kind, bool], None]
    ) -> None:
        self.lists: dict[Kind, Listed] = {}
        self.error = ""
        """Why a list could not be had lately, or what is wrong with one."""
        self.changes: tuple[str, ...] = ()
        """What changed in its tools since they were first listed, the latest last."""
        self._upstream = upstream
        self._ask = ask
        self._admits = admits
        self._changed = changed
        self._judge = Judge()
        self._due: dict[Kind, float] = {}
        self._edition: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._told: dict[Kind, int] = {}
        """The editions of what is known."""
        self._fetching: dict[Kind, tuple[asyncio.Task[None], float]] = {}

    def due(self, kind: Kind) -> bool:
        """Whether the list is not known, or not good any more."""
        return asyncio.get_running_loop().time() >= self._due.get(kind, 0.0)

    def expire(self, *kinds: Kind) -> None:
        """What is known of these kinds is not good any more; also what is just being fetched."""
        for kind in kinds:
            self._edition[kind] += 1
            self._due[kind] = 0.0

    async def refresh(self, kind: Kind, within: float) -> None:
        """Fetch a list, together with everyone who wants it.

        Parameters:
            within: seconds to wait, counted from the moment the fetching began: whoever comes late to a slow
                upstream waits less, or not at all. It goes on in the background.
        """
        task, began = self._fetched(kind)
        await asyncio.wait({task}, timeout=max(began + within - asyncio.get_running_loop().time(), 0.0))

    async def settle(self, kind: Kind, within: float) -> bool:
        """See that nothing is known to have changed since the list was fetched; False when it could not be had.

        Parameters:
            within: seconds to wait for it.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + within
        pause = 0.0
        # What is being fetched just now may have been asked for before the change; and there may be no end of changes.
        while not self._is_settled(kind) and self.due(kind) and (left := end - clock() - pause) > 0:
            await asyncio.sleep(pause)
            await asyncio.wait({self._fetched(kind)[0]}, timeout=left)
            pause = min(pause + _BREATH, 1.0)
        return self._is_settled(kind)

    def has(self, tool: str) -> bool:
        """Whether the last list has a tool of this name, refused or not; known only while tools are held to pins."""
        return tool in self._judge

    def pin(self, pinning: Pinning) -> None:
        """Hold the tools to these pins from now on."""
        self._judge.pinning = pinning
        before = self.lists.get("tools")
        if before is not None:
            self.lists["tools"] = after = self._judge.judged(before, self._judge.digested(before.items))
            if after.refused != before.refused:
                self._log(refusals(before, after))
                self._changed("tools", True)

    async def stop(self) -> None:
        """End what is being fetched."""
        tasks = [task for task, _ in self._fetching.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fetched(self, kind: Kind) -> tuple[asyncio.Task[None], float]:
        """What fetches a list, for all who want it, and when it began."""
        if kind not in self._fetching:
            loop = asyncio.get_running_loop()
            self._fetching[kind] = (loop.create_task(self._fetch(kind)), loop.time())
        return self._fetching[kind]

    async def _fetch(self, kind: Kind) -> None:
        edition = self._edition[kind]
        loop = asyncio.get_running_loop()
        try:
            share = await self._pages(kind)
            # Others go on while a long list is digested.
            digested = await asyncio.to_thread(self._judge.digested, share.items) if self._is_pinned(kind) else {}
        except TrunklineError as error:
            self.error = f"{METHODS[kind]}: {error.message}"
            _log.warning("upstream %s: %s", self._upstream, self.error)
            self._due[kind] = loop.time() + _PAUSE
            return
        except Exception:
            _log.exception("upstream %s: the answer to %s could not be used", self._upstream, METHODS[kind])
            self._due[kind] = loop.time() + _PAUSE
            return
        finally:
            del self._fetching[kind]
        before = self.lists.get(kind)
        if self._is_pinned(kind):
            share = self._judge.judged(share, digested or self._judge.digested(share.items))
        self.lists[kind] = share
        self._told[kind] = edition
        if edition == self._edition[kind]:
            ttl = SILENT_TTL_MS if share.ttl_ms is None else share.ttl_ms
            self._due[kind] = loop.time() + ttl / 1000
        if before is None or before.faults != share.faults:
            self._tell(share)
        if before is None or before.items != share.items:
            if kind == "tools":
                self._compare(before, share)
            self._changed(kind, before is not None)

    async def _pages(self, kind: Kind) -> Listed:
        pages: list[Mapping[str, object]] = []
        cursor: str | None = None
        seen: set[str] = set()
        count = 0
        while True:
            try:
                page = await self._ask(METHODS[kind], {} if cursor is None else {"cursor": cursor})
            except ProtocolError as error:
                if not pages and _is_unknown_method(error):
                    return Listed()
                raise
            pages.append(page)
            members = page.get(MEMBERS[kind])
            count += len(members) if isinstance(members, list) else 0
            following = page.get("nextCursor")
            if not isinstance(following, str) or following in seen or len(pages) >= PAGES or count >= ITEMS:
                return listed(kind, pages, self._admits)
            seen.add(following)
            cursor = following

    def _compare(self, before: Listed | None, after: Listed) -> None:
        lines = list(changes(before.items, after.items)) if before is not None else []
        self._log(lines)
        self._log(refusals(before or Listed(), after))
        self.changes = (*self.changes, *lines)[-_TOLD:]

    def _log(self, lines: Iterable[str]) -> None:
        for line in islice(lines, _TOLD):
            _log.warning("upstream %s: %s", self._upstream, line)

    def _is_pinned(self, kind: Kind) -> bool:
        return kind == "tools" and self._judge.pinning.mode != "off"

    def _is_settled(self, kind: Kind) -> bool:
        return self._told.get(kind) == self._edition[kind]

    def _tell(self, share: Listed) -> None:
        for fault in share.faults:
            _log.warning("upstream %s: left out of %s", self._upstream, fault)
        if share.faults:
            self.error = f"left out of {share.faults[0]}"


def offers(capabilities: Mapping[str, object], kind: Kind) -> bool:
    """Whether a server with these capabilities has this kind of thing."""
    return capabilities.get(_CAPABILITY[kind]) is not None


def _is_unknown_method(error: ProtocolError) -> bool:
    return isinstance(error, RemoteError) and error.remote_code == MethodNotFound.code
