"""A server as seen by its caller: the one interface of both eras.

What it is for: requests with ids, timeouts, progress and cancellation, over any channel.
What may live here: what the eras share.
What may not: `_meta` of the modern era, sessions of the legacy one, typed results.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from math import inf
from typing import Protocol

import msgspec

from trunkline.client.channel import Body, Call, Channel, Headers, OnNotification, OnRequest, Params
from trunkline.client.deadlines import Deadlines
from trunkline.client.patience import Patience, Pulse
from trunkline.errors import (
    HttpFailure,
    InternalError,
    InvalidAnswer,
    MethodNotFound,
    ProtocolError,
    RemoteError,
    RequestTimeout,
    TransportError,
)
from trunkline.protocol import json, messages
from trunkline.protocol.revisions import Era

_log = logging.getLogger("trunkline.client")

TIMEOUT = 60.0
MAXIMUM = 600.0
_WAITING = 1000
_SAID_AGAIN = (0.2, 0.5, 1.0)
"""Seconds before each repetition of a notification or an answer that was lost with a server's process."""

_ANSWERING = 100


class Greeting(msgspec.Struct, frozen=True):
    """Who we are and what we can do, told to every server: `clientInfo` and `capabilities` as they go on the wire.

    `tasks`: whether calls may be answered with a task, which is told to modern servers with the requests it concerns.
    """

    info: dict[str, object]
    capabilities: dict[str, object] = {}
    tasks: bool = False


class Notification(msgspec.Struct, frozen=True):
    """A notification from a server."""

    method: str
    params: dict[str, object]


class Peer(Protocol):
    """One server, whatever its era. Parameters and results are untyped and complete, so that they can be forwarded."""

    name: str
    era: Era
    revision: str
    server_info: dict[str, object]
    capabilities: dict[str, object]
    instructions: str | None

    async def request(
        self,
        method: str,
        params: Params,
        *,
        timeout: float | None = TIMEOUT,
        maximum: float = MAXIMUM,
        on_notification: OnNotification | None = None,
        on_request: OnRequest | None = None,
        headers: Headers = (),
        patience: Patience | None = None,
    ) -> dict[str, object]:
        """Send a request, return its result.

        Parameters:
            method, params: as in the schema; keys of `params._meta` are kept, ours are added.
            timeout: seconds without a sign of life; progress starts them anew. None waits for ever.
            maximum: seconds in all, whatever the progress.
            on_notification: takes progress and log messages of this request, progress under the caller's own token.
            on_request: answers what the server asks during this request (legacy), instead of the peer's own handler.
            headers: further HTTP headers.
            patience: the clock of the call this request is part of, in place of `timeout` and `maximum`; whoever gives
                it awaits the request within `patience.bound`.

        Raises `RemoteError` (the server's error), `RequestTimeout`, `TransportError`.
        """

    async def notify(self, method: str, params: Params) -> None:
        """Send a notification."""

    def listen(self, notifications: Mapping[str, object]) -> AsyncGenerator[Notification, None]:
        """Change notifications for a filter as in `subscriptions/listen`, the acknowledgement first.

        Ends when the server ends the subscription; raises `TransportError` when the connection breaks. Close the
        generator to unsubscribe.
        """

    async def close(self) -> None:
        """End the connection. Never raises."""


