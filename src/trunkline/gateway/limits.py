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
        connect: a connection may take so long; the entry's `connect_timeout` goes before.
        request: a call may go so long without progress; the entry's `request_timeout` goes before.
        idle: a call may go so long without anything coming at all; the entry's `idle_timeout` goes before; None leaves
            it to `request`.
        total: a call may take so long, whatever its progress; the entry's `total_timeout` goes before.
        held, held_each, held_seconds: calls kept open at a legacy upstream while a modern client's person thinks: in
            all, for each caller, and for how long between two rounds.
        drain: calls in flight may take so long once it is changed or removed; the entry's `drain_timeout` goes before.
        sessions, processes, session_idle: callers' sessions kept at an upstream, at one where each is a process of its
            own, and how long an unused one.
    """

    start: float = 30.0
    lists: float = 10.0
    listing: float = 30.0
    connect: float = 10.0
    request: float = 60.0
    idle: float | None = None
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
