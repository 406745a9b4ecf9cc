"""One run of one task.

What it is for: a function that runs without a request: its context rebuilt from what was stored, its way back to the
client replaced by the task, its steps recorded before it goes on.
What may live here: one run. What may not: which task runs when, what becomes of it afterwards (that is `worker`).
"""

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw

from trunkline.engine.context import Context
from trunkline.engine.doors import Exchange, InputRequest, Result
from trunkline.engine.principal import Principal
from trunkline.engine.rounds import Replay
from trunkline.errors import InvalidRequest, StorageUnavailable
from trunkline.extensions.tasks.policy import TaskPolicy, delay_after
from trunkline.extensions.tasks.records import Task
from trunkline.extensions.tasks.store import TaskStore
from trunkline.protocol import json
from trunkline.protocol.messages import NO_META, Message, decode_params
from trunkline.protocol.revisions import REVISIONS

T = TypeVar("T")

Reason = Literal["cancel", "lost", "drain"]
"""Why a run is stopped: its client wants so, another worker has it, or this process ends."""

_QUIET = 1.0
"""Seconds between two status messages that progress makes: each is a write."""

_AGAIN = 0.5
"""Seconds after which a write is tried again while the database is out of reach."""


class Origin(msgspec.Struct, frozen=True):
    """The call a task was made from: all that its context is rebuilt of."""

    method: str
    params: bytes
    revision: str
    principal: Principal
    capabilities: Mapping[str, object]
    client_info: Mapping[str, object] | None
    trace: str
    part: str = ""


class _Progress(msgspec.Struct):
    progress: float
    total: float | None = None
    message: str | None = None


class _Notification(msgspec.Struct):
    method: str
    params: Raw = Raw(b"{}")


_encode = msgspec.msgpack.Encoder().encode
_decode_origin = msgspec.msgpack.Decoder(Origin).decode
_decode_replay = msgspec.json.Decoder(Replay).decode
_decode_notification = msgspec.json.Decoder(_Notification).decode
_decode_progress = msgspec.json.Decoder(_Progress).decode
encode_replay = msgspec.json.Encoder().encode


def origin(context: Context, part: str = "") -> bytes:
    """What is stored of a call, so that any process can run it; `part` as in `doors.Run`.

    What the caller's token allowed is not: the call was allowed, and the token is not there when it runs.
    """
    return _encode(
        Origin(
            context.method,
            bytes(context.params.raw),
            context.revision.name,
            msgspec.structs.replace(context.principal, access=None),
            context.capabilities,
            context.client_info,
            context.trace,
            part,
        )
    )


def rebuilt(task: Task, running: "Running") -> Context:
    """The context of a run, from what was stored: the same caller, asking for the same."""
    made = _decode_origin(task.request)
    params = decode_params(Message("2.0", params=Raw(made.params)))
    meta = NO_META if params.meta is UNSET else params.meta
    # Progress always has where to go: it becomes the status message, and a gateway has an upstream report it.
    params.meta = msgspec.structs.replace(meta, progress_token=task.id)
    context = Context(
        task.id,
        made.method,
        params,
        REVISIONS[made.revision],
        made.principal,
        running,
        made.capabilities,
        made.client_info,
    )
    context.replay = replayed(task)
    context.run = running
    running.part = made.part
    context._trace = made.trace
    return context


def arguments_of(request: bytes) -> object:
    """What a stored call was called with, for people; nothing where it came without arguments."""
    params = json.plain(_decode_origin(request).params)
    return params.get("arguments") if isinstance(params, Mapping) else None


def replayed(task: Task) -> Replay:
    """What the function was told and computed before, and the chain that its idempotency keys hang on."""
    return Replay(chain=task.id) if task.replay is None else _decode_replay(task.replay)


