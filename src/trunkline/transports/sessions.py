"""Legacy sessions: sealed facts, and what of a session lives in this process.

What it is for: `initialize`, the session id, the requests only a session can answer (2025-11-25, lifecycle).
What may live here: what HTTP sessions and duplex streams share. What may not: how messages travel.
"""

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from msgspec import UNSET, Struct, field

from trunkline.engine.context import Context
from trunkline.engine.doors import KeyRing, Result, SessionState, SessionStore
from trunkline.engine.principal import Principal
from trunkline.errors import InvalidParams, InvalidRequest, MethodNotFound, Overloaded, SealError
from trunkline.protocol.messages import Id, LogLevel, Message, Params, decode_params, result_message
from trunkline.protocol.revisions import LOG_LEVELS, REVISIONS, Revision, negotiate
from trunkline.runtime.application import Application
from trunkline.transports.asking import Questions
from trunkline.transports.calls import Call, Channel
from trunkline.transports.changes import Changes, Silence

PURPOSE = "session"
DEFAULT_LEVEL = "info"
"""Log messages a client gets that never set a level: utilities/logging leaves it to the server."""

_MAX_FACTS = 6000


class SessionLimits(Struct, frozen=True):
    """Bounds of legacy sessions.

    calls: requests in flight in one session.
    questions: requests to the client that may be open in one session.
    answer_seconds: how long the client may take to answer one (a person fills in a form).
    life: seconds a session id is good for, used or not.
    subscriptions: resources one session may follow.
    """

    calls: int = 1000
    questions: int = 100
    answer_seconds: float = 600
    life: float = 7 * 24 * 3600
    subscriptions: int = 1000


class Facts(Struct, frozen=True, array_like=True):
    """What never changes in a session; sealed in its id (DESIGN: Sessions)."""

    key: str
    revision: str
    issued: float
    capabilities: dict[str, object]
    client_info: dict[str, object] | None = None


class _Hello(Struct):
    """The parameters of `initialize`."""

    version: str = field(name="protocolVersion")
    capabilities: dict[str, object] = {}
    client_info: dict[str, object] | None = field(default=None, name="clientInfo")


class _Level(Struct):
    level: LogLevel


class _Cancelled(Struct):
    request_id: Id = field(name="requestId")


_decode_hello = msgspec.json.Decoder(_Hello).decode
_decode_level = msgspec.json.Decoder(_Level).decode
_decode_cancelled = msgspec.json.Decoder(_Cancelled).decode
_decode_facts = msgspec.json.Decoder(Facts).decode


def negotiated(message: Message, principal: Principal) -> Facts:
    """The facts of a session that an `initialize` request begins. Raises `InvalidParams`."""
    try:
        hello = _decode_hello(b"{}" if message.params is UNSET else message.params)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParams(f"Invalid params: initialize: {error}") from None
    info = hello.client_info
    if info is not None:
        info = {key: info[key] for key in ("name", "version", "title") if key in info}
    return Facts(_fresh_key(principal.owner), negotiate(hello.version).name, time.time(), hello.capabilities, info)


def seal(keys: KeyRing, endpoint: str, principal: Principal, facts: Facts) -> str:
    """The session id: visible ASCII, good for this principal at this endpoint.

    Raises `InvalidParams` when it gets too long.
    """
    payload = msgspec.json.encode(facts)
    if len(payload) > _MAX_FACTS and "experimental" in facts.capabilities:
        # Nothing here acts on it, and a client that tells much about itself is still welcome.
        declared = {name: value for name, value in facts.capabilities.items() if name != "experimental"}
        payload = msgspec.json.encode(msgspec.structs.replace(facts, capabilities=declared))
    if len(payload) > _MAX_FACTS:
        raise InvalidParams(f"Invalid params: capabilities and clientInfo together may have {_MAX_FACTS} bytes")
    return keys.seal(PURPOSE, _bound(endpoint, principal), payload)


def unseal(keys: KeyRing, endpoint: str, principal: Principal, sealed: bytes, life: float) -> Facts:
    """The facts in a session id. Raises `SealError` when it is forged, of another principal or endpoint, or too old."""
    try:
        facts = _decode_facts(keys.open(PURPOSE, _bound(endpoint, principal), sealed.decode("latin-1")))
    except (msgspec.MsgspecError, UnicodeError):
        raise SealError from None
    if facts.revision not in REVISIONS or facts.issued + life < time.time():
        raise SealError
    return facts


def _bound(endpoint: str, principal: Principal) -> bytes:
    return endpoint.encode() + b"\0" + principal.owner.encode()


def _fresh_key(owner: str) -> str:
    """As `SessionStore` has it: all keys of one owner begin alike."""
    return f"{hashlib.sha256(owner.encode()).hexdigest()[:16]}.{secrets.token_urlsafe(12)}"


def cancelled_id(message: Message) -> Id:
    """The request a `notifications/cancelled` is about; "" otherwise, since invalid ones are ignored (Cancellation)."""
    if message.method != "notifications/cancelled" or message.params is UNSET:
        return ""
    try:
        return _decode_cancelled(message.params).request_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


