"""The doors: the few interfaces everything hangs on.

What it is for: the shapes that rooms agree on, so that they need not know each other.
What may live here: protocols and the plain records they pass.
What may not: implementations.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import msgspec

from trunkline.engine.principal import Principal
from trunkline.protocol.headers import HeaderParam
from trunkline.protocol.messages import Id

if TYPE_CHECKING:
    from trunkline.engine.context import Context
    from trunkline.engine.rounds import Replay

Result = dict[str, object]
"""A JSON-RPC result; parts that are already encoded are `msgspec.Raw`."""

CallNext = Callable[["Context"], Awaitable[Result]]


class Interceptor(Protocol):
    """`async (context, call_next) -> result` around every request; the chain is composed once at start-up."""

    def __call__(self, context: "Context", call_next: CallNext) -> Awaitable[Result]:
        """Answer, usually by `await call_next(context)`."""


ChangeKind = Literal["tools", "prompts", "resources", "resource", "everything"]


class Change(msgspec.Struct, frozen=True):
    """Something a listener may want to know: a list changed, or the resource `uri` did.

    `everything` stands for whatever may have changed unseen: each listener hears of all it listens to. `owner` limits
    it to one principal (`Principal.owner`); None is for everyone. `here` keeps it to the listeners of this replica.
    """

    kind: ChangeKind
    uri: str | None = None
    owner: str | None = None
    here: bool = False


class InputRequest(msgspec.Struct, frozen=True):
    """One question to the client: the method and parameters of a server-to-client request."""

    method: Literal["elicitation/create", "sampling/createMessage", "roots/list"]
    params: Mapping[str, object] | None = None

    def wire(self) -> dict[str, object]:
        """As it stands in `inputRequests` (patterns/mrtr, InputRequests)."""
        if self.params is None:
            return {"method": self.method}
        return {"method": self.method, "params": self.params}


class Provider(Protocol):
    """What answers: Python functions (`server/`) or upstream servers (`gateway/`).

    Results are JSON objects as the 2026-07-28 schema has them, without `resultType` and `serverInfo`, which the engine
    adds; list and read results may carry `ttlMs` and `cacheScope`. `context.params` holds the parameters.
    A provider raises `ProtocolError`s (`MethodNotFound` for a kind of thing it does not have); any other exception
    becomes an `InternalError` without details.
    """

    def info(self) -> Mapping[str, object]:
        """The `Implementation` record: name and version at least."""

    def capabilities(self) -> Mapping[str, object]:
        """The `ServerCapabilities` of what is offered."""

    def instructions(self) -> str | None:
        """Guidance for the model, if any."""

    def freshness(self) -> Mapping[str, object]:
        """How long and for whom the answer to `server/discover` holds: its `ttlMs` and `cacheScope`."""

    async def list_tools(self, context: "Context") -> Result:
        """Answer `tools/list`; each tool is a dict with its `name`."""

    async def list_resources(self, context: "Context") -> Result:
        """Answer `resources/list`."""

    async def list_templates(self, context: "Context") -> Result:
        """Answer `resources/templates/list`."""

    async def list_prompts(self, context: "Context") -> Result:
        """Answer `prompts/list`."""

    async def call_tool(self, context: "Context") -> Result:
        """Answer `tools/call`."""

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        """The parameters a tool mirrors into `Mcp-Param-*` headers; empty for most, and for unknown tools."""

    async def read_resource(self, context: "Context") -> Result:
        """Answer `resources/read`."""

    async def get_prompt(self, context: "Context") -> Result:
        """Answer `prompts/get`."""

    async def complete(self, context: "Context") -> Result:
        """Answer `completion/complete`."""

    async def follow(self, context: "Context", uris: Sequence[str]) -> None:
        """Someone starts to listen to these resources; raises `InvalidParams` for one that cannot be followed."""

    async def unfollow(self, context: "Context", uris: Sequence[str]) -> None:
        """A listener to these resources left; paired with `follow`."""

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told of changes from now on; returns what ends it. The listener returns at once and never raises."""

    async def start(self) -> None:
        """Begin to live: connect, spawn, warm up. Called once by the application, in its event loop."""

    async def stop(self) -> None:
        """Leave nothing behind."""


class RequestFacts(msgspec.Struct, frozen=True):
    """What an authenticator may look at, and the headers it may add to the answer.

    Parameters:
        method: of HTTP.
        url: as the client wrote it, without the query.
        headers: names in lower case.
        body: as it came.
        endpoint: how the path ends as the application sees it; what stands before it is where that is mounted.
        answer: headers of the answer, whatever it will be; an authenticator adds its own.
    """

    method: str
    url: str
    headers: Mapping[bytes, bytes]
    body: bytes
    endpoint: str = ""
    answer: list[tuple[bytes, bytes]] = []

    def __repr__(self) -> str:
        # Headers hold credentials, the body arguments.
        return f"RequestFacts({self.method} {self.url})"


