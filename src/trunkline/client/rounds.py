"""The input rounds of a modern request.

What it is for: answer `input_required` results and repeat the request until it completes (patterns/mrtr).
What may live here: that loop. What may not: handlers, requests themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable

from trunkline.errors import InvalidAnswer, ProtocolError
from trunkline.protocol.revisions import INPUT_METHODS

JsonObject = dict[str, object]
Answer = Callable[[str, JsonObject], Awaitable[JsonObject]]
_STATE_ONLY_SECONDS = 0.05
TASK_METHODS = frozenset({"tools/call"})
"""Methods that may be answered with a task; for any other that is an invalid response (tasks, Capability rules)."""


async def complete(
    method: str,
    params: JsonObject,
    send: Callable[[JsonObject], Awaitable[JsonObject]],
    answer: Answer,
    limit: int,
) -> JsonObject:
    """Send a request, answering what the server asks for, until the result is complete, or a task.

    Parameters:
        send: sends the parameters as a request of its own, with an id of its own.
        answer: answers one input request.
        limit: rounds allowed, against a server that never has enough.

    Raises `InvalidAnswer` when the server breaks the rules of input rounds.
    """
    result = await send(params)
    for number in range(limit + 1):
        kind = result.get("resultType", "complete")
        if kind == "complete" or (kind == "task" and method in TASK_METHODS):
            return result
        if kind != "input_required" or method not in INPUT_METHODS:
            raise InvalidAnswer(
                f"The server answered {method} with the result type {str(kind)[:40]!r}, which is unknown here"
            )
        if number == limit:
            break
        result = await send({**params, **await _round(method, result, answer, number)})
    raise InvalidAnswer(f"The server asked for input {limit} times and {method} is still not complete")


async def _round(method: str, result: JsonObject, answer: Answer, number: int) -> JsonObject:
    """What the repeated request carries in addition: the answers, and the state exactly as it came."""
    requests, state = result.get("inputRequests"), result.get("requestState")
    if (
        not isinstance(state, str | None)
        or not isinstance(requests, dict | None)
        or (requests is None and state is None)
    ):
        raise InvalidAnswer(f"The server asked for input to {method} without saying which, or in a wrong form")
    added: JsonObject = {}
    if requests is None:
        await asyncio.sleep(_STATE_ONLY_SECONDS * 2 ** min(number, 6))
    else:
        added["inputResponses"] = {key: await answered(key, request, answer) for key, request in requests.items()}
    if state is not None:
        added["requestState"] = state
    return added


async def answered(key: str, request: object, answer: Answer) -> JsonObject:
    """The answer to one input request, of a round or of a task. Raises `InvalidAnswer` where there can be none."""
    wanted = request.get("method") if isinstance(request, dict) else None
    params = request.get("params", {}) if isinstance(request, dict) else None
    if not isinstance(wanted, str) or not isinstance(params, dict):
        raise InvalidAnswer(f"The server asked for the input {key[:40]!r} in a wrong form")
    try:
        return await answer(wanted, params)
    except ProtocolError as error:
        raise InvalidAnswer(
            f"The server asked for the input {key[:40]!r}, which cannot be given: {error.message}"
        ) from error
