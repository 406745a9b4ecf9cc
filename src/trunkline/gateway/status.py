"""What an operator sees of an upstream.

What it is for: one plain record for each row of the live table.
What may live here: the record, and what its error column says. What may not: rendering.
"""

import msgspec

from trunkline.gateway.supervision import Status
from trunkline.protocol.revisions import Era


class UpstreamStatus(msgspec.Struct, frozen=True):
    """One upstream as it stands.

    Parameters:
        name: as configured.
        transport: `stdio`, `http` or `sse`.
        state: `starting`, `ready`, `backing_off`, `failed`, `stopping`, `stopped`, or `disabled` by configuration.
        since: when this state began, in seconds since the epoch.
        era, revision: what it speaks, once known.
        tools: how many it shows; None until it was asked.
        error: the last thing that went wrong; may hold what its process wrote, so not for callers.
        sessions: callers' sessions open at it.
        held: calls it keeps open while someone is asked.
        circuit: `closed`; `open` while calls fail at once because it did not answer; `half_open` while one tries.
        cached, hits: results of reads that are kept, and reads that were answered with one.
        lost: sessions whose process was lost with its replica.
        changes: what changed in its tools since they were first listed, the latest last.
        refused: what of it is not shown because it is not what was pinned, a line for each.
    """

    name: str
    transport: str
    state: str
    since: float
    era: Era | None = None
    revision: str | None = None
    tools: int | None = None
    error: str | None = None
    sessions: int = 0
    held: int = 0
    circuit: str = "closed"
    cached: int = 0
    hits: int = 0
    changes: tuple[str, ...] = ()
    lost: int = 0
    refused: tuple[str, ...] = ()


def last_error(life: Status, listing: str) -> str | None:
    """What is shown of an upstream's trouble: why it is not there, with the last it said, or why its lists are not."""
    if not life.error or life.state == "ready":
        return listing or life.error or None
    return " | ".join((life.error, *life.stderr[-3:]))