class Authenticator(Protocol):
    """Facts of a request in, a principal out; or `Unauthenticated` or `Forbidden` with the headers to answer with."""

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Say who calls."""


@runtime_checkable
class ProtectedResource(Protocol):
    """An authenticator whose callers find out by themselves how to sign in (RFC 9728)."""

    @property
    def public_url(self) -> str | None:
        """Where clients find the endpoint, as far as it knows."""

    def attach(self, keys: Callable[[], "KeyRing"], notes: "Notes") -> None:
        """Told of what the replicas of its application share, before the first request."""

    def metadata(self, url: str) -> Mapping[str, object]:
        """The protected resource metadata of the endpoint at this URL."""

    async def close(self) -> None:
        """Leave nothing running."""


class Exchange(Protocol):
    """The way back to the client of one request; each transport has its own."""

    interactive: bool
    """The client answers requests while its call is open (legacy); otherwise input needs rounds (modern)."""

    async def notify(self, message: bytes) -> None:
        """Send an encoded notification that belongs to this request."""

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Send requests to the client and wait for all answers; only where `interactive`."""

    async def suspend(self, retry: int) -> None:
        """Close the connection, not the stream; the client comes back after `retry` milliseconds (2025-11-25)."""


class KeyRing(Protocol):
    """Seals state that travels through clients, opens what it sealed."""

    def seal(self, purpose: str, bound: bytes, payload: bytes) -> str:
        """Encrypt and authenticate `payload`, tied to `purpose` and `bound`; URL-safe text."""

    def open(self, purpose: str, bound: bytes, sealed: str) -> bytes:
        """The payload again; raises `SealError` for anything else."""


class SessionState(msgspec.Struct):
    """What may change in a legacy session; the facts that cannot are sealed in its id.

    `ear` is the replica that collects its changes, last.
    """

    log_level: str | None = None
    subscriptions: set[str] = msgspec.field(default_factory=set)
    ear: str | None = None


class SessionStore(Protocol):
    """Where the changing part of legacy sessions lives; a session without an entry has ended.

    Up to its first dot a key is the same for all sessions of one owner and of no other, so that a full store can make
    room at the expense of whoever fills it.
    """

    async def begin(self, key: str) -> None:
        """Begin a session."""

    async def load(self, key: str) -> SessionState | None:
        """A copy of the state, or None when the session ended or expired; counts as use."""

    async def change(self, key: str, alter: Callable[[SessionState], None]) -> SessionState | None:
        """Alter the state, one replica after the other; returns it as it is then, None as in `load`."""

    async def end(self, key: str) -> None:
        """End it; later loads give None."""


class Tail(msgspec.Struct, frozen=True):
    """What followed an event on its stream.

    Parameters:
        stream: its name.
        events: id and message of each, in order.
        state: `open` where more may come, `complete` where nothing will, `lost` where its writer is gone.
        requests: the ids of the requests it answers.
    """

    stream: str
    events: list[tuple[str, bytes]]
    state: Literal["open", "complete", "lost"]
    requests: tuple[Id, ...] = ()