class Session:
    """The part of a session that lives in this process: calls, questions, the stream of changes.

    Parameters:
        application: what is served.
        store: where its changing part lives.
        facts: what was agreed in `initialize`.
        limits: bounds of a session.
        tell: takes notifications that belong to no request.
    """

    __slots__ = ("_limits", "_tell", "application", "calls", "changes", "facts", "questions", "revision", "store")

    def __init__(
        self,
        application: Application,
        store: SessionStore,
        facts: Facts,
        limits: SessionLimits,
        tell: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._tell = tell
        self.application = application
        self.store = store
        self.facts = facts
        self.revision: Revision = REVISIONS[facts.revision]
        self.calls: dict[Id, Call] = {}
        replica = application.shared.replicas.name
        self.questions = Questions(self.revision, replica, limits.questions, limits.answer_seconds)
        self.changes: Changes | None = None
        self._limits = limits

    @property
    def idle(self) -> bool:
        """Nothing of the session lives here; its entry in the `SessionStore` is all there is."""
        return not self.calls and self.changes is None

    def start(self, message: Message, state: SessionState, principal: Principal, channel: Channel) -> Call:
        """Begin to answer a request. Raises `InvalidRequest` for an id in use, `Overloaded`, `InvalidParams`."""
        assert message.id is not UNSET and message.method is not UNSET
        if message.id in self.calls:
            raise InvalidRequest(f"A request with the id {str(message.id)[:64]!r} is in flight in this session")
        if len(self.calls) >= self._limits.calls:
            raise Overloaded(f"{self._limits.calls} requests of this session are in flight; wait for some to finish")
        call = Call(self.application, self.calls, message.id, message.method, channel, self.revision, self.questions)
        context = self.context(message.id, message.method, decode_params(message), principal, call, state)

        async def work(call: Call) -> bytes:
            return result_message(call.id, await self.handle(context))

        call.start(work)
        return call

    def context(
        self, id: Id, method: str, params: Params, principal: Principal, exchange: Call | Silence, state: SessionState
    ) -> Context:
        """The context of a request: what the client declared once holds for all of the session."""
        facts = self.facts
        level = state.log_level or DEFAULT_LEVEL
        context = Context(
            id, method, params, self.revision, principal, exchange, facts.capabilities, facts.client_info, level
        )
        context.deadline = exchange.deadline
        return context

    async def handle(self, context: Context) -> Result:
        """Answer a request: what needs the session here, everything else in the engine."""
        own = _OWN.get(context.method)
        return await (self.application.engine.handle(context) if own is None else own(self, context))

    def notified(self, message: Message) -> bool:
        """Take in a notification; what is unknown is ignored. False where it cancels a request not known here."""
        cancelled = cancelled_id(message)
        call = self.calls.get(cancelled)
        if call is not None:
            call.cancel("cancelled")
        return call is not None or cancelled == ""

    async def listen(self, principal: Principal, state: SessionState) -> None:
        """Begin to pass on changes, if that has not begun."""
        if self.changes is None:
            context = self.context(0, "resources/subscribe", Params(), principal, Silence(), state)
            self.changes = Changes(self.application, context, self._tell)
            await self.changes.resume(state.subscriptions)

    async def end(self) -> None:
        """Stop everything of the session in this process."""
        for call in list(self.calls.values()):
            call.cancel("stopped")
        if self.changes is not None:
            changes, self.changes = self.changes, None
            await changes.close()

    async def _ping(self, context: Context) -> Result:
        return {}

    async def _set_level(self, context: Context) -> Result:
        try:
            level = _decode_level(context.params.raw).level
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise InvalidParams(f"Invalid params: 'level' is one of {', '.join(LOG_LEVELS)}") from None
        await self.change(lambda state: setattr(state, "log_level", level))
        return {}

    async def _subscribe(self, context: Context) -> Result:
        uri = self._followable(context)
        state = await self._state()
        if uri in state.subscriptions:
            return {}
        if len(state.subscriptions) >= self._limits.subscriptions:
            raise Overloaded(f"A session follows at most {self._limits.subscriptions} resources; unsubscribe some")
        await self.follow(context, uri, state)
        return {}

    async def follow(self, context: Context, uri: str, state: SessionState) -> None:
        """Pass on changes of a resource from now on. Raises what the provider raises where that cannot be."""
        if self.changes is None:
            await self.listen(context.principal, state)
        if self.changes is not None:
            await self.changes.follow(context, uri)
        await self.change(lambda state: state.subscriptions.add(uri))

    async def _unsubscribe(self, context: Context) -> Result:
        uri = self._followable(context)
        state = await self._state()
        if uri in state.subscriptions:
            await self.unfollow(context, uri)
        return {}

    async def unfollow(self, context: Context, uri: str) -> None:
        """Pass on its changes no longer."""
        await self.change(lambda state: state.subscriptions.discard(uri))
        if self.changes is not None:
            await self.changes.unfollow(context, uri)

    async def change(self, alter: Callable[[SessionState], None]) -> SessionState:
        """Alter the session's state. Raises `InvalidRequest` when it has ended."""
        return _living(await self.store.change(self.facts.key, alter))

    def _followable(self, context: Context) -> str:
        resources = self.application.engine.capabilities(self.revision).get("resources")
        if not isinstance(resources, Mapping) or resources.get("subscribe") is not True:
            raise MethodNotFound(f"Method not found: {context.method} (this server's resources cannot be followed)")
        if context.params.uri is UNSET:
            raise InvalidParams(f"Invalid params: {context.method} needs 'uri'")
        return context.params.uri

    async def _state(self) -> SessionState:
        return _living(await self.store.load(self.facts.key))


def _living(state: SessionState | None) -> SessionState:
    if state is None:
        raise InvalidRequest("The session has ended")
    return state


_OWN: dict[str, Callable[[Session, Context], Awaitable[Result]]] = {
    "ping": Session._ping,
    "logging/setLevel": Session._set_level,
    "resources/subscribe": Session._subscribe,
    "resources/unsubscribe": Session._unsubscribe,
}
