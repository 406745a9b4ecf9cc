"""One caller's session at a legacy HTTP server, for all replicas of the gateway.

What it is for: what such a server keeps for a caller is found from every replica, and re-made once when it is lost.
What may live here: who uses the session, who listens to it. What may not: requests, the handshake.
"""

import hashlib

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trunkline.client.handover import Handed
from trunkline.engine.doors import Notes, Replicas
from trunkline.gateway.sessions import Key
from trunkline.portable.model import Entry

_KIND = "upstream session"


class _Kept(Struct):
    """A session, the replicas that use it, and the one that listens to it."""

    handed: Handed
    users: list[str]
    listener: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Kept).decode


class SessionNote:
    """The note about one caller's session at one upstream, as a `Handover`.

    Parameters:
        entry: the configured server; a session is good for it, reached this way, and nothing else.
        key: whose session it is.
        notes, replicas: what the replicas of the gateway share.
    """

    def __init__(self, entry: Entry, key: Key, notes: Notes, replicas: Replicas) -> None:
        owner, capabilities, _ = key
        server = _encode([entry.name, entry.url, sorted(entry.headers.items())])
        self._key = hashlib.sha256(b"\0".join([server, owner.encode(), capabilities])).hexdigest()
        self._notes = notes
        self._replicas = replicas

    async def find(self, lost: str | None) -> Handed | None:
        """The session to use; None when there is none, or only the one that is lost."""
        note = await self._notes.load(_KIND, self._key)
        if note is None or _decode(note).handed.session == lost:
            return None
        return await self._join(_decode(note))

    async def keep(self, handed: Handed, lost: str | None) -> Handed:
        """Keep a new session instead of a lost one; returns the one to use: another replica may have been first."""
        own = self._replicas.name
        mine = _encode(_Kept(handed, [own], own))

        def renewed(now: bytes) -> bytes:
            return mine if _decode(now).handed.session == lost else now

        kept = await self._notes.add(_KIND, self._key, mine)
        if lost is not None and kept != mine:
            kept = await self._notes.change(_KIND, self._key, renewed) or mine
        found = _decode(kept)
        return handed if found.handed.session == handed.session else await self._join(found)

    async def leave(self, session: str) -> bool:
        """This replica uses it no longer; whether nobody else does."""
        own = self._replicas.name

        def without(now: bytes) -> bytes:
            kept = _decode(now)
            if kept.handed.session == session:
                kept.users = [user for user in kept.users if user != own]
            return _encode(kept)

        note = await self._notes.change(_KIND, self._key, without)
        kept = None if note is None else _decode(note)
        if kept is None or kept.handed.session != session:
            # It was given up before, or replaced: nobody else uses it.
            return True
        for user in kept.users:
            if await self._replicas.alive(user):
                return False
        await self._notes.remove(_KIND, self._key)
        return True

    async def others(self) -> list[str]:
        """The other replicas that use the session."""
        note = await self._notes.load(_KIND, self._key)
        return [] if note is None else [user for user in _decode(note).users if user != self._replicas.name]

    async def _join(self, kept: _Kept) -> Handed:
        own, session = self._replicas.name, kept.handed.session
        deaf = kept.listener == own or not await self._replicas.alive(kept.listener)

        def joined(now: bytes) -> bytes:
            there = _decode(now)
            if there.handed.session == session:
                there.users = [*(user for user in there.users if user != own), own]
                if deaf:
                    there.listener = own
            return _encode(there)

        await self._notes.change(_KIND, self._key, joined)
        return replace(kept.handed, listening=deaf)
