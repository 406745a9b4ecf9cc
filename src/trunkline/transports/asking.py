"""Questions to a legacy client, and its answers.

What it is for: server-to-client requests of one session: unique ids, waiting, bounds.
What may live here: the register of open questions. What may not: how a request reaches the client.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import UNSET

from trunkline.engine.doors import InputRequest
from trunkline.errors import InvalidRequest, Overloaded, RemoteError, RequestTimeout
from trunkline.protocol import json
from trunkline.protocol.messages import Message, notification
from trunkline.protocol.revisions import Revision

Tell = Callable[[bytes], Awaitable[None]]


class _WireError(msgspec.Struct):
    """The `error` member of a response."""

    code: int
    message: str
    data: object = None


class Questions:
    """The open questions of one session.

    Parameters:
        revision: of the session; an older one does not know every parameter.
        replica: where the answers are waited for; the ids of questions tell it.
        limit: how many may be open at once; one more is refused with `Overloaded`.
        seconds: how long a person may take for one.
    """

    __slots__ = ("_limit", "_open", "_replica", "_revision", "_seconds")

    def __init__(self, revision: Revision, replica: str, limit: int = 100, seconds: float = 600) -> None:
        self._revision = revision
        self._replica = replica
        self._limit = limit
        self._seconds = seconds
        self._open: dict[str, asyncio.Future[object]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def ask(self, requests: Mapping[str, InputRequest], tell: Tell) -> dict[str, object]:
        """Send the requests and wait for all answers: result objects, or an exception where there is none.

        What is still open when the wait ends is cancelled at the client (utilities/cancellation).
        """
        if len(self._open) + len(requests) > self._limit:
            raise Overloaded(f"{self._limit} questions to this client are open already; wait for its answers")
        loop = asyncio.get_running_loop()
        # Unguessable, and unique also where several processes serve the session.
        ids = [f"{self._replica}-{secrets.token_urlsafe(9)}" for _ in requests]
        futures: dict[str, asyncio.Future[object]] = {id: loop.create_future() for id in ids}
        self._open.update(futures)
        reason = "the call has ended"
        try:
            for id, request in zip(futures, requests.values(), strict=True):
                await tell(self._encode(id, request))
            await asyncio.wait(futures.values(), timeout=self._seconds)
            reason = f"no answer within {self._seconds:g} seconds"
            late = RequestTimeout(reason)
            return {
                key: future.result() if future.done() else late
                for key, future in zip(requests, futures.values(), strict=True)
            }
        finally:
            for id, future in futures.items():
                self._open.pop(id, None)
                if not future.done():
                    await tell(notification("notifications/cancelled", {"requestId": id, "reason": reason}))

    def elsewhere(self, message: Message) -> str | None:
        """The replica that waits for a response; None where it is this one, or none at all."""
        if not isinstance(message.id, str):
            return None
        replica, dash, _ = message.id.partition("-")
        return replica if dash and replica != self._replica else None

    def answered(self, message: Message) -> bool:
        """Take in a response of the client; False where nothing of this session waits for it."""
        future = self._open.get(message.id) if isinstance(message.id, str) else None
        if future is None or future.done():
            return False
        future.set_result(_answer(message))
        return True

    def _encode(self, id: str, request: InputRequest) -> bytes:
        body: dict[str, object] = {"jsonrpc": "2.0", "id": id, "method": request.method}
        params = request.params
        if params is not None:
            if not self._revision.elicitation_modes:
                params = {key: value for key, value in params.items() if key != "mode"}
            elif params.get("mode") == "url":
                # 2025-11-25 names each page; later revisions do without (client/elicitation, URL Mode).
                params = {"elicitationId": secrets.token_urlsafe(12), **params}
            body["params"] = params
        return json.encode(body)


def _answer(message: Message) -> object:
    try:
        if message.error is not UNSET:
            error = msgspec.json.decode(message.error, type=_WireError)
            return RemoteError(error.code, error.message, error.data)
        if message.result is not UNSET:
            return msgspec.json.decode(message.result)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return InvalidRequest("the client's response is malformed")
