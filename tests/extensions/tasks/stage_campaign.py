"""A server of tasks for a campaign of kills, in a process of its own.

python -m tests.extensions.tasks.stage_campaign DATABASE LEDGER [POINT]

As `stage`, with tools that say for which call they do something: the ledger's lines are `CALL WHAT DETAIL`.
"""

import asyncio
import os
import random
import sys

from tests.extensions.tasks import stage
from tests.extensions.tasks.verdict import ATTEMPTS, STEPS
from trunkline import Context, Retry, Server, TaskPolicy

FAILURES = 2

server: Server = stage.server
_RETRY = Retry(attempts=ATTEMPTS, backoff=0.05, longest=0.2)


def note(*words: object) -> None:
    """One line in one write, so that those of other processes stay whole."""
    file = os.open(stage.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(file)


async def moment() -> None:
    await asyncio.sleep(random.uniform(0, 0.05))


async def work(n: int, context: Context) -> str:
    """Three steps, and between the second and the third a question."""
    note(n, "run", context.attempt)

    async def do(step: str) -> None:
        async def function(key: str) -> None:
            note(n, step, key)
            await moment()

        await context.step(step, function)
        note(n, "kept", step)
        await moment()

    one, two, three = STEPS
    await do(one)
    await do(two)
    answer = await context.elicit("Your name?", stage.FORM)
    note(n, "told", answer.content["name"])
    await do(three)
    return str(answer.content["name"])


server.tool(name="often", annotations={"idempotentHint": True}, task=TaskPolicy(retry=_RETRY))(work)
server.tool(name="once", task=TaskPolicy(retry=_RETRY))(work)


@server.tool(
    annotations={"idempotentHint": True},
    task=TaskPolicy(retry=Retry(attempts=ATTEMPTS, backoff=0.05, longest=0.2, on=(ConnectionError,))),
)
async def flaky(n: int, context: Context) -> str:
    """Fail for some attempts in a way that passes."""
    note(n, "run", context.attempt)
    await moment()
    if context.attempt <= FAILURES:
        raise ConnectionError("not yet")
    return f"attempt {context.attempt}"


@server.tool(task=TaskPolicy(retry=_RETRY, trigger="after", after=0.1))
async def late(n: int, context: Context) -> str:
    """Become a task while it runs."""
    note(n, "run", context.attempt)
    await asyncio.sleep(0.3)
    return "late"


if __name__ == "__main__":
    sys.exit(stage.main())
