"""Errands: what one replica asks of another one, and the answer.

What it is for: something that lives in one process is needed by a request that reached another.
What may live here: request and answer over `Replicas`, bounded in time. What may not: what is asked.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

import msgspec

from trunkline.engine.doors import Replicas

logger = logging.getLogger("trunkline.runtime")

Handler = Callable[[str, bytes], Awaitable[bytes]]
"""`(sender, message) -> answer`."""


class _Request(msgspec.Struct, array_like=True):
    id: str
    message: bytes


class _Answer(msgspec.Struct, array_like=True):
    id: str
    message: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(_Request).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class Errands:
    """Asks other replicas, and answers them.

    Parameters:
        replicas: the way to them.
        topic: what it is about; both sides use the same one.
        handler: answers what others ask. An exception of its own is no answer.

        errands = Errands(replicas, "sessions /mcp", handler)
        errands.start()
        answer = await errands.ask(name, b"...", seconds=5)
    """

    def __init__(self, replicas: Replicas, topic: str, handler: Handler) -> None:
        self._replicas = replicas
        self._topic = topic
        self._handler = handler
        self._waiting: dict[str, asyncio.Future[bytes | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leave: tuple[Callable[[], None], ...] = ()

    def start(self) -> None:
        """Answer from now on."""
        if not self._leave:
            self._leave = (
                self._replicas.receive(self._topic, self._asked),
                self._replicas.receive(f"{self._topic} answers", self._answered),
            )

    def stop(self) -> None:
        """Answer nobody any more; who waits here gets None."""
        for leave in self._leave:
            leave()
        self._leave = ()
        for task in self._tasks:
            task.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    async def ask(self, replica: str, message: bytes, seconds: float) -> bytes | None:
        """The answer of another replica; None when it does not live, cannot answer, or takes longer than `seconds`."""
        id = secrets.token_urlsafe(9)
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        try:
            if not await self._replicas.send(replica, self._topic, _encode(_Request(id, message))):
                return None
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            logger.warning("replica %s did not answer within %g seconds", replica, seconds)
            return None
        finally:
            del self._waiting[id]

    def _asked(self, sender: str, raw: bytes) -> None:
        try:
            request = _decode_request(raw)
        except msgspec.MsgspecError:
            logger.warning("replica %s asks for what this one does not understand", sender)
            return
        task = asyncio.get_running_loop().create_task(self._work(sender, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, sender: str, request: _Request) -> None:
        answer: bytes | None = None
        try:
            answer = await self._handler(sender, request.message)
        except Exception:
            logger.exception("an errand of replica %s failed", sender)
        try:
            told = _encode(_Answer(request.id, answer))
            await self._replicas.send(sender, f"{self._topic} answers", told, patient=True)
        except Exception:
            logger.exception("replica %s could not be answered", sender)

    def _answered(self, sender: str, raw: bytes) -> None:
        answer = _decode_answer(raw)
        future = self._waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer.message)
