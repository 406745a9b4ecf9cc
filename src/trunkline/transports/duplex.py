"""Both eras over one ordered stream of messages: stdio, memory, anything with two ends.

What it is for: sort incoming messages to requests in flight, and serialise what goes out.
What may live here: the rules for a shared channel (stdio; Cancellation; versioning, dual-era servers).
What may not: framing, file descriptors.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable

from msgspec import UNSET, Struct

from trunkline.engine.doors import SessionState
from trunkline.engine.memory import MemorySessions
from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.errors import InvalidRequest, Overloaded, ParseError, ProtocolError, TransportError
from trunkline.protocol import messages
from trunkline.protocol.messages import (
    SUBSCRIPTION_KEY,
    Id,
    Message,
    admit,
    decode_params,
    notification,
    result_message,
)
from trunkline.runtime.application import Application
from trunkline.transports.batches import is_batch, join, split
from trunkline.transports.calls import Call
from trunkline.transports.sessions import Session, SessionLimits, cancelled_id, negotiated
from trunkline.transports.stateless import context_of, listen

Write = Callable[[bytes], Awaitable[None]]


class DuplexLimits(Struct, frozen=True):
    """Bounds of one stream.

    message: bytes of one message. calls: modern requests in flight; the session's limit counts legacy ones.
    """

    message: int = 16 * 1024 * 1024
    calls: int = 1000


class Duplex:
    """One connection of a stream transport.

    Parameters:
        application: what is served.
        write: sends one encoded message; messages are written one after the other.
        principal: who is at the other end: whoever started the process is `ANONYMOUS` to it.
        limits, session_limits: bounds.

        duplex = Duplex(application, write)
        await duplex.feed(message)
        await duplex.close()
    """

    def __init__(
        self,
        application: Application,
        write: Write,
        *,
        principal: Principal = ANONYMOUS,
        limits: DuplexLimits | None = None,
        session_limits: SessionLimits | None = None,
    ) -> None:
        self._application = application
        self._limits = limits or DuplexLimits()
        self._principal = principal
        self._session_limits = session_limits or SessionLimits()
        self._write = write
        self._lock = asyncio.Lock()
        self._calls: dict[Id, Call] = {}
        self._session: Session | None = None
        self._store = MemorySessions(idle=math.inf)
        self._closed = False

    async def feed(self, raw: bytes) -> None:
        """Take in one message; answers come through `write` in their own time. Never raises for bad messages."""
        try:
            if len(raw) > self._limits.message:
                raise ParseError(f"Parse error: a message may have {self._limits.message} bytes")
            if is_batch(raw) and self._session is not None and self._session.revision.batches:
                await self._batch(raw)
            else:
                await self._message(messages.decode(raw), Direct(self.tell))
        except ProtocolError as error:
            await self.tell(messages.error_message(error.request_id, error))

    async def tell(self, message: bytes) -> None:
        """Write a message, unless the other end is gone."""
        if self._closed:
            return
        try:
            async with self._lock:
                await self._write(message)
        except (TransportError, OSError):
            # Whoever reads the other direction sees the end as well and closes.
            self._closed = True

    async def close(self) -> None:
        """The other end is gone: stop its requests and wait until they are."""
        self._closed = True
        calls = list(self._calls.values())
        if self._session is not None:
            calls += self._session.calls.values()
            await self._session.end()
        for call in calls:
            call.cancel("stopped")
        tasks = [call.task for call in calls if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _message(self, message: Message, channel: "Direct | Collected") -> None:
        """Sort one message; raises the error that answers it."""
        try:
            if message.method is UNSET:
                if self._session is not None:
                    self._session.questions.answered(message)
            elif message.id is UNSET:
                await self._notified(message)
            elif messages.carries_version(message):
                self._start_modern(message, channel)
            elif message.method == "initialize":
                await self._initialize(message, channel)
            elif self._session is not None:
                self._session.start(message, await self._state(self._session), self._principal, channel)
            elif message.method == "ping":
                # The one request a legacy client may send before it has initialized (lifecycle, Initialization).
                await channel.answer(result_message(message.id, {}))
            else:
                self._start_modern(message, channel)
        except ProtocolError as error:
            raise messages.identified(error, message.id) from None

    async def _batch(self, raw: bytes) -> None:
        items = split(raw)
        channel = Collected(self.tell, sum(1 for item in items if _wants_answer(item)))
        for item in items:
            try:
                if isinstance(item, ProtocolError):
                    raise item
                await self._message(item, channel)
            except ProtocolError as error:
                await channel.answer(messages.error_message(error.request_id, error))

    async def _initialize(self, message: Message, channel: "Direct | Collected") -> None:
        """Select legacy semantics for this connection (versioning, dual-era server)."""
        if self._session is not None:
            raise InvalidRequest("This connection is initialized already")
        facts = negotiated(message, self._principal)
        self._session = Session(self._application, self._store, facts, self._session_limits, self.tell)
        await self._store.begin(facts.key)
        assert message.id is not UNSET
        await channel.answer(
            result_message(message.id, self._application.engine.initialize_result(self._session.revision))
        )

    async def _notified(self, message: Message) -> None:
        call = self._calls.get(cancelled_id(message))
        if call is not None:
            call.cancel("cancelled")
        elif self._session is not None:
            if message.method == "notifications/initialized":
                await self._session.listen(self._principal, await self._state(self._session))
            self._session.notified(message)

    def _start_modern(self, message: Message, channel: "Direct | Collected") -> None:
        method, id = message.method, message.id
        assert method is not UNSET and id is not UNSET
        if id in self._calls:
            raise InvalidRequest(f"A request with the id {str(id)[:64]!r} is in flight")
        if len(self._calls) >= self._limits.calls:
            raise Overloaded(f"{self._limits.calls} requests are in flight; wait for some to finish")
        params = decode_params(message)
        admit(message, params, None)
        call = Call(self._application, self._calls, id, method, channel)
        context = context_of(id, method, params, self._principal, call)
        context.deadline = call.deadline

        async def answer(call: Call) -> bytes:
            return result_message(id, await self._application.engine.handle(context))

        async def listening(call: Call) -> bytes:
            response = await listen(self._application, context, call)
            # It ended by our will, since a client's cancellation does not come to this line (Cancellation).
            torn_down = {"requestId": id, "reason": "the server is stopping", "_meta": {SUBSCRIPTION_KEY: id}}
            await self.tell(notification("notifications/cancelled", torn_down))
            return response

        call.start(listening if method == "subscriptions/listen" else answer)

    async def _state(self, session: Session) -> SessionState:
        return await self._store.load(session.facts.key) or SessionState()


class Direct:
    """The channel of a single request: everything is written as it comes."""

    __slots__ = ("_tell",)

    def __init__(self, tell: Write) -> None:
        self._tell = tell

    async def tell(self, message: bytes, *, passing: bool = False) -> None:
        """Write a message."""
        await self._tell(message)

    async def answer(self, response: bytes | None) -> None:
        """Write the response."""
        if response is not None:
            await self._tell(response)

    async def suspend(self, retry: int) -> None:
        """The stream is the connection: nothing to close."""


class Collected(Direct):
    """The channel of a batch: responses wait for each other and leave as one array.

    Parameters:
        expected: how many responses there will be.
    """

    __slots__ = ("_expected", "_responses")

    def __init__(self, tell: Write, expected: int) -> None:
        super().__init__(tell)
        self._expected = expected
        self._responses: list[bytes] = []

    async def answer(self, response: bytes | None) -> None:
        """Keep a response; the last one lets them go."""
        self._expected -= 1
        if response is not None:
            self._responses.append(response)
        if self._expected == 0 and self._responses:
            await self._tell(join(self._responses))


def _wants_answer(item: Message | ProtocolError) -> bool:
    return isinstance(item, ProtocolError) or (item.method is not UNSET and item.id is not UNSET)
