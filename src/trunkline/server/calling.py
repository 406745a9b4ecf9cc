"""How a registered function is run.

What it is for: one awaitable form for async and sync functions, with or without a time limit.
What may live here: the ways to call.
What may not: what arguments and results mean.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import CoroutineType
from typing import cast

from trunkline.errors import DeadlineExceeded
from trunkline.runtime.pool import WorkerPool
from trunkline.server.signature import Signature

Function = Callable[..., object]
Call = Callable[..., Awaitable[object]]


def caller(function: Function, signature: Signature, pool: WorkerPool, inline: bool, timeout: float | None) -> Call:
    """The function as a coroutine function; an async one without a time limit stays itself.

    Parameters:
        inline: run a sync function on the event loop instead of a thread.
        timeout: seconds after which the call ends with `DeadlineExceeded`; a thread is left to finish alone.
    """
    call = cast("Call", function)
    if not signature.is_async:
        call = partial(_inline, function) if inline else partial(_on_thread, pool, function)
    return call if timeout is None else partial(_limited, call, timeout)


async def _inline(function: Function, /, **arguments: object) -> object:
    value = function(**arguments)
    return await value if isinstance(value, CoroutineType) else value


async def _on_thread(pool: WorkerPool, function: Function, /, **arguments: object) -> object:
    value = await pool.run(partial(function, **arguments))
    # A decorator may hide an async function behind a plain one.
    return await value if isinstance(value, CoroutineType) else value


async def _limited(call: Call, seconds: float, /, **arguments: object) -> object:
    # Imported when it is first needed: a server without time limits starts faster.
    import asyncio

    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call(**arguments)
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(f"The call was stopped after {seconds:g} seconds") from None
        raise
