"""Whether a request that failed is sent again, and when.

What it is for: one rule for the client and for the gateway towards its servers.
What may live here: what a failure tells of the request, the pauses, the time after which it is given up.
What may not: sockets, sending, making connections.
"""

import random
import time
from typing import Literal

from trunkline.errors import (
    AddressRefused,
    HttpFailure,
    Interrupted,
    InvalidAnswer,
    MessageTooLong,
    Overloaded,
    RemoteError,
    ReplicaLost,
    RequestTimeout,
    SignInError,
    StorageUnavailable,
    TransportError,
    UpstreamUnavailable,
)

Fate = Literal["lost", "busy", "told"]
"""What became of a request that may be sent again."""

_PAUSES: dict[Fate, tuple[float, float]] = {
    # Gone with a process that is being replaced, or with a proxy's idle connection: it is there again at once.
    "lost": (0.1, 0.5),
    # It has asked for less, without saying how long: more than a moment, and still nothing a person minds.
    "busy": (0.3, 1.0),
    # Somebody is there and says that what the request needs is not.
    "told": (0.1, 0.5),
}
"""Seconds between a request and its first repetition, least and most; drawn evenly, so that those who failed together
do not come back together. Each further pause is twice as long."""

_LONGEST: dict[Fate, float] = {"lost": 2.0, "busy": 4.0, "told": 4.0}
"""Seconds between two repetitions, at most, where nobody asked for more; what is replaced is there in a moment."""

AWAY = 180.0
"""Seconds a server may be away, for callers who give their requests that long: a process that is replaced loads,
balancers look only every few seconds, and the next process may be lost as well. In a storm of a kill every two seconds,
thirty were too few for one call in a thousand, and sixty for one in ten thousand."""

BRIEF = 5.0
"""The same where waiting for longer is not worth it: somebody is there to say what is wrong, or others wait as well."""

_SPANS: dict[Fate, float] = {"lost": AWAY, "busy": AWAY, "told": BRIEF}

_BUSY = (429, 503)
_NOBODY = (502, 503, 504)
"""What balancers answer with when no server did."""

_FINAL = (InvalidAnswer, MessageTooLong, AddressRefused, SignInError)
"""Failures that would be the same another time."""

_LOST = (Interrupted.code, ReplicaLost.code, StorageUnavailable.code)
"""The server, or what it needs, ended while it answered: the request may have run."""


class Repeating:
    """The repetitions of one request, from its first failure on.

    Parameters:
        repeatable: whether the request may run twice.
        within: seconds, at most, until no further attempt begins.
        tries: how often it may be sent again; without it, as often as there is time.

        wait = repeating.wait(error)
        if wait is None:
            raise
        await asyncio.sleep(wait)
    """

    __slots__ = ("_began", "_number", "_repeatable", "_tries", "_within")

    def __init__(self, repeatable: bool, within: float = AWAY, tries: int | None = None) -> None:
        self._repeatable = repeatable
        self._within = within
        self._tries = tries
        self._number = 0
        self._began = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds in which further attempts may begin."""
        return self._began + self._within - time.monotonic()

    def wait(self, error: Exception) -> float | None:
        """Seconds until the request is sent again, or None when it must not be, or when that is vain."""
        fate = fate_of(error, self._repeatable)
        if fate is None or self._number == self._tries:
            return None
        least, most = _PAUSES[fate]
        pause = min(random.uniform(least, most) * 2.0 ** min(self._number, 10), _LONGEST[fate])  # noqa: S311
        # Who asks for a while gets it; those who were asked together still do not come back together.
        asked = asked_wait(error) or 0.0
        room = min(self.left, self._began + _SPANS[fate] - time.monotonic()) - asked
        if room < least:
            return None
        self._number += 1
        # The last attempt is as late as it may be.
        return asked + min(pause, room)


def fate_of(error: Exception, repeatable: bool) -> Fate | None:
    """What became of a request; None when it must not be sent again, or when it would fail the same way.

    Parameters:
        repeatable: whether it may run twice. Any request may be sent again that surely did not run.
    """
    if isinstance(error, RemoteError):
        return _told(error, repeatable)
    if isinstance(error, HttpFailure):
        if error.status in _BUSY and not error.delivered:
            return "busy"
        if not repeatable or error.status < 500:
            return None
        return "lost" if error.status in _NOBODY else "told"
    if not isinstance(error, TransportError) or isinstance(error, _FINAL):
        return None
    if isinstance(error, RequestTimeout):
        return "lost" if error.limit == "connect" else None
    return "lost" if repeatable or not error.delivered else None


def passing(error: Exception) -> float | None:
    """Seconds to leave a server alone, at least, before what failed with this is sent again; None where that is vain.

    For requests that may run any number of times, by those who have all the time a task has.
    """
    if isinstance(error, RequestTimeout):
        return 0.0
    return None if fate_of(error, repeatable=True) is None else asked_wait(error) or 0.0


def asked_wait(error: Exception) -> float | None:
    """Seconds a server wants to be left alone, as it said (RFC 9110, 10.2.3, or our own servers' data)."""
    if isinstance(error, RemoteError):
        wait = error.data.get("dev.trunkline/retryAfterMs") if isinstance(error.data, dict) else None
        return max(0.0, wait / 1000) if isinstance(wait, int) and not isinstance(wait, bool) else None
    text = error.headers.get("retry-after", "") if isinstance(error, HttpFailure) else ""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _told(error: RemoteError, repeatable: bool) -> Fate | None:
    """What became of a request that was answered with an error."""
    if error.remote_code in _LOST:
        if not repeatable:
            return None
        return "busy" if error.remote_status in _BUSY else "lost"
    if error.remote_status in _BUSY or error.remote_code == Overloaded.code:
        return "busy"
    data = error.data
    # A gateway says of its upstream, which failed, whether it may answer another time.
    helps = isinstance(data, dict) and data.get("dev.trunkline/retry") is True
    return "told" if repeatable and helps and error.remote_code == UpstreamUnavailable.code else None
