"""A server for a campaign of kills behind a gateway, over stdio: `python campaign_upstream.py LEDGER`.

It writes down what is done for which call: the ledger's lines are `CALL WHAT DETAIL`.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from trunkline import Context, Overloaded, Server

LEDGER = Path(sys.argv[1])
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
SAFE = {"idempotentHint": True}
server = Server("campaign")


def note(*words: object) -> None:
    """One line in one write, so that those of other processes stay whole."""
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(file)


async def moment() -> None:
    await asyncio.sleep(random.uniform(0, 0.3))


@server.tool(annotations=SAFE)
async def often(n: int) -> str:
    note(n, "run", "-")
    await moment()
    return "often"


@server.tool
async def once(n: int) -> str:
    note(n, "run", "-")
    await moment()
    return "once"


@server.tool
async def late(n: int) -> str:
    note(n, "run", "-")
    await asyncio.sleep(0.3)
    return "late"


@server.tool(annotations=SAFE)
async def flaky(n: int) -> str:
    note(n, "run", "-")
    await moment()
    if LEDGER.read_text().splitlines().count(f"{n} run -") < 3:
        raise Overloaded("not yet", 0.1)
    return "flaky"


@server.tool(annotations=SAFE)
async def asks(n: int, context: Context) -> str:
    note(n, "run", "-")
    answer = await context.elicit("Your name?", FORM)
    note(n, "told", answer.content["name"])
    await moment()
    return str(answer.content["name"])


server.run()
