"""A server of tasks in a process of its own, which kills itself where it is told to.

python -m tests.extensions.tasks.stage DATABASE LEDGER [POINT]

It prints its URL. LEDGER gets a line for each thing a function did, written before anything else happens. POINT is
`before` or `after`, a method of the store, and which call of it: `after:create:1`. STAGE_PORT in the environment is
where it listens, in place of a free port.
"""

import asyncio
import os
import signal
import socket
import sys

import uvicorn

from tests.extensions.tasks.dying import die_at
from trunkline import Context, Pace, Retry, Server, TaskPolicy

LEASE = 2.0
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

database, ledger, *point = sys.argv[1:]
server = Server("stage", storage=database, task_pace=Pace(lease=LEASE))


def note(*words: object) -> None:
    """Write down what was done; a death right afterwards loses nothing of it."""
    with open(ledger, "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


async def steps(context: Context) -> str:
    """Three steps, and between the second and the third a question."""
    note("run", context.attempt)
    await context.step("one", lambda key: note("one", key))
    await context.step("two", lambda key: note("two", key))
    answer = await context.elicit("Your name?", FORM)
    await context.step("three", lambda key: note("three", key))
    return f"{answer.content['name']} after three steps"


server.tool(name="safe", annotations={"idempotentHint": True}, task=TaskPolicy(retry=Retry(attempts=5, backoff=0.05)))(
    steps
)
server.tool(name="unsafe", task=TaskPolicy(retry=Retry(attempts=5, backoff=0.05)))(steps)


@server.tool(annotations={"idempotentHint": True}, task=TaskPolicy(retry=Retry(attempts=2, backoff=0.05)))
async def deadly(context: Context) -> str:
    """Kill the process each time it runs."""
    note("run", context.attempt)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool(task=True)
async def long(seconds: float, context: Context) -> str:
    """Take its time, and record a step first."""
    note("run", context.attempt)
    await context.step("one", lambda key: note("one", key))
    await asyncio.sleep(seconds)
    return f"slept {seconds:g}"


@server.tool(task=True)
async def plain(seconds: float) -> str:
    """Take its time without a step."""
    note("run")
    await asyncio.sleep(seconds)
    return f"slept {seconds:g}"


@server.tool(task=True)
async def large(size: int) -> str:
    """Give much."""
    return "x" * size


def main() -> None:
    """Serve until killed or told to stop."""
    if point:
        die_at(point[0])
    with socket.create_server(("127.0.0.1", int(os.environ.get("STAGE_PORT", "0")))) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
        config = uvicorn.Config(server.app, http="httptools", loop="uvloop", log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
