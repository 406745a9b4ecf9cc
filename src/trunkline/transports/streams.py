"""Resumable event streams: what is said on one, and the connection it leaves by.

What it is for: 2025-11-25, Sending Messages, item 6, and Resumability and Redelivery; older revisions take part in it.
What may live here: order, event ids, reconnection, the choice between JSON and a stream.
What may not: sessions, what messages mean.
"""

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from trunkline.engine.doors import EventLog
from trunkline.protocol import sse
from trunkline.protocol.messages import Id
from trunkline.runtime.inflight import InFlight
from trunkline.transports.asgi import JSON_TYPE, STREAM_HEADERS, Headers, Receive, Send
from trunkline.transports.batches import join
from trunkline.transports.modern import KEEP_ALIVE_AFTER

_AHEAD = 64
"""Progress and log messages wait when a connected client is this many events behind."""
_STUCK = 30.0
"""Seconds a write may wait for the client; then it counts as gone, and may come back."""
_UNREAD = 500
"""Progress and log messages are dropped when an absent client has missed this many; the rest is kept for it."""

LASTING = "ear."
"""How the names of streams begin that belong to no request; no other name has a dot."""

Closed = Callable[["Stream", bool], None]


class Stream:
    """The messages to a client that belong to one POST, or to the session's GET.

    Parameters:
        events, session: where its events are kept; the ids they get there name the stream.
        closed: called once when all is said, with whether a client got all of it.
        priming: the revision knows an opening event without data.
        expected: responses after which it is complete; None for a stream that ends with its session.
        requests: the ids of the requests they answer.
        batch: the responses belong in an array.
    """

    __slots__ = (
        "_batch",
        "_closed",
        "_events",
        "_expected",
        "_lock",
        "_opening",
        "_present",
        "_requests",
        "_responses",
        "_session",
        "_unread",
        "connection",
        "done",
        "name",
        "opened",
        "priming",
        "retry",
        "sent",
    )

    def __init__(
        self,
        events: EventLog,
        session: str,
        closed: Closed,
        *,
        priming: bool,
        expected: int | None = 1,
        requests: Sequence[Id] = (),
        batch: bool = False,
    ) -> None:
        # The name is part of every event id: unique in the session, whichever process makes it.
        self.name = (LASTING if expected is None else "") + secrets.token_urlsafe(9)
        self.priming = priming
        self.connection: Connection | None = None
        self.opened = False
        self.done = False
        self.retry: int | None = None
        self.sent = ""
        self._events = events
        self._session = session
        self._closed = closed
        self._expected = expected
        self._requests = requests
        self._batch = batch
        self._responses: list[bytes] = []
        self._unread = 0
        self._lock = asyncio.Lock()
        self._opening: asyncio.Task[None] | None = None
        self._present: asyncio.Future[None] | None = None

    @classmethod
    def elsewhere(cls, events: EventLog, session: str, closed: Closed, name: str, *, priming: bool) -> "Stream":
        """A stream that this process does not write; what it passes on comes from the log."""
        stream = cls(events, session, closed, priming=priming)
        stream.name = name
        stream.opened = True
        return stream

    @property
    def lasting(self) -> bool:
        """It belongs to no request, and ends with its session or its server."""
        return self._expected is None

    async def tell(self, message: bytes, *, passing: bool = False) -> None:
        """Say something before the response; the first time, the answer becomes an event stream."""
        if self.done or (passing and self.connection is None and self._unread >= _UNREAD):
            return
        async with self._lock:
            await self._open()
            await self._append(message)
        if passing and self.connection is not None:
            await self.connection.room()

    async def answer(self, response: bytes | None) -> None:
        """Give a response; None when its request was cancelled. The last one completes the stream."""
        if self._expected is None or self.done:
            return
        self._expected -= 1
        try:
            if response is not None:
                async with self._lock:
                    if self.opened:
                        await self._open()
                        await self._append(response)
                    else:
                        self._responses.append(response)
        finally:
            # Also where the log failed: the client learns from the end of the stream that no response will come.
            if self._expected == 0:
                self.close()

    async def ready(self) -> None:
        """Wait for a client that listens and keeps up."""
        while self.connection is None and not self.done:
            self._present = self._present or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._present)
        if self.connection is not None:
            await self.connection.room()

    async def suspend(self, retry: int) -> None:
        """Close the connection after telling when to come back, where the revision knows that; the stream goes on."""
        if self.priming and self.connection is not None and not self.done:
            async with self._lock:
                await self._open()
            self.retry = retry
            self._wake()

    async def begin(self) -> None:
        """Open it as an event stream before there is anything to say."""
        async with self._lock:
            await self._open()

    def pass_on(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Send what stands in the log already, or is encoded as an event and has no id."""
        if self.connection is not None:
            self.connection.queue.extend(events)
            self.connection.wake()

    def close(self) -> None:
        """Everything is said."""
        if self.done:
            return
        self.done = True
        self._release()
        if self.connection is None:
            self._closed(self, False)
        else:
            self._wake()

    async def attach(self, connection: "Connection", after: str | None) -> None:
        """Go on by this connection, with what followed the event `after`; another connection it had ends.

        The event is named again before (2025-11-25, Sending Messages, item 6): there are clients that know no other
        when this connection breaks too, and would take that for the end of their call.
        """
        async with self._lock:
            tail = None if after is None else await self._events.after(self._session, after)
            if after is not None and tail is not None:
                connection.queue.extend([(after, b""), *tail.events])
            previous, self.connection = self.connection, connection
            self._unread = 0
            self._release()
        if previous is not None:
            previous.leave()

    def detach(self, connection: "Connection", complete: bool) -> None:
        """A connection ended; the client may come back for what it has not got."""
        if self.connection is not connection:
            return
        self.connection = None
        self._unread = len(connection.queue)
        if self.done:
            self._closed(self, complete)

    def json(self) -> bytes | None:
        """The whole answer as JSON; None where there is no response or it is a stream."""
        if self.opened or not self._responses:
            return None
        return join(self._responses) if self._batch else self._responses[0]

    async def _open(self) -> None:
        if not self.opened:
            self.opened = True
            self._opening = asyncio.create_task(self._events.begin(self._session, self.name, self._requests))
        if self._opening is None:
            return
        # Whoever had something to say first may be cancelled meanwhile: what the others say goes out all the same.
        await asyncio.shield(self._opening)
        self._opening = None
        if self.priming or self._expected is None:
            await self._append(b"")
        for response in self._responses:
            await self._append(response)
        self._responses.clear()

    async def _append(self, message: bytes) -> None:
        id = await self._events.append(self._session, self.name, message)
        if self.connection is not None:
            self.connection.queue.append((id, message))
            self.connection.wake()
        elif message:
            self._unread += 1
        else:
            self.sent = id

    def _wake(self) -> None:
        if self.connection is not None:
            self.connection.wake()

    def _release(self) -> None:
        if self._present is not None:
            self._present.set_result(None)
            self._present = None


class Connection:
    """One HTTP response that carries a stream for as long as it holds.

    `queue` holds events that were not written yet.
    """

    __slots__ = (
        "_extra",
        "_inflight",
        "_leaving",
        "_receive",
        "_room",
        "_send",
        "_stream",
        "_waiter",
        "_written",
        "queue",
    )

    def __init__(self, stream: Stream, inflight: InFlight, receive: Receive, send: Send, extra: Headers) -> None:
        self.queue: deque[tuple[str, bytes]] = deque()
        self._stream = stream
        self._receive = receive
        self._send = send
        self._extra = extra
        self._inflight = inflight
        self._leaving = False
        self._written = time.monotonic()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    async def run(self, after: str | None = None) -> None:
        """Carry the stream until it is complete, suspended, taken over, or the client leaves."""
        stream = self._stream
        watcher: asyncio.Task[None] | None = None
        await stream.attach(self, after)
        try:
            while not (stream.opened or stream.done or self._leaving):
                await self._wait()
            if not stream.opened:
                await self._respond(stream.json())
                return
            await self._start()
            self._inflight.enter(self)
            if self._inflight.draining:
                self.drain()
            watcher = asyncio.create_task(self._watch())
            while await self._carry():
                await self._wait()
        finally:
            self._inflight.calls.discard(self)
            complete = stream.done and not self._leaving and not self.queue
            stream.detach(self, complete)
            self._leaving = True
            self._make_room()
            if watcher is not None:
                watcher.cancel()

    def wake(self) -> None:
        """There is something to do."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def leave(self) -> None:
        """The client has left, or came back by another connection: nothing waits for this one any more."""
        self._leaving = True
        self._stream.detach(self, complete=False)
        self._make_room()
        self.wake()

    async def room(self) -> None:
        """Wait until the client has read most of what was said."""
        while len(self.queue) > _AHEAD and not self._leaving and self._stream.connection is self:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            # Shared by all that wait: cancelling one of them must not end it for the others.
            await asyncio.shield(self._room)

    def sweep(self, now: float) -> None:
        """Keep a quiet stream alive; one whose client has not read for long goes on without it."""
        if self.queue and now - self._written > _STUCK:
            self.leave()
        elif now - self._written > KEEP_ALIVE_AFTER:
            self._written = now
            self.queue.append(("", sse.KEEP_ALIVE))
            self.wake()

    def drain(self) -> None:
        """A lasting stream ends; the others end with their calls."""
        if self._stream.lasting:
            self._stream.close()

    def stop(self) -> None:
        """Its calls are stopped, and end it with their answers."""

    async def _carry(self) -> bool:
        """Write what there is; False when this connection's part is over."""
        stream = self._stream
        while self.queue and not self._leaving:
            await self._write(*self.queue.popleft())
        self._make_room()
        if self._leaving:
            await self._end()
            return False
        if stream.retry is not None:
            await self._body(sse.encode(b"", id=stream.sent or None, retry=stream.retry))
            stream.retry = None
        elif not stream.done:
            return True
        await self._end()
        return False

    async def _write(self, id: str, message: bytes) -> None:
        if not id:
            await self._body(message)
            return
        stream = self._stream
        stream.sent = id
        if message:
            await self._body(sse.encode(message, id=id))
        elif stream.priming and stream.retry is None:
            await self._body(sse.encode(b"", id=id))

    async def _body(self, chunk: bytes) -> None:
        self._written = time.monotonic()
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _start(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._extra]})

    async def _end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _respond(self, body: bytes | None) -> None:
        if body is None:
            # Cancelled: there is no response, and a stream may end without one.
            await self._start()
            await self._end()
            return
        fields = [(b"content-length", b"%d" % len(body)), JSON_TYPE, *self._extra]
        await self._send({"type": "http.response.start", "status": 200, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})

    async def _wait(self) -> None:
        if self.queue or self._leaving or self._stream.done or self._stream.retry is not None:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def _make_room(self) -> None:
        if self._room is not None and (len(self.queue) <= _AHEAD or self._leaving):
            if not self._room.done():
                self._room.set_result(None)
            self._room = None
