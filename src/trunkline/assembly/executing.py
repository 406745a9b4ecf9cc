"""An application that serves nobody: it runs the tasks of its server.

What it is for: start it, run until a signal, give back what cannot be finished in time.
What may live here: that life, and what is refused. What may not: tasks themselves, making the application.
"""

import asyncio
import contextlib
import logging
import os

from trunkline.errors import ConfigError
from trunkline.extensions.tasks.names import IDENTIFIER
from trunkline.runtime.application import Application
from trunkline.transports.serving import on_signals
from trunkline.transports.stored import Stored

logger = logging.getLogger("trunkline.tasks")


def check_tasks(application: Application, name: str) -> None:
    """Raises `ConfigError` for an application that has no tasks, or none that another process could find."""
    tasks = [extension for extension in application.engine.extensions if extension.identifier == IDENTIFIER]
    # A gateway that only carries tasks of upstreams has none to run.
    if all(extension.start is None for extension in tasks):
        raise ConfigError(
            f"Nothing in {name} becomes a task: declare a tool with `@server.tool(task=True)`, or write `tasks: true` "
            "for a server of the configuration"
        )
    if not isinstance(application.shared, Stored):
        raise ConfigError(
            f"{name} keeps its tasks in memory, where no worker finds them: name the database its server uses with "
            '--storage URL, or as Server(storage="sqlite:///state.db")'
        )


async def execute(application: Application, seconds: float) -> None:
    """Run tasks until SIGTERM or SIGINT; then for so long those that run may finish, and the rest is given back.

    A second signal gives them back at once, and a third one ends the process.
    """
    told = asyncio.Event()
    hurry = asyncio.Event()

    def leave() -> None:
        hurry.set() if told.is_set() else told.set()

    with on_signals(leave):
        await application.start()
        try:
            logger.info("worker is up", extra={"server": application.name, "pid": os.getpid()})
            await told.wait()
            logger.info("stopping", extra={"timeout": seconds})
        finally:
            await _stop(application, seconds, hurry)
    logger.info("stopped")


async def _stop(application: Application, seconds: float, hurry: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(application.stop(seconds))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not stopping.done():
        # Cut short where it waits, it still ends everything in order.
        stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
