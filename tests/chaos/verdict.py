"""What users rely on when replicas come and go, checked against a ledger."""

import re
from collections.abc import Mapping

from tests.chaos.ledger import Call, Ledger
from tests.chaos.ours import SAFE

CUT = re.compile(
    r"process that answered this call is gone"  # the gateway, of a call carried between replicas or a resumed stream
    r"|may have run"
    r"|answered 502|Bad Gateway|HTTP 502|returned an error response"  # the balancer
    r"|broke|[Ss]tream ended|ended the stream|fetch failed|terminated|Connection closed"  # the connection itself
)
"""A call that was under way on a killed replica may end like this, once."""

DEAF = re.compile(r"timed out")
"""The TypeScript client does not notice that a modern call's stream has ended without its response, and waits on.

So it does in a legacy session when it has given the stream up, which it says.
"""

NOT_HELD = re.compile(r"no longer holds this call open.*without requestState")
"""And a call that waits for a person there like this."""


def faults(ledger: Ledger, executions: Mapping[str, int]) -> list[str]:
    """Everything that should not have happened."""
    found = [_told(ledger, call) for call in ledger.failed() if not _forgivable(ledger, call)]
    found += [
        f"{one.who}: it gave a stream up while all replicas were there: {one.why}"
        for one in ledger.given_up
        if not ledger.explained(one)
    ]
    found += [f"{id} was executed {times} times" for id, times in executions.items() if times > 1]
    lost = [call for call in ledger.of(what="count") if call.id and not call.why and not executions.get(call.id)]
    return found + [f"{call.who}: {call.id} was answered and not executed" for call in lost]


def _forgivable(ledger: Ledger, call: Call) -> bool:
    """Whether the replica a call was at was killed, and the caller is told as promised."""
    if not ledger.struck(call) or not call.retriable:
        return False
    if call.who.startswith("typescript") and DEAF.search(call.why):
        return _deaf(ledger, call)
    if call.what.startswith("held"):
        return bool(NOT_HELD.search(call.why) or CUT.search(call.why))
    if call.who.startswith("ours") and call.what.split()[0] in SAFE:
        return False
    return bool(CUT.search(call.why))


def _deaf(ledger: Ledger, call: Call) -> bool:
    """Whether the TypeScript client could not notice what became of a call."""
    if call.who.endswith("modern"):
        return True
    return any(one.caller and one.who == call.who and call.began < one.when < call.ended for one in ledger.given_up)


def _told(ledger: Ledger, call: Call) -> str:
    blows = ", ".join(
        f"{blow.what} {blow.began - call.began:+.1f}..{blow.over - call.began:+.1f}"
        for blow in ledger.blows
        if blow.over > call.began - 30 and blow.began < call.ended
    )
    told = f"{call.who}: {call.what} after {call.ended - call.began:.1f} s: {call.why} (retriable: {call.retriable})"
    return f"{told}; from its beginning on: {blows}"
