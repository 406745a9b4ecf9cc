"""What became of every call, by who made it and what it was."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_UNNOTICED = 0.3
"""Seconds that a balancer may take to notice that a connection it keeps is no more."""

_GIVING_UP = 30.0
"""Seconds from a kill until a client that comes back in vain has used its attempts up, at most."""


@dataclass
class Call:
    """One call.

    Parameters:
        who: the class of the client, as in `ours modern`.
        what: the class of the call.
        began, ended: by the wall clock.
        why: the error it ended with; empty for an answer.
        retriable: the error says that sending the call again helps, or is a broken connection.
        retries: how often it was sent again, unseen by whoever made it.
        id: of the execution it is to lead to.
    """

    who: str
    what: str
    began: float
    ended: float = 0.0
    why: str = ""
    retriable: bool = False
    retries: int = 0
    id: str = ""


@dataclass
class GivenUp:
    """A stream that another's client gave up for ever, as it says itself: its user has to make another client.

    That is a limit of these clients: `MAX_RECONNECTION_ATTEMPTS = 2` in `mcp/client/streamable_http.py` (mcp 2.3.0,
    `handle_get_stream`), and `maxRetries: 2` in `@modelcontextprotocol/client` (2.4.0, `_scheduleReconnection`).

    Parameters:
        who: the class of the client.
        when: by the wall clock.
        why: what the client said.
        caller: it is the client that calls, not the one that listens: a call whose answer it missed waits in vain.
    """

    who: str
    when: float
    why: str
    caller: bool = False


@dataclass
class Blow:
    """Something done to a replica.

    Parameters:
        began: when.
        over: until when a connection to it could still seem to work.
    """

    what: str
    began: float
    over: float = float("inf")


@dataclass
class Ledger:
    """All calls, and all that was done to the replicas meanwhile."""

    calls: list[Call] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    given_up: list[GivenUp] = field(default_factory=list)

    @contextmanager
    def blow(self, what: str) -> Iterator[None]:
        """Note what the body does to a replica."""
        blow = Blow(what, time.time())
        self.blows.append(blow)
        yield
        blow.over = time.time() + _UNNOTICED

    def of(self, who: str = "", what: str = "") -> list[Call]:
        """Those of a class; classes by the beginning of their names."""
        return [call for call in self.calls if call.who.startswith(who) and call.what.startswith(what)]

    def failed(self, who: str = "", what: str = "") -> list[Call]:
        """Those that ended with an error."""
        return [call for call in self.of(who, what) if call.why]

    def struck(self, call: Call) -> bool:
        """Whether a replica was killed while the call was under way."""
        return any(blow.what == "kill" and call.began < blow.over and call.ended > blow.began for blow in self.blows)

    def explained(self, given_up: GivenUp) -> bool:
        """Whether a replica had been killed when a client gave up: its attempts may have met nobody."""
        kills = [blow for blow in self.blows if blow.what == "kill"]
        return any(kill.began < given_up.when < kill.over + _GIVING_UP for kill in kills)

    def table(self) -> str:
        """Made, answered, retried and failed, and why, for each class."""
        lines = [f"{'who':<22}{'what':<22}{'made':>7}{'answered':>9}{'retried':>8}{'failed':>7}  why"]
        for who, what in sorted({(call.who, call.what) for call in self.calls}):
            calls = [call for call in self.calls if (call.who, call.what) == (who, what)]
            bad = [call for call in calls if call.why]
            retried = sum(bool(call.retries) for call in calls)
            numbers = f"{len(calls):>7}{len(calls) - len(bad):>9}{retried:>8}{len(bad):>7}"
            lines.append(f"{who:<22}{what:<22}{numbers}  {_reasons(bad)}")
        for (who, caller, why), count in sorted(Counter((o.who, o.caller, o.why) for o in self.given_up).items()):
            what, after = ("caller", "it calls on") if caller else ("listener", "it was made anew")
            lines.append(f"{who:<22}{what + ' gave up':<22}{count:>7} × {why} (a limit of its own; {after})")
        blows = Counter(blow.what for blow in self.blows)
        lines.append(", ".join(f"{count} {what}" for what, count in sorted(blows.items())))
        return "\n".join(lines)


def _reasons(calls: Iterable[Call]) -> str:
    reasons = Counter(call.why[:110] for call in calls)
    return "; ".join(f"{count} × {why}" for why, count in reasons.most_common(3))
