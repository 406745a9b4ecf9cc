"""Modern Streamable HTTP: one request, one response, JSON or a stream.

What it is for: revision 2026-07-28 over HTTP. JSON or SSE is decided by the first notification.
What may live here: the exchange of one modern request and of one `subscriptions/listen`.
What may not: sessions, anything that outlives the request.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from msgspec import UNSET

from trunkline.engine.doors import InputRequest
from trunkline.engine.principal import Principal
from trunkline.errors import (
    DeadlineExceeded,
    InternalError,
    Interrupted,
    InvalidRequest,
    ProtocolError,
)
from trunkline.protocol import json, sse
from trunkline.protocol.headers import HeaderParam, check_params
from trunkline.protocol.messages import (
    Id,
    Message,
    Params,
    admit,
    decode_params,
    error_message,
)
from trunkline.runtime.application import Application
from trunkline.runtime.inflight import PERIOD
from trunkline.runtime.listen import Subscription
from trunkline.transports.asgi import (
    JSON_TYPE,
    STREAM_HEADERS,
    Headers,
    Receive,
    Send,
    error_headers,
    http_status,
    respond,
)
from trunkline.transports.stateless import context_of, listen

logger = logging.getLogger("trunkline.transports")

Task = asyncio.Task[object]

KEEP_ALIVE_AFTER = 15.0
"""Seconds without a message after which a stream gets a comment line."""


class HTTPExchange:
    """The way back of one modern HTTP request: a JSON response, or a stream once something is told before the end."""

    __slots__ = (
        "_extra",
        "_receive",
        "_send",
        "born",
        "deadline",
        "helpers",
        "reason",
        "streaming",
        "task",
        "written",
    )

    interactive = False

    def __init__(self, receive: Receive, send: Send, extra: Headers, deadline: float | None, task: Task | None) -> None:
        self._receive = receive
        self._send = send
        self._extra = extra
        self.helpers: list[asyncio.Task[None]] = []
        self.task = task
        self.born = self.written = time.monotonic()
        self.deadline = deadline
        self.streaming = False
        self.reason: str | None = None

    async def notify(self, message: bytes) -> None:
        """Send a notification; the first one turns the response into a stream."""
        if not self.streaming:
            self.streaming = True
            await self._send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *self._extra]})
        self.written = time.monotonic()
        await self._send({"type": "http.response.body", "body": sse.encode(message), "more_body": True})

    def refusal(self, id: Id, error: ProtocolError) -> tuple[int, bytes]:
        """Status and message of an error, with the headers that go with it."""
        self._extra = [*self._extra, *error_headers(error)]
        return http_status(error), error_message(id, error)

    def stopped(self) -> bool:
        """Whether the cancellation that is under way is ours, by `cancel`; then it ends here."""
        if self.reason is None or self.task is None:
            return False
        self.task.uncancel()
        return True

    def why(self, method: str, timeout: float | None) -> ProtocolError:
        """What the client of a stopped call is told."""
        if self.reason == "interrupted":
            return Interrupted(method)
        return DeadlineExceeded(f"{method} was stopped after {timeout:g} seconds")

    async def finish(self, status: int, payload: bytes) -> None:
        """Send the response and end."""
        if self.streaming:
            await self._send({"type": "http.response.body", "body": sse.encode(payload), "more_body": False})
            return
        fields = [(b"content-length", b"%d" % len(payload)), JSON_TYPE, *self._extra]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": payload})

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Modern servers never send requests (Receiving Messages); input goes through rounds."""
        raise InvalidRequest("A modern client is asked through input rounds")

    async def suspend(self, retry: int) -> None:
        """Modern streams are not resumable: nothing to do."""

    def sweep(self, now: float) -> None:
        """Stop what is over its deadline, notice a client that left, keep a quiet stream alive."""
        if self.deadline is not None and now > self.deadline:
            self.cancel("deadline")
        elif not self.helpers and now - self.born > PERIOD:
            self.helpers.append(asyncio.create_task(self._watch()))
        elif self.streaming and now - self.written > KEEP_ALIVE_AFTER:
            self.written = now
            if len(self.helpers) == 1 or self.helpers[1].done():
                self.helpers[1:] = [asyncio.create_task(self._keep_alive())]

    def drain(self) -> None:
        """Calls finish by themselves."""

    def stop(self) -> None:
        """The time to finish is over."""
        self.cancel("interrupted")

    def cancel(self, reason: str) -> None:
        """Stop the call."""
        if self.reason is None and self.task is not None:
            self.reason = reason
            self.task.cancel()

    def close(self) -> None:
        """The call is over: end what watched it."""
        for helper in self.helpers:
            helper.cancel()

    async def _watch(self) -> None:
        """Closing the stream is the cancellation signal (Streamable HTTP, Cancellation)."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.cancel("disconnect")

    async def _keep_alive(self) -> None:
        await self._send({"type": "http.response.body", "body": sse.KEEP_ALIVE, "more_body": True})


class ListenExchange(HTTPExchange):
    """The open stream of one `subscriptions/listen`; a drain ends it gracefully."""

    __slots__ = ("subscription",)

    def __init__(self, receive: Receive, send: Send, extra: Headers, deadline: float | None, task: Task | None) -> None:
        super().__init__(receive, send, extra, deadline, task)
        self.subscription: Subscription | None = None

    def drain(self) -> None:
        """End the subscription; the stream then sends its completion."""
        if self.subscription is not None:
            self.subscription.close()


async def serve(
    application: Application,
    message: Message,
    headers: Mapping[bytes, bytes],
    principal: Principal,
    receive: Receive,
    send: Send,
    extra: Headers,
    task: Task | None,
) -> None:
    """Answer one modern message over HTTP, in the request's own `task`."""
    method, id = message.method, message.id
    if method is UNSET:
        raise InvalidRequest("A client does not send responses (Streamable HTTP, Sending Messages, item 4)")
    if id is UNSET:
        await respond(send, 202, headers=extra)
        return
    listening = method == "subscriptions/listen"
    timeout = None if listening else application.call_timeout
    exchange = (ListenExchange if listening else HTTPExchange)(
        receive, send, extra, None if timeout is None else time.monotonic() + timeout, task
    )
    inflight = application.inflight
    inflight.enter(exchange)
    status = 200
    try:
        params = decode_params(message)
        admit(message, params, headers, application.engine.names)
        context = context_of(id, method, params, principal, exchange)
        context.deadline = exchange.deadline
        if isinstance(exchange, ListenExchange):
            payload = await listen(application, context, exchange)
        else:
            # The headers of a tool that is not on the caller's list are not looked at: the engine says it is forbidden.
            if (
                method == "tools/call"
                and params.name is not UNSET
                and (principal.tools is None or principal.may_call(params.name))
            ):
                mirrored = application.engine.provider.header_params(params.name)
                if mirrored:
                    _check_header_params(mirrored, params, headers)
            payload = json.encode({"jsonrpc": "2.0", "id": id, "result": await application.engine.handle(context)})
    except ProtocolError as error:
        status, payload = exchange.refusal(id, error)
    except asyncio.CancelledError:
        if not exchange.stopped():
            raise
        if exchange.reason == "disconnect":
            return
        payload = error_message(id, exchange.why(method, timeout))
    except Exception:
        # Such as a result that no JSON encoder takes.
        logger.exception("request failed", extra={"method": method})
        payload = error_message(id, InternalError())
    finally:
        inflight.calls.discard(exchange)
        if exchange.helpers:
            exchange.close()
    await exchange.finish(status, payload)


def _check_header_params(mirrored: tuple[HeaderParam, ...], params: Params, headers: Mapping[bytes, bytes]) -> None:
    check_params(mirrored, headers, {} if params.arguments is UNSET else json.plain(params.arguments))
