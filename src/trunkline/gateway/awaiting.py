"""Tasks that are awaited for callers who know nothing of them.

What it is for: a tool that only runs as a task serves clients of older revisions, too: the gateway waits for them.
What may live here: following one task of an upstream to its end. What may not: who is served so (`requests.py`).
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

from trunkline.engine.doors import InputRequest, Result
from trunkline.errors import RemoteError, TransportError, TrunklineError
from trunkline.extensions.tasks import polling
from trunkline.extensions.tasks.polling import TaskState, Watch
from trunkline.gateway import tasks
from trunkline.gateway.relaying import Relay, question

_SILENT = 60.0
"""Seconds without an answer after which a task is given up."""

_FAREWELL = 2.0
"""Seconds in which an upstream is told that nobody waits any more."""

Ask = Callable[[str, Mapping[str, object]], Awaitable[Result]]
"""Sends a request about the task, with its parameters, and returns the result. Each may be sent any number of times."""


async def outcome(created: Result, relay: Relay, ask: Ask) -> Result:
    """The result of the call that became a task. Nobody else knows of the task: it is cancelled when its caller leaves.

    Raises what the call would have raised, and `TransportError` for an upstream that does not answer any more.

    Parameters:
        created: what the upstream made.
        relay: the call.
        ask: asks the upstream.
    """
    watch = Watch(str(created["taskId"]), polling.created(created), time.monotonic())
    steps, said = 0, None
    try:
        while True:
            state = watch.state
            assert state is not None
            if state.message is not None and state.message != said:
                steps, said = steps + 1, state.message
                await relay.context.progress(steps, message=said)
            if state.ended and state.known:
                return _end(state)
            await _answer(watch, relay, ask)
            await asyncio.sleep(watch.wait(time.monotonic()))
            await _look(watch, ask)
    except BaseException:
        await _abandon(watch, ask)
        raise


async def _look(watch: Watch, ask: Ask) -> None:
    try:
        shown = await ask("tasks/get", {"taskId": watch.id})
    except TransportError:
        now = time.monotonic()
        if watch.silent(now) > _SILENT:
            raise
        await asyncio.sleep(watch.missed(now, 0.0))
    else:
        watch.saw(polling.detailed(tasks.seen("tasks/get", watch.id, shown), watch.id), time.monotonic())


async def _answer(watch: Watch, relay: Relay, ask: Ask) -> None:
    """Have the caller asked what the task asks."""
    new: dict[str, InputRequest] = {}
    for key, request in watch.ask().items():
        assert isinstance(request, dict)
        params = request.get("params")
        new[key] = question(request["method"], params if isinstance(params, dict) else None)
    if new:
        answers = await relay.asked_now(new)
        await ask("tasks/update", {"taskId": watch.id, "inputResponses": answers})


async def _abandon(watch: Watch, ask: Ask) -> None:
    if watch.state is None or not watch.state.ended:
        with contextlib.suppress(TrunklineError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await ask("tasks/cancel", {"taskId": watch.id})


def _end(state: TaskState) -> Result:
    if state.status == "completed" and state.result is not None:
        return state.result
    if state.status == "cancelled":
        return {"content": [{"type": "text", "text": "The task was cancelled"}], "isError": True}
    raise RemoteError(*tasks.failure_of(state.error or {}))
