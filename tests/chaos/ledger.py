"""What became of every call, by who made it and what it was."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


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
    """

    who: str
    what: str
    began: float
    ended: float = 0.0
    why: str = ""
    retriable: bool = False
    retries: int = 0


@dataclass
class Blow:
    """Something done to a replica: from when until it was ready again."""

    what: str
    began: float
    ended: float = float("inf")


@dataclass
class Ledger:
    """All calls, and all that was done to the replicas meanwhile."""

    calls: list[Call] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)

    @contextmanager
    def blow(self, what: str) -> Iterator[None]:
        """Note what the body does to a replica, and how long it is away."""
        blow = Blow(what, time.time())
        self.blows.append(blow)
        yield
        blow.ended = time.time()

    def of(self, who: str = "", what: str = "") -> list[Call]:
        """Those of a class; classes by the beginning of their names."""
        return [call for call in self.calls if call.who.startswith(who) and call.what.startswith(what)]

    def failed(self, who: str = "", what: str = "") -> list[Call]:
        """Those that ended with an error."""
        return [call for call in self.of(who, what) if call.why]

    def struck(self, call: Call, what: str = "kill") -> bool:
        """Whether a replica was struck while the call was under way."""
        return any(blow.what == what and call.began <= blow.began <= call.ended for blow in self.blows)

    def during(self, what: str) -> list[Call]:
        """The calls that were under way while something was done to a replica."""
        spans = [blow for blow in self.blows if blow.what == what]
        return [call for call in self.calls if any(call.began < b.ended and call.ended > b.began for b in spans)]

    def table(self) -> str:
        """Made, answered, retried and failed, and why, for each class."""
        lines = [f"{'who':<22}{'what':<22}{'made':>7}{'answered':>9}{'retried':>8}{'failed':>7}  why"]
        for who, what in sorted({(call.who, call.what) for call in self.calls}):
            calls = [call for call in self.calls if (call.who, call.what) == (who, what)]
            bad = [call for call in calls if call.why]
            retried = sum(bool(call.retries) for call in calls)
            numbers = f"{len(calls):>7}{len(calls) - len(bad):>9}{retried:>8}{len(bad):>7}"
            lines.append(f"{who:<22}{what:<22}{numbers}  {_reasons(bad)}")
        blows = Counter(blow.what for blow in self.blows)
        lines.append(", ".join(f"{count} {what}" for what, count in sorted(blows.items())))
        return "\n".join(lines)


def _reasons(calls: Iterable[Call]) -> str:
    reasons = Counter(call.why[:110] for call in calls)
    return "; ".join(f"{count} × {why}" for why, count in reasons.most_common(3))
