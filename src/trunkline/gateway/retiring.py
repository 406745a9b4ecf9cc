"""Upstreams a changed configuration no longer wants, until their calls have ended.

What it is for: nobody's call is dropped when a server is changed or removed.
What may live here: waiting for the last call, then stopping. What may not: new calls, names, lists.
"""

import asyncio
import logging
import time

from trunkline.engine.context import Context
from trunkline.gateway.catalog import Catalog
from trunkline.gateway.upstream import Upstream

_log = logging.getLogger("trunkline.gateway")

_LOOK = 0.1
"""Seconds between two looks whether the last call has ended."""


class Retiring:
    """Upstreams on their way out.

    Parameters:
        drain: seconds their calls may still take; the entry's `drain_timeout` goes before.
    """

    def __init__(self, drain: float) -> None:
        self._drain = drain
        self._catalogs: dict[Upstream, Catalog] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hurry = False

    def add(self, upstream: Upstream, catalog: Catalog) -> None:
        """Stop an upstream when its calls have ended; `catalog` is the one its names stood in."""
        self._catalogs[upstream] = catalog
        task = asyncio.get_running_loop().create_task(self._retire(upstream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def holder(self, context: Context) -> tuple[Upstream, Catalog] | None:
        """Where a call waits whose next round this is; None when it waits at none of these."""
        handle = context.replay.held if context.replay is not None else None
        if handle is None:
            return None
        return next(((one, catalog) for one, catalog in self._catalogs.items() if one.holds(handle)), None)

    async def stop(self) -> None:
        """Stop all of them now."""
        self._hurry = True
        await asyncio.gather(*self._tasks)
        self._hurry = False

    async def _retire(self, upstream: Upstream) -> None:
        deadline = time.monotonic() + (upstream.entry.drain_timeout or self._drain)
        while upstream.busy and not self._hurry:
            if time.monotonic() > deadline:
                _log.warning(
                    "upstream %s: was changed or removed, and its last calls did not end in time", upstream.name
                )
                break
            await asyncio.sleep(_LOOK)
        del self._catalogs[upstream]
        try:
            await upstream.stop()
        except Exception:
            _log.exception("upstream %s: stopping it raised", upstream.name)
