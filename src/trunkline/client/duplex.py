"""A channel over one two-way stream of messages.

What it is for: sort what a link receives to the requests in flight, by id and by correlation keys.
What may live here: demultiplexing. What may not: processes, HTTP, eras.
"""

import asyncio
import contextlib
import itertools
import logging
import re
from collections.abc import Callable, Iterator

from trunkline.client.channel import Body, Call, Headers, Link, unpack
from trunkline.client.patience import Pulse
from trunkline.errors import InvalidAnswer, MessageTooLong, ParseError, PeerKilled, TransportError
from trunkline.protocol.messages import SUBSCRIPTION_KEY

_log = logging.getLogger("trunkline.client")
_QUEUED = 1000
"""Notifications that may wait for one slow caller."""

_MEMBER = rb'\s*"(?:jsonrpc|id)"\s*:\s*"?[\w.-]*"?\s*'
_ANSWER_HEAD = re.compile(rb"\s*\{(?:" + _MEMBER + rb',)*\s*"(?:result|error)"\s*:')
_ANSWER_TAIL = re.compile(rb"[\]}]\s*(?:," + _MEMBER + rb")*\}\s*$")
_ID = re.compile(rb'"id"\s*:\s*"?(\d{1,18})"?\s*[,}]')
"""A response whose result was too long to be kept: its other members stand before the result or behind it."""


class DuplexChannel:
    """Requests multiplexed over a `Link`.

    Parameters:
        link: the stream; the channel owns it.
        name: the server for error texts.
        on_garbage: takes what is not a JSON-RPC message; such a line is counted in `garbage` and skipped, since many
            servers print to their stdout.
    """

    duplex = True

    def __init__(self, link: Link, name: str, on_garbage: Callable[[bytes], None] | None = None) -> None:
        self.name = name
        self.garbage = 0
        self.ids: Iterator[int] = itertools.count(1)
        self.pulse = Pulse()
        self._link = link
        self._on_garbage = on_garbage
        self._pending: dict[int, asyncio.Queue[Body | TransportError]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._sink: Callable[[Body], None] = _ignore
        self._ended: TransportError | None = None
        self._endings: list[Callable[[TransportError], None]] = []

    def __repr__(self) -> str:
        return f"<DuplexChannel {self.name}>"

    @property
    def ended(self) -> bool:
        """Whether the stream is over; the channel cannot be used again."""
        return self._ended is not None

    @property
    def killed(self) -> bool:
        """Whether the stream is over because the peer's process was killed, rather than ended by itself."""
        return isinstance(self._ended, PeerKilled)

    def on_end(self, callback: Callable[[TransportError], None]) -> None:
        """Call when the stream is over, with the reason."""
        self._endings.append(callback)

    async def start(self, sink: Callable[[Body], None]) -> None:
        """Open the link and start reading."""
        self._sink = sink
        if self._reader is not None:
            return
        await self._link.open()
        self._reader = asyncio.create_task(self._read(), name=f"read {self.name}")

    async def exchange(self, call: Call) -> Body:
        """Send a request, hand over what belongs to it, return its response."""
        if self._ended is not None:
            raise TransportError(self._ended.message, delivered=False)
        queue: asyncio.Queue[Body | TransportError] = asyncio.Queue()
        self._pending[call.id] = queue
        try:
            await self._link.send(call.body)
            while True:
                item = await queue.get()
                if isinstance(item, InvalidAnswer):
                    raise item
                if isinstance(item, TransportError):
                    raise TransportError(item.message) from item
                if "method" not in item:
                    return item
                await call.take(call, item)
        finally:
            del self._pending[call.id]

    async def send(self, body: bytes, headers: Headers = ()) -> None:
        """Send a notification or a response."""
        if self._ended is not None:
            raise TransportError(self._ended.message, delivered=False)
        await self._link.send(body)

    async def close(self) -> None:
        """Stop reading and end the link."""
        self._end(TransportError(f"The connection to {self.name} was closed"))
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        await self._link.close()

    async def _read(self) -> None:
        reason = TransportError(f"{self.name} ended the connection")
        try:
            while await self._next():
                pass
        except TransportError as error:
            reason = error
        finally:
            self._end(reason)

    async def _next(self) -> bool:
        """Take one message in; False at the end of the stream."""
        try:
            raw = await self._link.receive()
        except MessageTooLong as error:
            self._dropped(error)
            return True
        if raw is not None:
            self._receive(raw)
        return raw is not None

    def _dropped(self, error: MessageTooLong) -> None:
        """Tell the request whose answer it was; without that it would wait for ever."""
        _log.warning("%s: %s", self.name, error.message)
        queue = self._pending.get(_answered(error.head, error.tail))
        if queue is not None:
            queue.put_nowait(InvalidAnswer(error.message))

    def _receive(self, raw: bytes) -> None:
        self.pulse.beat()
        if not raw.strip():
            return
        try:
            messages = unpack(raw, self.name)
        except (ParseError, InvalidAnswer):
            self.garbage += 1
            if self._on_garbage is not None:
                self._on_garbage(raw)
            elif self.garbage == 1:
                _log.warning("%s writes lines that are not MCP messages; they are skipped", self.name)
            return
        for message in messages:
            self._route(message)

    def _route(self, message: Body) -> None:
        if "method" not in message:
            queue = self._pending.get(_integer(message.get("id")))
            if queue is None and "error" in message and message.get("id") is None and len(self._pending) == 1:
                # An error that could not be tied to a request has no id; with one in flight there is no doubt.
                queue = next(iter(self._pending.values()))
            if queue is not None:
                queue.put_nowait(message)
            return
        queue = None if "id" in message else self._correlated(message)
        if queue is None:
            self._sink(message)
        elif queue.qsize() < _QUEUED:
            queue.put_nowait(message)
        elif message["method"] not in ("notifications/progress", "notifications/message"):
            queue.put_nowait(TransportError(f"The reader of {self.name}'s notifications fell behind"))

    def _correlated(self, message: Body) -> asyncio.Queue[Body | TransportError] | None:
        """The request a notification belongs to (stdio, Receiving Messages, items 2 and 3)."""
        params = message.get("params")
        if not isinstance(params, dict):
            return None
        meta = params.get("_meta")
        keys = [params.get("progressToken")]
        if isinstance(meta, dict):
            keys.append(meta.get(SUBSCRIPTION_KEY))
        if message["method"] == "notifications/cancelled":
            keys.append(params.get("requestId"))
        for key in keys:
            if (queue := self._pending.get(_integer(key))) is not None:
                return queue
        if message["method"] == "notifications/message" and len(self._pending) == 1:
            return next(iter(self._pending.values()))
        return None

    def _end(self, reason: TransportError) -> None:
        if self._ended is None:
            self._ended = reason
            for callback in self._endings:
                callback(reason)
        for queue in self._pending.values():
            queue.put_nowait(reason)


def _answered(head: bytes, tail: bytes) -> int:
    """The id in what is left of a response, -1 where it is none."""
    begin, end = _ANSWER_HEAD.match(head), _ANSWER_TAIL.search(tail)
    found = begin and (_ID.search(begin[0]) or (end and _ID.search(end[0])))
    return int(found[1]) if found else -1


def _integer(value: object) -> int:
    """A key as we issued it; a peer that turned it into text is understood. -1 stands for none of ours."""
    if isinstance(value, bool):
        return -1
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 else -1


def _ignore(message: Body) -> None:
    """Before `start` nobody listens."""