class EventLog(Protocol):
    """Messages of resumable streams (2025-11-25, Resumability and Redelivery); `session` is a key as in `SessionStore`.

    One replica writes a stream, any may read it. Numbers of a stream never begin again, not even after it was dropped:
    a client must not skip what it has not seen.
    """

    async def begin(self, session: str, stream: str, requests: Sequence[Id]) -> None:
        """Begin a stream that answers these requests."""

    async def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep a message; returns its event id, unique in the session, which tells the stream."""

    async def finish(self, session: str, stream: str, seconds: float) -> None:
        """Nothing more comes; keep it that long for a client that comes back."""

    async def after(self, session: str, event: str) -> Tail | None:
        """The stream of an event and what followed it there; None when that is not known any more."""

    async def forget(self, session: str) -> None:
        """Drop all streams of a session."""


class Notes(Protocol):
    """Small facts that replicas leave for each other, by kind and key; one that nobody looks at for its time is gone.

    All notes of a kind are left for the same time.
    """

    async def add(self, kind: str, key: str, note: bytes, seconds: float = 24 * 3600) -> bytes:
        """Leave a note where there is none, for so long; returns the one that is there."""

    async def load(self, kind: str, key: str) -> bytes | None:
        """The note, or None; counts as use."""

    async def change(self, kind: str, key: str, alter: Callable[[bytes], bytes]) -> bytes | None:
        """Alter a note, one replica after the other; returns it as it is then, None where there is none."""

    async def remove(self, kind: str, key: str) -> None:
        """Take it away."""


class Replicas(Protocol):
    """The processes that serve one endpoint together, and what they tell each other.

    What is told to one arrives once and in order, while that one lives; what is told to all may be told once where it
    was said twice.
    """

    @property
    def name(self) -> str:
        """This replica's: short, `[a-z0-9]`, not used again after it ended."""

    async def alive(self, name: str) -> bool:
        """Whether a replica lives."""

    async def send(self, name: str, topic: str, message: bytes, *, patient: bool = False) -> bool:
        """Tell one; kept for it when this returns. False where it does not live.

        What is `patient` is kept, too, for one that has not been heard of for a while and may be back.
        """

    async def recall(self, name: str, topic: str, message: bytes) -> bool:
        """Take back what one was told and is not like anything else it was; False where it may have acted on it."""

    def broadcast(self, topic: str, message: bytes) -> None:
        """Tell all others, soon; returns at once."""

    def receive(self, topic: str, handler: Callable[[str, bytes], None]) -> Callable[[], None]:
        """Be told, with the name of who tells; returns what ends it. The handler returns at once and never raises."""

    def on_gap(self, handler: Callable[[], None]) -> Callable[[], None]:
        """Be told when something that was told to all may have been missed; returns what ends it."""


class Bus(Protocol):
    """Carries changes between whoever makes them and whoever listens, in this process or to other replicas."""

    def publish(self, change: Change) -> None:
        """Tell everyone; returns at once."""

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told; returns what ends it."""


class Observer(Protocol):
    """Called once per finished call; absent by default."""

    def finished(self, context: "Context", outcome: str, seconds: float) -> None:
        """`outcome` is `ok`, `tool_error`, `input_required` or the stable name of an error."""


class Run(Protocol):
    """A function that runs for longer than a request, and again when its process is lost: what its `Context` tells."""

    attempt: int
    """Which attempt it is, from 1."""

    part: str
    """At which part of an application it was called, where that makes a difference for its result; mostly none."""

    def stepping(self, name: str) -> None:
        """A step begins, whose result is not recorded yet."""

    async def record(self, name: str, replay: "Replay") -> None:
        """Keep the result of a step before the function goes on."""

    def retries(self, error: Exception) -> bool:
        """Whether this error, which the function raised, is answered with another attempt."""


class Ear(Protocol):
    """What an extension tells on one open `subscriptions/listen`."""

    honoured: Mapping[str, object]
    """Its part of the acknowledged filter."""

    def open(self, offer: Callable[[str], None]) -> None:
        """From now on call `offer` with the name of what there is news of; once or more often is the same."""

    async def tell(self, name: str) -> tuple[str, dict[str, object]] | None:
        """Method and parameters of the notification about it as it is now; None where there is nothing to tell."""

    def close(self) -> None:
        """The stream has ended."""


class Extension(msgspec.Struct, frozen=True):
    """An extension of the protocol, declared as data.

    Parameters:
        identifier: for example `io.modelcontextprotocol/tasks`.
        settings: its object under `capabilities.extensions`.
        methods: method -> handler.
        names: method -> the parameter `Mcp-Name` mirrors for it.
        offered: whether it is declared under `capabilities` at the moment; by default it always is.
        listen_keys: keys it adds to the filter of `subscriptions/listen`.
        listen: called for a filter with one of these keys, given the whole filter.
        interceptor: joins the chain around every request.
        attach: given what the interceptor calls next, each time the chain is composed: for what runs without a request.
        routes: HTTP routes beside the endpoint (Starlette routes).
        migrations: name of its migration branch.
        start, stop: its life with the application.
        drain: finish, in so many seconds, what it does beside the requests; calls in flight finish meanwhile.
    """

    identifier: str
    settings: Mapping[str, object] = {}
    methods: Mapping[str, Callable[["Context"], Awaitable[Result]]] = {}
    names: Mapping[str, str] = {}
    offered: Callable[[], bool] | None = None
    listen_keys: tuple[str, ...] = ()
    listen: Callable[["Context", Mapping[str, object]], Awaitable[Ear]] | None = None
    interceptor: Interceptor | None = None
    attach: Callable[[CallNext], None] | None = None
    routes: tuple[object, ...] = ()
    migrations: str | None = None
    start: Callable[[], Awaitable[None]] | None = None
    drain: Callable[[float], Awaitable[None]] | None = None
    stop: Callable[[], Awaitable[None]] | None = None
