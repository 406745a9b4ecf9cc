"""What becomes of a task after a run.

What it is for: from how a function ended to what is stored: parked, another attempt, an outcome, given back.
What may live here: that decision. What may not: running, claiming, tables.
"""

import asyncio
import logging

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.engine.rounds import InputRequired, begin
from trunkline.errors import InternalError, Interrupted, ProtocolError
from trunkline.extensions.tasks.claims import CANCELLED
from trunkline.extensions.tasks.policy import delay_after
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.running import Running, encode_replay, patiently
from trunkline.extensions.tasks.store import TaskStore
from trunkline.protocol import json

logger = logging.getLogger("trunkline.tasks")


async def settle(
    store: TaskStore, running: Running, context: Context, work: "asyncio.Future[Result]", safe: bool
) -> None:
    """Write down what a run came to. Nothing is written of a run whose claim is lost: whoever has it now does.

    Parameters:
        work: how the function ended.
        safe: it may run again although it may have run in part.
    """
    if work.cancelled():
        await _stopped(store, running, context, safe)
        return
    error = work.exception()
    if error is None:
        await _completed(store, running, work.result())
    elif isinstance(error, InputRequired):
        replay = encode_replay(context.replay or begin())
        await patiently(lambda: store.park(_id(running), running.run, error.requests, replay))
    else:
        await _raised(store, running, context, error, safe)


async def lost(store: TaskStore, task: Task, safe: bool) -> None:
    """The worker of a run is gone, and nobody knows how far it came: that was an attempt (DESIGN, Tasks)."""
    delay = delay_after(None, task.policy, task.attempt) if safe else None
    error = _lost_error(task.tool)
    if delay is None:
        await _failed(store, task.id, task.run, error, task.policy.retention)
        return
    why = f"Attempt {task.attempt} was lost with its worker"
    await patiently(lambda: store.retry(task.id, task.run, why, delay, error))


async def _stopped(store: TaskStore, running: Running, context: Context, safe: bool) -> None:
    id, run, retention = _id(running), running.run, running.policy.retention
    if running.reason == "cancel":
        await patiently(lambda: store.finish(id, run, "cancelled", b"", CANCELLED, retention))
    elif running.reason == "drain":
        if safe or (running.recorded and not running.open):
            # What stands outside of a step may run again; what stands in one either has its result or has not begun.
            await patiently(lambda: store.release(id, run))
        else:
            await _failed(store, id, run, _lost_error(str(context.params.name)), retention)
    elif running.reason is None:
        logger.error("a task was cancelled by its own function", extra={"request": context.trace})
        await _failed(store, id, run, InternalError().wire(), retention)


async def _completed(store: TaskStore, running: Running, result: object) -> None:
    id, run = _id(running), running.run
    try:
        assert isinstance(result, dict)
        payload = json.encode({"resultType": "complete", **result})
    except Exception:
        # Such as a result that no JSON encoder takes.
        logger.exception("a task's result cannot be stored")
        await _failed(store, id, run, InternalError().wire(), running.policy.retention)
        return
    await patiently(lambda: store.finish(id, run, "completed", payload, None, running.policy.retention))


async def _raised(store: TaskStore, running: Running, context: Context, error: BaseException, safe: bool) -> None:
    id, run = _id(running), running.run
    wire = error.wire() if isinstance(error, ProtocolError) else InternalError().wire()
    delay = delay_after(error, running.policy, running.attempt, safe) if isinstance(error, Exception) else None
    if delay is not None:
        await _begin_anew(store, running, context)
        said = wire["message"] if isinstance(error, ProtocolError) else type(error).__name__
        why = f"Attempt {running.attempt} failed: {said}"
        await patiently(lambda: store.retry(id, run, why[:1000], delay, wire))
        return
    if not isinstance(error, ProtocolError):
        logger.error("task failed", exc_info=error, extra={"request": context.trace})
    await _failed(store, id, run, wire, running.policy.retention)


async def _begin_anew(store: TaskStore, running: Running, context: Context) -> None:
    """What a gateway remembers of a call at its upstream is of no use to the next attempt, which is another call."""
    replay = context.replay
    if replay is not None and (replay.held or replay.upstream or replay.home or replay.asker):
        replay.held = replay.upstream = replay.home = replay.process = replay.asker = None
        replay.answers = {}
        encoded = encode_replay(replay)
        await patiently(lambda: store.record(_id(running), running.run, encoded))


async def _failed(store: TaskStore, id: str, run: int, error: dict[str, object], retention: float) -> None:
    payload, message = json.encode(error), str(error["message"])[:1000]
    await patiently(lambda: store.finish(id, run, "failed", payload, message, retention))


def _lost_error(tool: str) -> dict[str, object]:
    return {
        "code": Interrupted.code,
        "message": f"The process that ran {tool[:128]} is gone. It may have run in part: call it again if that is safe",
        "data": {"dev.trunkline/reason": "lost", "dev.trunkline/retry": False},
    }


def _id(running: Running) -> str:
    assert running.id is not None
    return running.id
