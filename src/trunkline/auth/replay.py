"""Which proofs were seen (RFC 9449, 11.1).

What it is for: a proof is good once, at this process or at all replicas.
What may live here: the two windows of what was seen. What may not: what a proof says.
"""

import hashlib
import os
from typing import Protocol

from trunkline.engine.doors import Notes
from trunkline.errors import Overloaded

_SLOT = 10.0
"""Seconds of which what ends in them is forgotten together."""

MOST = 1_000_000
"""Proofs a process remembers, about 90 MB: as many as it can check in ten minutes."""

KIND = "dpop-proof"


class Seen(Protocol):
    """Remembers proofs."""

    async def first(self, thumbprint: str, id: str, ends: float, now: float) -> bool:
        """Whether this proof of this key was not seen before; it is remembered until `ends`, seconds since 1970."""


class LocalWindow:
    """What this process saw, in slots of a few seconds that are dropped whole.

    Parameters:
        most: proofs that are remembered; when there are more, further ones are refused rather than forgotten.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._secret = os.urandom(16)
        self._slots: dict[int, set[bytes]] = {}
        self._count = 0

    async def first(self, thumbprint: str, id: str, ends: float, now: float) -> bool:
        """Whether it was not seen before. Raises `Overloaded` when there is no room to remember it."""
        name = hashlib.blake2b(f"{thumbprint} {id}".encode(), digest_size=16, key=self._secret).digest()
        slots = self._slots
        if slots and next(iter(slots)) * _SLOT < now - _SLOT:
            self._forget(now)
        # The same `iat` gives the same end: a proof that comes again can only stand in the slot of its end.
        slot = slots.get(int(ends // _SLOT))
        if slot is None:
            slot = slots[int(ends // _SLOT)] = set()
            self._slots = slots = dict(sorted(slots.items()))
        if name in slot:
            return False
        if self._count >= self._most:
            raise Overloaded("More proofs came than can be remembered; try again shortly", retry_after=_SLOT)
        slot.add(name)
        self._count += 1
        return True

    def _forget(self, now: float) -> None:
        for number in [number for number in self._slots if number * _SLOT < now - _SLOT]:
            self._count -= len(self._slots.pop(number))

    def __repr__(self) -> str:
        return f"LocalWindow({self._count} proofs)"


class SharedWindow:
    """What any replica saw.

    Parameters:
        notes: where replicas leave notes for each other.
        seconds: how long a proof can be good at most.
    """

    def __init__(self, notes: Notes, seconds: float) -> None:
        self._notes = notes
        self._seconds = seconds + _SLOT

    async def first(self, thumbprint: str, id: str, ends: float, now: float) -> bool:
        """Whether no replica saw it before. Raises `StorageUnavailable`: what nobody can tell is not believed."""
        mine = os.urandom(16)
        name = hashlib.sha256(f"{thumbprint} {id}".encode()).hexdigest()
        return await self._notes.add(KIND, f"{thumbprint}.{name}", mine, self._seconds) == mine
