"""What a server reports while it works.

What it is for: hand progress and log messages to the user's callbacks.
What may live here: those callbacks' types and calling them. What may not: requests.
"""

import inspect
from collections.abc import Awaitable, Callable

from msgspec import Struct

from trunkline.client.results import plain
from trunkline.protocol import json
from trunkline.protocol.revisions import LOG_LEVELS

JsonObject = dict[str, object]


class LogMessage(Struct, frozen=True):
    """A log message of the server."""

    level: str
    data: object
    logger: str | None = None


OnProgress = Callable[[float, float | None, str | None], Awaitable[None] | None]
"""Takes progress, total and message of a running call."""

OnLog = Callable[[LogMessage], Awaitable[None] | None]


def notifications(
    progress: OnProgress | None, log: OnLog | None, log_level: str
) -> Callable[[str, JsonObject], Awaitable[None]] | None:
    if progress is None and log is None:
        return None

    async def take(method: str, params: JsonObject) -> None:
        if method == "notifications/message" and log is not None:
            await tell(log, params, log_level)
        elif method == "notifications/progress" and progress is not None:
            done, total, message = (
                json.number(params.get("progress")),
                json.number(params.get("total")),
                params.get("message"),
            )
            if done is not None:
                await called(progress(done, total, message if isinstance(message, str) else None))

    return take


async def tell(log: OnLog, params: JsonObject, log_level: str) -> None:
    """Hand over one log message, unless it is below the level: a legacy server without levels sends them all."""
    level, logger = str(params.get("level", "info")), params.get("logger")
    if level in LOG_LEVELS and LOG_LEVELS.index(level) < LOG_LEVELS.index(log_level):
        return
    await called(log(LogMessage(level, plain(params.get("data")), logger if isinstance(logger, str) else None)))


async def called(outcome: Awaitable[None] | None) -> None:
    """Wait for a callback that may be async."""
    if inspect.isawaitable(outcome):
        await outcome