class BasePeer:
    """What `ModernPeer` and `LegacyPeer` share.

    Parameters:
        channel: started by the peer, owned by it from then on.
        greeting: who we are.
        on_request: answers server-to-client requests that belong to no request of ours (legacy).
        on_event: takes notifications that belong to no request of ours.
    """

    era: Era = "modern"
    cancels_by_message = False

    def __init__(
        self,
        channel: Channel,
        greeting: Greeting,
        name: str,
        *,
        on_request: OnRequest | None = None,
        on_event: OnNotification | None = None,
    ) -> None:
        self.channel = channel
        self.greeting = greeting
        self.name = name
        self.revision = ""
        self.server_info: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.instructions: str | None = None
        self._on_request = on_request
        self._on_event = on_event
        self._deadlines = Deadlines()
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering: dict[object, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.revision}>"

    async def notify(self, method: str, params: Params) -> None:
        """Send a notification."""
        await self._say(messages.notification(method, params), self._headers(method, params))

    async def close(self) -> None:
        """End the connection and what runs for it."""
        for task in tuple(self._tasks):
            task.cancel()
        self._deadlines.close()
        await self.channel.close()

    def call(self, method: str, params: Params, headers: Headers = ()) -> Call:
        """A new request with an id of its own; a progress token of the caller is replaced by it until it returns."""
        id = next(self.channel.ids)
        meta = params.get("_meta")
        token = None
        if isinstance(meta, (dict, Mapping)) and (token := meta.get("progressToken")) is not None:
            params = {**params, "_meta": {**meta, "progressToken": id}}
        body = json.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        call = Call(id, method, body, self._headers(method, params) + headers, self.take, self.channel.pulse or Pulse())
        call.token = token
        return call

    async def perform(self, call: Call, timeout: float | None, maximum: float) -> Body:
        """Send a request and wait for its response message, under its clock or, where it has none, these limits."""
        outer, call.patience = (
            call.patience,
            call.patience or Patience(timeout, inf if timeout is None else maximum, deadlines=self._deadlines),
        )
        clock = call.patience
        clock.attend(call.pulse)
        try:
            exchange = self.exchange(call)
            return await (exchange if outer is not None else clock.bound(exchange))
        except RequestTimeout as error:
            if clock.over is None:
                raise
            self._abandon(call, "timed out")
            error.message = f"{self.name} did not answer {call.method}: {error.message}"
            raise
        except asyncio.CancelledError:
            self._abandon(call, "timed out" if clock.over is not None else "no longer needed")
            raise
        finally:
            clock.leave()

    def exchange(self, call: Call) -> Awaitable[Body]:
        """One exchange over the channel; an era may recover a broken one here."""
        return self.channel.exchange(call)

    async def take(self, call: Call, message: Body) -> None:
        """A message that belongs to a request: a notification or, from a legacy server, a request."""
        method, params = _head(message)
        if "id" in message:
            self.answer(message, call.on_request or self._on_request)
        elif method == "notifications/progress":
            await self._progress(call, params)
        elif method == "notifications/message" or call.method == "subscriptions/listen":
            if call.on_notification is not None:
                await call.on_notification(method, params)
            elif method == "notifications/message":
                self.publish(method, params)
        else:
            self.publish(method, params)

    def sink(self, message: Body) -> None:
        """A message that belongs to no request of ours."""
        method, params = _head(message)
        if "id" in message:
            self.answer(message, self._on_request)
        else:
            self.publish(method, params)

    def publish(self, method: str, params: dict[str, object]) -> None:
        """Hand an unsolicited notification to whoever cares."""
        if method == "notifications/cancelled":
            task = self._answering.get(params.get("requestId"))
            if task is not None:
                task.cancel()
        elif self._on_event is not None:
            self.spawn(self._on_event, method, params)

    def answer(self, message: Body, handler: OnRequest | None) -> None:
        """Answer a server-to-client request in the background: the stream it came on must go on meanwhile."""
        if not isinstance(message["id"], str | int):
            return
        if len(self._answering) >= _ANSWERING:
            _log.warning("%s asks for more at a time than is answered; a request is dropped", self.name)
            return
        id = message["id"]
        self._answering[id] = self.spawn(self._answer, message, handler)
        self._answering[id].add_done_callback(lambda _: self._answering.pop(id, None))

    def spawn(self, work: Callable[..., Awaitable[None]], *arguments: object) -> asyncio.Task[None]:
        """Run something for this peer; it is cancelled when the peer closes, and its failure is logged."""
        task = asyncio.create_task(self._guard(work, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _headers(self, method: str, params: Params) -> Headers:
        return ()

    async def _progress(self, call: Call, params: dict[str, object]) -> None:
        if params.get("progressToken") not in (call.id, str(call.id)) or call.token is None:
            return
        if call.patience is not None:
            call.patience.progressed()
        if call.on_notification is not None:
            await call.on_notification("notifications/progress", {**params, "progressToken": call.token})

    def _abandon(self, call: Call, reason: str) -> None:
        """Tell the server that nobody waits (patterns/cancellation); over modern HTTP the closed stream says it."""
        if self.cancels_by_message and call.method not in ("initialize", "server/discover"):
            self.spawn(self.notify, "notifications/cancelled", {"requestId": call.id, "reason": reason})

    async def _answer(self, message: Body, handler: OnRequest | None) -> None:
        method, params = _head(message)
        id = message["id"]
        assert isinstance(id, str | int)
        try:
            if method == "ping":
                result: dict[str, object] = {}
            elif handler is None:
                raise MethodNotFound(f"This client does not serve {method}")
            else:
                result = await handler(method, params)
            body = messages.result_message(id, result)
        except ProtocolError as error:
            body = messages.error_message(id, error)
        except Exception:
            _log.exception("The handler of %s failed", method)
            body = messages.error_message(id, InternalError("The client failed while it answered"))
        await self._say(body, self._headers("", {}))

    async def _say(self, body: bytes, headers: Headers) -> None:
        """Send a notification or an answer; again where whoever took it seems gone, since twice they do no harm."""
        for pause in _SAID_AGAIN:
            try:
                return await self.channel.send(body, headers)
            except (RequestTimeout, InvalidAnswer):
                raise
            except TransportError as error:
                refused = isinstance(error, HttpFailure) and error.status < 500
                if self.channel.duplex or refused:
                    raise
            await asyncio.sleep(pause)
        return await self.channel.send(body, headers)

    async def _guard(self, work: Callable[..., Awaitable[None]], arguments: tuple[object, ...]) -> None:
        try:
            await work(*arguments)
        except TransportError as error:
            _log.debug("%s: %s", self.name, error)
        except Exception:
            _log.exception("%s: a background task failed", self.name)


def unwrap(message: Body, call: Call, name: str) -> dict[str, object]:
    """The result of a response message. Raises `RemoteError` for an error, `InvalidAnswer` for anything else."""
    error = message.get("error")
    if isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
        if isinstance(code, int) and not isinstance(code, bool) and isinstance(text, str):
            failure = RemoteError(code, text, error.get("data"))
            failure.remote_status = call.status
            raise failure
    result = message.get("result")
    if not isinstance(result, dict) or error is not None:
        raise InvalidAnswer(f"{name} answered {call.method} with neither a result object nor an error")
    return result


class Inbox:
    """Notifications on their way to one listener; overflowing ends the subscription instead of losing any."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Notification | TransportError | RemoteError | None] = asyncio.Queue()

    def put(self, method: str, params: dict[str, object]) -> None:
        """Add one."""
        if self._queue.qsize() >= _WAITING:
            self.end(TransportError("The listener fell behind; listen again and read the lists anew"))
        else:
            self._queue.put_nowait(Notification(method, params))

    def end(self, reason: TransportError | RemoteError | None = None) -> None:
        """No more will come; with a reason, the listener is told by exception."""
        self._queue.put_nowait(reason)

    async def get(self) -> Notification | None:
        """The next one, or None at a graceful end."""
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        return item


def _head(message: Body) -> tuple[str, dict[str, object]]:
    params = message.get("params")
    return str(message.get("method", "")), params if isinstance(params, dict) else {}
