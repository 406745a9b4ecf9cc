"""Tasks that somebody else keeps.

What it is for: the door through which the methods of the extension reach tasks that are in no store of ours.
What may live here: its shape. What may not: where such tasks are, how their ids are made.
"""

from collections.abc import Sequence
from typing import Protocol

from trunkline.engine.context import Context
from trunkline.engine.doors import Ear, Result


class CarriedTask(Protocol):
    """One such task, for the request of its owner that is about it. Each raises `ProtocolError`."""

    async def get(self) -> Result:
        """Answer `tasks/get`."""

    async def update(self) -> None:
        """Pass on the answers of a `tasks/update`."""

    async def cancel(self) -> None:
        """Pass on a `tasks/cancel`."""


class Carrier(Protocol):
    """Who carries requests about tasks to whoever keeps them."""

    def offered(self) -> bool:
        """Whether there is anyone at the moment who may make tasks."""

    def find(self, context: Context, id: str) -> CarriedTask | None:
        """The task a caller has under this id; None where it gave no such id to this very caller (tasks, section 6)."""

    async def listen(self, context: Context, ids: Sequence[str]) -> Ear:
        """Tell of these tasks, each of which `find` finds for this caller."""
