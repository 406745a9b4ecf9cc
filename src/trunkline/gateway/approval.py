"""One upstream held to what was pinned of it.

What it is for: a tool is shown and called, and instructions are passed on, only while they are what somebody approved.
What may live here: that decision, at the moment it counts. What may not: digests (`pins.py`), lists (`shelf.py`).

What a caller's own session at an upstream would list is never asked for and never shown, so an upstream that tells its
callers something else than the gateway reaches nobody with it.
"""

import logging
from collections.abc import Mapping

from trunkline.gateway.catalog import unknown
from trunkline.gateway.definitions import withheld
from trunkline.gateway.failures import refused, unavailable
from trunkline.gateway.listing import Listed
from trunkline.gateway.pins import OFF, Pinning
from trunkline.gateway.shelf import Shelf

_NOTHING = Listed()
_log = logging.getLogger("trunkline.gateway")


class Approval:
    """What of one upstream may be used.

    Parameters:
        upstream: its name, for errors and the log.
        shelf: what it last listed.
        within: seconds a call waits for a list that tells whether its tool is what was pinned.
    """

    __slots__ = ("_instructions", "_pinning", "_said", "_shelf", "_upstream", "_withheld", "_within")

    def __init__(self, upstream: str, shelf: Shelf, within: float) -> None:
        self._upstream = upstream
        self._shelf = shelf
        self._within = within
        self._pinning = OFF
        self._instructions: str | None = None
        self._withheld = ""
        self._said: tuple[Listed, tuple[str, ...]] = (_NOTHING, ())

    @property
    def instructions(self) -> str | None:
        """What the upstream says of itself for the model, where that may be passed on."""
        return None if self._withheld else self._instructions

    @property
    def refused(self) -> tuple[str, ...]:
        """A line for each thing that is not shown."""
        share = self._shelf.lists.get("tools", _NOTHING)
        if share is not self._said[0]:
            self._said = (share, withheld(share))
        return (self._withheld, *self._said[1]) if self._withheld else self._said[1]

    def pin(self, pinning: Pinning) -> None:
        """Hold it to these pins from now on: what it says now, and what it will say."""
        self._pinning = pinning
        self._shelf.pin(pinning)
        self.met(self._instructions)

    def met(self, instructions: str | None) -> None:
        """It was connected to, and said this of itself."""
        before = self._withheld
        self._instructions = instructions
        self._withheld = self._pinning.withholds(instructions)
        if self._withheld not in ("", before):
            _log.warning("upstream %s: %s; they are withheld", self._upstream, self._withheld)

    async def admit(self, method: str, params: Mapping[str, object]) -> None:
        """Let a request pass, unless it calls a tool that is not what was pinned by what was last listed of it.

        A list that is known to have changed, or is from before the present connection, is read again first. Nothing is
        waited for otherwise. Raises `ToolRefused`, `InvalidParams` for a tool that is gone, and `UpstreamUnavailable`
        when it cannot be told.
        """
        if method != "tools/call" or self._pinning.mode == "off":
            return
        if not await self._shelf.settle("tools", self._within):
            raise unavailable(self._upstream, "did not tell its tools in time to hold them to their pins", retry=True)
        share, tool = self._shelf.lists["tools"], str(params.get("name"))
        if tool in share.refused:
            raise refused(self._upstream, tool, share.refused[tool])
        if not self._shelf.has(tool):
            raise unknown("tools", tool)
