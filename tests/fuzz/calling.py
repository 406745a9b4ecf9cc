"""Calls to an upstream that talks garbage, through our client and through the gateway."""

import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field

from trunkline import Client, TrunklineError

COMMAND = (sys.executable, "-m", "tests.fuzz.upstream")
TOO_LONG = 15.0
"""Seconds; the limit of a call is far below."""

PATIENCE = 1.0
"""Seconds of a call: many get no answer. Making a connection has longer, since a process has to start."""

GROUP = 20
"""Bad calls at once: many of them wait for their time limit."""


@dataclass
class Outcome:
    """What became of the calls: faults are whatever is neither an answer nor one of our errors, or comes too late."""

    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)


async def call(client: Client, tool: str, number: int, outcome: Outcome) -> str:
    """One call, and its text."""
    try:
        async with asyncio.timeout(TOO_LONG):
            result = await client.call(tool, n=number, timeout=PATIENCE)
            outcome.ends["answer"] += 1
            return result.text
    except TimeoutError:
        outcome.faults.append(f"{tool} {number}: a hang")
    except TrunklineError as error:
        outcome.ends[type(error).__name__] += 1
        text = str(error)
        if not text or "Traceback" in text or text != text.encode("utf-8", "replace").decode("utf-8"):
            outcome.faults.append(f"{tool} {number}: {error!r}")
    except Exception as error:
        outcome.faults.append(f"{tool} {number}: {type(error).__name__}: {error}")
    return ""


async def besiege(client: Client, start: int, stop: int, *, good: str = "good", bad: str = "bad") -> Outcome:
    """Bad calls, some at once, and a good one after each such group, which must be right."""
    outcome = Outcome()
    for number in range(start, stop, GROUP):
        await asyncio.gather(*(call(client, bad, at, outcome) for at in range(number, min(number + GROUP, stop))))
        if await call(client, good, number, outcome) != str(number + 1):
            outcome.faults.append(f"{good} {number}: not answered rightly")
    return outcome
