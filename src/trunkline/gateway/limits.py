"""Bounds of what one upstream may cost.

What it is for: every wait and every number that an upstream could stretch, in one place.
What may live here: the record and its defaults. What may not: enforcement.
"""

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """What one upstream may cost. Times in seconds.

    Parameters:
        start: a call waits so long for an upstream that is starting.
        lists: list requests of clients wait for an upstream's first list until it is so long since it was asked for.
        listing: a list request to the upstream may take so long.
        idle: a call may be silent so long; the entry's `request_timeout` goes before.
        total: a call may take so long, whatever its progress.
        held, held_each, held_seconds: calls kept open at a legacy upstream while a modern client's person thinks: in
            all, for each caller, and for how long between two rounds.
        drain: calls in flight may take so long once it is changed or removed; the entry's `drain_timeout` goes before.
        sessions, processes, session_idle: callers' sessions kept at an upstream, at one where each is a process of its
            own, and how long an unused one.
    """

    start: float = 30.0
    lists: float = 10.0
    listing: float = 30.0
    idle: float = 60.0
    total: float = 3600.0
    held: int = 256
    held_each: int = 64
    held_seconds: float = 600.0
    drain: float = 30.0
    silences: int = 5
    silence: float = 5.0
    sessions: int = 256
    processes: int = 16
    session_idle: float = 600.0
