"""What a server tells of one task by itself.

What it is for: `subscriptions/listen` with `taskIds` in place of most polls, where a server offers it.
What may live here: one such stream, and waiting for it. What may not: polling, what a state means to its task.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from math import inf

from trunkline.client.connection import Connection
from trunkline.client.peer import Notification, Peer
from trunkline.client.results import plain
from trunkline.errors import RemoteError, TransportError
from trunkline.extensions.tasks import polling

_log = logging.getLogger("trunkline.client")
_MOST_STREAMS = 16
"""Streams of one client for its tasks; those beyond are polled."""

_AGAIN = 5.0
"""Seconds before a stream that broke is opened again."""


class Hearing:
    """What a client knows of its server's willingness to tell, and how many streams it has open for its tasks."""

    def __init__(self) -> None:
        self.streams = 0
        self.mute: Peer | None = None
        """A server that was asked and does not tell of tasks."""


class News:
    """News of one task; waits as well where there are none to be had.

    async with News(connection, hearing, id) as news:
        state = await news.wait(2.0)
    """

    def __init__(self, connection: Connection, hearing: Hearing, id: str) -> None:
        self.since = inf
        """Since when the server tells of changes by itself; never as long as it does not."""
        self._connection = connection
        self._hearing = hearing
        self._id = id
        self._stream: AsyncGenerator[Notification, None] | None = None
        self._peer: Peer | None = None
        self._next: asyncio.Future[Notification] | None = None
        self._again = 0.0

    async def __aenter__(self) -> "News":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def open(self) -> None:
        """Begin to listen, unless it is of no use. Raises `TransportError` when the server cannot be reached."""
        if self._stream is not None or time.monotonic() < self._again or self._hearing.streams >= _MOST_STREAMS:
            return
        peer = await self._connection.peer()
        if self._hearing.mute is peer:
            return
        self._peer = peer
        self._hearing.streams += 1
        self._stream = peer.listen({"taskIds": [self._id]})
        self._next = asyncio.ensure_future(anext(self._stream))

    async def wait(self, seconds: float) -> polling.TaskState | None:
        """Wait for news, so many seconds at most. None when it is time to look, or to think anew of when."""
        if self._next is None:
            await asyncio.sleep(seconds)
            return None
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if not done:
            return None
        try:
            told = self._next.result()
        except (StopAsyncIteration, TransportError, RemoteError) as error:
            _log.debug("%s tells no more of task %s: %r", self._connection.target.name, self._id, error)
            if isinstance(error, RemoteError) and self.since == inf:
                self._hearing.mute = self._peer
            await self._leave()
            self._again = time.monotonic() + _AGAIN
            return None
        assert self._stream is not None
        self._next = asyncio.ensure_future(anext(self._stream))
        return await self._taken(told)

    async def _taken(self, told: Notification) -> polling.TaskState | None:
        if told.method == "notifications/subscriptions/acknowledged":
            agreed = told.params.get("notifications")
            ids = agreed.get("taskIds") if isinstance(agreed, dict) else None
            if isinstance(ids, list) and self._id in ids:
                self.since = time.monotonic()
                return None
            if not ids:
                self._hearing.mute = self._peer
            await self._leave()
            self._again = inf
            return None
        if told.method != "notifications/tasks" or told.params.get("taskId") != self._id:
            return None
        return polling.told({key: plain(value) for key, value in told.params.items()}, self._id)

    async def _leave(self) -> None:
        self.since = inf
        waiting, self._next = self._next, None
        stream, self._stream = self._stream, None
        if waiting is not None:
            waiting.cancel()
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                waiting.exception()
        if stream is not None:
            self._hearing.streams -= 1
            with contextlib.suppress(TransportError, RemoteError):
                await stream.aclose()
