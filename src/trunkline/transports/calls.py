"""A request that runs in a task of its own.

What it is for: legacy requests everywhere and all requests of a duplex stream: they outlive the read that brought them.
What may live here: deadline, cancellation, the way from an answer or error to its response.
What may not: what the request means; how messages travel.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from trunkline.engine.doors import InputRequest
from trunkline.engine.engine import error_for
from trunkline.errors import DeadlineExceeded, InternalError, Interrupted, InvalidRequest, ProtocolError
from trunkline.protocol import json
from trunkline.protocol.messages import Id
from trunkline.protocol.revisions import Revision
from trunkline.runtime.application import Application
from trunkline.runtime.listen import Subscription
from trunkline.transports.asking import Questions

logger = logging.getLogger("trunkline.transports")


class Channel(Protocol):
    """Where the messages of a call go."""

    async def tell(self, message: bytes, *, passing: bool = False) -> None:
        """Send a message before the response; a `passing` one (progress, log) may be dropped when nobody reads."""

    async def answer(self, response: bytes | None) -> None:
        """Send the response; None when the client cancelled and expects none."""

    async def suspend(self, retry: int) -> None:
        """Close the connection, not the stream, if there is a difference."""


class Call:
    """One request in flight, as an exchange for the engine and for the sweeper.

    Parameters:
        application: whose registry it enters.
        calls: the requests in flight it joins, by id.
        questions: those of its legacy session; None for a modern request, which cannot ask.
        deadline: monotonic seconds when it is stopped.
    """

    __slots__ = (
        "_answering",
        "_application",
        "_asking",
        "_calls",
        "_channel",
        "_questions",
        "_remaining",
        "_running",
        "deadline",
        "id",
        "interactive",
        "method",
        "reason",
        "revision",
        "subscription",
        "task",
    )

    def __init__(
        self,
        application: Application,
        calls: "dict[Id, Call]",
        id: Id,
        method: str,
        channel: Channel,
        revision: Revision | None = None,
        questions: Questions | None = None,
    ) -> None:
        self._application = application
        self._calls = calls
        self._channel = channel
        self._questions = questions
        self._running = False
        self._answering = False
        self._asking = 0
        self._remaining = 0.0
        self.id = id
        self.method = method
        self.revision = revision
        self.interactive = questions is not None
        self.reason: str | None = None
        self.subscription: Subscription | None = None
        self.task: asyncio.Task[None] | None = None
        timeout = None if method == "subscriptions/listen" else application.call_timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout

    def start(self, work: "Callable[[Call], Awaitable[bytes]]") -> None:
        """Run `work`, which returns the encoded response, and send what it returns or raises."""
        self._calls[self.id] = self
        self._application.inflight.enter(self)
        self.task = asyncio.create_task(self._run(work), name=f"trunkline {self.method[:40]}")

    async def notify(self, message: bytes) -> None:
        """Send a notification, unless the client cancelled (Cancellation: no further messages)."""
        if self.reason is None:
            await self._channel.tell(message, passing=self.subscription is None)

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Ask the client and wait; the clock of the call stands still meanwhile."""
        if self._questions is None:
            raise InvalidRequest("A modern client is asked through input rounds")
        if self._asking == 0 and self.deadline is not None:
            self._remaining, self.deadline = self.deadline - time.monotonic(), None
        self._asking += 1
        try:
            return await self._questions.ask(requests, self._channel.tell)
        finally:
            self._asking -= 1
            if self._asking == 0 and self._application.call_timeout is not None:
                self.deadline = time.monotonic() + self._remaining

    async def suspend(self, retry: int) -> None:
        """Let the client hang up and come back, where its transport and revision know that."""
        await self._channel.suspend(retry)

    def sweep(self, now: float) -> None:
        """Stop what is over its deadline."""
        if self.deadline is not None and now > self.deadline:
            self.cancel("deadline")

    def drain(self) -> None:
        """A subscription ends gracefully; calls finish by themselves."""
        if self.subscription is not None:
            self.subscription.close()

    def stop(self) -> None:
        """The time to finish is over."""
        self.cancel("interrupted")

    def cancel(self, reason: str) -> None:
        """Stop the call.

        It is `cancelled` by the client, over its `deadline`, `interrupted` as the server stops, or `stopped` with what
        it belongs to. Nobody waits for the answer of one that is cancelled or stopped.
        """
        if self.reason is not None or self.task is None or self._answering:
            return
        self.reason = reason
        if self._running:
            self.task.cancel()

    async def _run(self, work: "Callable[[Call], Awaitable[bytes]]") -> None:
        response: bytes | None = None
        self._running = True
        try:
            if self.reason is not None:
                # Cancelled before its first step: a task cancelled there would skip what follows.
                raise asyncio.CancelledError
            response = await work(self)
        except ProtocolError as error:
            response = self.failure(error)
        except asyncio.CancelledError:
            if self.reason is None:
                raise
            if self.reason == "deadline":
                timeout = self._application.call_timeout
                response = self.failure(DeadlineExceeded(f"{self.method} was stopped after {timeout:g} seconds"))
            elif self.reason == "interrupted":
                response = self.failure(Interrupted(self.method))
        except Exception:
            logger.exception("request failed", extra={"method": self.method})
            response = self.failure(InternalError())
        finally:
            self._answering = True
            if self._calls.get(self.id) is self:
                del self._calls[self.id]
            self._application.inflight.calls.discard(self)
        await self._channel.answer(response)

    def failure(self, error: ProtocolError) -> bytes:
        """The encoded error response, in the words of the call's revision."""
        return json.encode({"jsonrpc": "2.0", "id": self.id, "error": error_for(self.revision, error)})
