"""Where the process is that keeps something for a caller.

What it is for: a process, or a connection that is its session, lives in one replica; its caller's calls come to any.
What may live here: who has it, and what happens when that replica is gone. What may not: processes, calls.
"""

import hashlib
import logging

from trunkline.engine.doors import Notes, Replicas
from trunkline.gateway.failures import unavailable
from trunkline.gateway.sessions import Key

_log = logging.getLogger("trunkline.gateway")

_KIND = "home"


class Homes:
    """The replicas that have the sessions of one upstream.

    Parameters:
        upstream: its name.
        notes, replicas: what the replicas of the gateway share.
        forgiving: a session lost with its replica begins anew unsaid; otherwise its next call is told once.
    """

    def __init__(self, upstream: str, notes: Notes, replicas: Replicas, *, forgiving: bool) -> None:
        self._upstream = upstream
        self._notes = notes
        self._replicas = replicas
        self._forgiving = forgiving
        self.lost = 0
        """Sessions that were lost with their replicas, as far as their callers came back to this one."""

    async def find(self, key: Key, ending: str | None = None) -> str | None:
        """The replica that has a session; None where it is this one, from now on if nobody had it.

        Parameters:
            ending: a replica that gives up what it has.

        Raises `UpstreamUnavailable` once when the replica that had it is gone, and with it what the session kept.
        """
        own = self._replicas.name
        home = (await self._notes.add(_KIND, self._named(key), own.encode())).decode()
        if home == own:
            return None
        if home != ending and await self._replicas.alive(home):
            return home

        def inherit(now: bytes) -> bytes:
            return own.encode() if now == home.encode() else now

        heir = await self._notes.change(_KIND, self._named(key), inherit)
        if heir is not None and heir != own.encode():
            return heir.decode()
        if home == ending:
            return None
        self.lost += 1
        _log.warning("upstream %s: a session was lost with the replica %s", self._upstream, home)
        if not self._forgiving:
            raise unavailable(
                self._upstream,
                "has lost what it kept for this caller: the process that ran for it is gone. Send the request again to "
                "begin with a new one",
                retry=True,
            )
        return None

    async def leave(self, key: Key) -> None:
        """The session is not kept here any more."""

        def given_up(now: bytes) -> bytes:
            return b"" if now == self._replicas.name.encode() else now

        if await self._notes.change(_KIND, self._named(key), given_up) == b"":
            await self._notes.remove(_KIND, self._named(key))

    def _named(self, key: Key) -> str:
        owner, capabilities, _ = key
        return hashlib.sha256(b"\0".join([self._upstream.encode(), owner.encode(), capabilities])).hexdigest()
