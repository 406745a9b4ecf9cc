"""The requests of one upstream on the wire.

What it is for: one call is sent, its rounds are answered, its limits kept; and whether it may be sent twice.
What may live here: that, once it is known over which connection. What may not: choosing one, what failures mean.
"""

import logging
import time
from collections.abc import Awaitable, Mapping

from trunkline.client.deadlines import Deadlines
from trunkline.client.patience import Patience
from trunkline.client.peer import Peer
from trunkline.client.repeating import BRIEF, Repeating
from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import (
    InvalidAnswer,
    InvalidParams,
    MissingCapability,
    RemoteError,
    RequestTimeout,
    TransportError,
)
from trunkline.extensions.tasks.names import KEY, METHOD_NAMES
from trunkline.extensions.tasks.polling import honours_keys, makes_tasks
from trunkline.gateway import awaiting, relaying, tasks
from trunkline.gateway.approval import Approval
from trunkline.gateway.dialling import Connection
from trunkline.gateway.holding import not_held
from trunkline.gateway.limits import Limits
from trunkline.gateway.relaying import Relay
from trunkline.gateway.sessions import Session
from trunkline.gateway.shelf import Shelf
from trunkline.portable.model import Entry
from trunkline.protocol.annotations import may_run_twice
from trunkline.protocol.messages import CAPABILITIES_KEY

_ROUNDS = 20
"""Input rounds one call of a legacy client may take."""

_NEXT_PROCESS = 10.0
"""Seconds a call waits for the next process, when its own was lost and it may be sent once more."""

_log = logging.getLogger("trunkline.gateway")


class Requests:
    """What is sent to one upstream.

    Parameters:
        entry: the configured server.
        limits: what it may cost.
        shelf: what it last listed.
        approval: what of it may be used.
    """

    def __init__(self, entry: Entry, limits: Limits, shelf: Shelf, approval: Approval) -> None:
        self.name = entry.name
        self._entry = entry
        self._limits = limits
        self._shelf = shelf
        self._approval = approval
        self._deadlines = Deadlines()
        # What a call leaves behind in a process of its own, no later request finds again.
        self._keeps = entry.processes != "per-call"
        self._able: Mapping[str, object] = {}

    def close(self) -> None:
        """Leave no timer behind."""
        self._deadlines.close()

    def patience(self, context: Context) -> Patience:
        """The clock of a call."""
        entry, limits = self._entry, self._limits
        total, idle = entry.total_timeout or limits.total, entry.idle_timeout or limits.idle
        # Nobody holds a connection open for a task, so that it need not be heard of.
        request = entry.request_timeout or (limits.request if context.run is None else total)
        left = total if context.deadline is None else max(0.0, context.deadline - time.monotonic())
        return Patience(request, min(total, left), idle, deadline=left < total, deadlines=self._deadlines)

    def attempts(self, context: Context, params: Mapping[str, object]) -> "Attempts":
        """The attempts at a caller's request."""
        return Attempts(self, context, params, process=self._entry.transport == "stdio")

    def repeatable(self, method: str, params: Mapping[str, object]) -> bool:
        """Whether a request does no harm when it runs twice: nothing but a tool does, and a tool may say so itself."""
        if method != "tools/call":
            return True
        if self._finds_again(params.get("_meta")):
            return True
        share = self._shelf.lists.get("tools")
        tool = next((item for item in share.items if item["name"] == params.get("name")), None) if share else None
        return tool is not None and may_run_twice(tool)

    def _finds_again(self, meta: object) -> bool:
        """Whether the upstream finds what it made of a call when the call comes again, by the caller's key."""
        return isinstance(meta, dict) and isinstance(meta.get(KEY), str) and honours_keys(self._able)

    async def over(
        self, session: Session, connection: Connection, relay: Relay, params: Mapping[str, object]
    ) -> Result:
        """Send a request in a caller's session; its result."""
        await self._set_level(session, connection.peer)
        return await self.send(connection, relay, params)

    async def send(self, connection: Connection, relay: Relay, given: Mapping[str, object]) -> Result:
        """Send a request, answer what is asked in rounds; its result. Raises what `Peer.request` raises."""
        context, peer = relay.context, connection.peer
        able = self._able = peer.capabilities if self._keeps and peer.era == "modern" else {}
        params: Mapping[str, object] = relay.params(given, peer.era, able)
        connection.calls += 1
        try:
            for _ in range(_ROUNDS):
                # Nothing may happen between this and the request: what was waited for may have changed the definition.
                await self._approval.admit(context.method, params)
                try:
                    result = await self._request(peer, relay, params)
                except RemoteError as error:
                    if _is_forgotten(error, context, connection):
                        raise not_held(self.name) from error
                    if not _wants_task(error, relay, able):
                        raise
                    params = relay.declared(params)
                    continue
                kind = result.get("resultType", "complete")
                if kind == "complete" and context.method not in METHOD_NAMES:
                    return relaying.checked(context.method, result)
                if kind in ("complete", "task") and context.method in METHOD_NAMES:
                    return tasks.seen(context.method, given["taskId"], result)
                if kind == "task" and relay.tasks and context.method == "tools/call":
                    made = tasks.made(result)
                    return await self._awaited(peer, relay, made, params["_meta"]) if relay.awaits else made
                if kind != "input_required" or peer.era != "modern":
                    raise InvalidAnswer(f"it answered with a result of type {str(kind)[:40]!r}, not asked for")
                params = await relay.answers(result, params, connection.name if connection.bound else None)
        finally:
            connection.calls -= 1
        raise InvalidAnswer(f"it asked for input in more than {_ROUNDS} rounds")

    def _request(self, peer: Peer, relay: Relay, params: Mapping[str, object]) -> Awaitable[Result]:
        return peer.request(
            relay.context.method,
            params,
            on_notification=relay.on_notification,
            on_request=None if relay.shared else relay.on_request,
            patience=relay.patience,
        )

    async def _awaited(self, peer: Peer, relay: Relay, made: Result, meta: object) -> Result:
        async def ask(method: str, params: Mapping[str, object]) -> Result:
            told = {CAPABILITIES_KEY: meta[CAPABILITIES_KEY]} if isinstance(meta, dict) else {}
            return await peer.request(method, {**params, "_meta": told}, patience=relay.patience)

        return relaying.checked("tools/call", await awaiting.outcome(made, relay, ask))

    async def _set_level(self, session: Session, peer: Peer) -> None:
        """Tell a legacy upstream the caller's log level, when it changed and there is anyone to tell."""
        level = session.wanted if peer.era == "legacy" and "logging" in peer.capabilities else None
        if level is not None and level != session.level:
            await peer.request("logging/setLevel", {"level": level}, timeout=self._limits.listing)
            session.level = level