class Running:
    """One run: the exchange of its context, and what `doors.Run` asks for.

    It begins with a task, or inside a request (`outlet`), whose running function may become a task later (`store_as`).

    Parameters:
        store: keeps what it records.
        policy: of the task.
        outlet: the exchange of the request it runs in.
        part: of what application that request is; a task that is run again knows from what is stored.
    """

    __slots__ = (
        "_binding",
        "_message",
        "_outlet",
        "_store",
        "_told",
        "asking",
        "attempt",
        "id",
        "interactive",
        "open",
        "part",
        "policy",
        "reason",
        "recorded",
        "run",
        "work",
    )

    def __init__(self, store: TaskStore, policy: TaskPolicy, outlet: Exchange | None = None, part: str = "") -> None:
        self._store = store
        self.part = part
        self._outlet = outlet
        self._binding: asyncio.Event | None = None
        self._message: str | None = None
        self._told = 0.0
        self.policy = policy
        self.interactive = outlet is not None and outlet.interactive
        """A task asks by parking, whatever its client could answer while a call is open."""
        self.asking = 0
        self.attempt = 1
        self.id: str | None = None
        self.run = 0
        self.open: set[str] = set()
        """Steps that were begun and are not recorded."""
        self.recorded = False
        """Whether the function records steps at all."""
        self.reason: Reason | None = None
        self.work: asyncio.Future[Result] | None = None

    def bind(self, task: Task) -> None:
        """From now on this is a run of a task."""
        self.id, self.run, self.attempt, self.policy = task.id, task.run, task.attempt, task.policy
        self._outlet = None
        self.interactive = False

    def inside(self, context: Context) -> Context:
        """The context of a function that runs in a request and may become a task."""
        inner = copy.copy(context)
        inner.exchange, inner.run = self, self
        # The request it runs in stops it when its time is over; a task has its own.
        inner.deadline = None
        return inner

    async def store_as(self, create: Callable[[], Awaitable[tuple[Task, bool]]]) -> tuple[Task, bool]:
        """Make the running function a task: what it records meanwhile waits until that is stored."""
        self._binding = asyncio.Event()
        try:
            task, fresh = await create()
            if fresh:
                self.bind(task)
            return task, fresh
        finally:
            self._binding.set()
            self._binding = None

    def stop(self, reason: Reason) -> None:
        """Cancel the function; the first reason counts."""
        if self.reason is None and self.work is not None:
            self.reason = reason
            self.work.cancel()

    # -- the exchange ----------------------------------------------------------------------------------------------

    async def notify(self, message: bytes) -> None:
        """Progress becomes the status message; nothing else is told of a task (tasks, section 5, Notifications)."""
        if self._outlet is not None:
            await self._outlet.notify(message)
            return
        told = _decode_notification(message)
        if told.method != "notifications/progress":
            return
        self._message = _words(_decode_progress(told.params))
        now = time.monotonic()
        if now - self._told >= _QUIET:
            self._told = now
            await self.flush()

    async def flush(self) -> None:
        """Tell what progress said last, if it was not told yet; a database out of reach costs no run."""
        message, self._message = self._message, None
        if message is None or self.id is None:
            return
        try:
            await self._store.tell(self.id, self.run, message)
        except StorageUnavailable:
            self._message = self._message or message

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Ask a client whose call is open; a task parks instead."""
        if self._outlet is None:
            raise InvalidRequest("A task asks its client by parking")
        self.asking += 1
        try:
            return await self._outlet.ask(requests)
        finally:
            self.asking -= 1

    async def suspend(self, retry: int) -> None:
        """A task has no connection to close."""
        if self._outlet is not None:
            await self._outlet.suspend(retry)

    # -- the run ---------------------------------------------------------------------------------------------------

    def stepping(self, name: str) -> None:
        """A step begins."""
        self.open.add(name)

    async def record(self, name: str, replay: Replay) -> None:
        """Keep the result of a step before the function goes on: what was recorded is never computed again."""
        self.recorded = True
        if self._binding is not None:
            await self._binding.wait()
        if self.id is not None:
            id, run = self.id, self.run
            encoded = encode_replay(replay)
            if not await patiently(lambda: self._store.record(id, run, encoded)):
                self.stop("lost")
                raise asyncio.CancelledError
        self.open.discard(name)

    def retries(self, error: Exception) -> bool:
        """Whether another attempt follows this error."""
        return self.id is not None and delay_after(error, self.policy, self.attempt) is not None


async def patiently(write: Callable[[], Awaitable[T]]) -> T:
    """What a write gives, tried again for as long as the database is out of reach: a run outlives that."""
    while True:
        try:
            return await write()
        except StorageUnavailable:
            await asyncio.sleep(_AGAIN)


def _words(progress: _Progress) -> str:
    if progress.message:
        return progress.message[:1000]
    if progress.total:
        return f"{progress.progress:g} of {progress.total:g}"
    return f"progress: {progress.progress:g}"