def _is_forgotten(error: RemoteError, context: Context, connection: Connection) -> bool:
    """Whether a round is refused that another process asked for, which is gone: what it sealed this one cannot read."""
    asked = context.replay.process if context.replay is not None else None
    return error.remote_code == InvalidParams.code and asked not in (None, connection.name)


def _wants_task(error: RemoteError, relay: Relay, able: Mapping[str, object]) -> bool:
    """Whether a call can only be a task, of a caller who cannot learn to understand that.

    Who speaks a revision that has tasks is told so instead (tasks, section 2).
    """
    context = relay.context
    if error.remote_code != MissingCapability.code or relay.awaits or context.method != "tools/call":
        return False
    required = error.data.get("requiredCapabilities") if isinstance(error.data, dict) else None
    if not isinstance(required, dict) or not makes_tasks(required) or not makes_tasks(able):
        return False
    return context.revision.era == "legacy" or context.run is not None


class Attempts:
    """The attempts at one request of a caller, who need not know that there were several.

    A process is tried once more: it may have ended because of the request. A remote server may be one replica of many,
    or be replaced: requests that were under way wait for that, for a moment; new ones learn at once that it is away.

    Parameters:
        requests: what is sent to the upstream.
        context, params: the caller's request, under the upstream's own names.
        process: the upstream is a process of the gateway.
    """

    __slots__ = ("_context", "_params", "_process", "_repeating", "_requests")

    def __init__(self, requests: Requests, context: Context, params: Mapping[str, object], *, process: bool) -> None:
        self._requests = requests
        self._context = context
        self._params = params
        self._process = process
        self._repeating: Repeating | None = None

    @property
    def left(self) -> float:
        """Seconds in which a further connection is worth waiting for."""
        return _NEXT_PROCESS if self._process or self._repeating is None else self._repeating.left

    def wait(self, error: TransportError | RemoteError, relay: Relay, *, connected: bool = True) -> float | None:
        """Seconds until the request is sent again, or None when it is not.

        Parameters:
            error: what the last attempt failed with.
            connected: False where that was connecting.
        """
        if relay.asked or (self._process and not (connected and is_cut(error))):
            return None
        if self._repeating is None:
            repeatable = self._requests.repeatable(self._context.method, self._params)
            self._repeating = Repeating(repeatable, tries=1) if self._process else Repeating(repeatable, BRIEF)
        wait = self._repeating.wait(error)
        if wait is not None:
            _log.info("upstream %s: %s is sent again: %s", self._requests.name, self._context.method, error.message)
        return wait


def is_cut(error: TransportError | RemoteError) -> bool:
    """Whether the connection itself is gone, or was not to be had, rather than one request."""
    return type(error) is TransportError or (isinstance(error, RequestTimeout) and error.limit == "connect")
