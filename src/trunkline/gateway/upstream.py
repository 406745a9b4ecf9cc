"""One upstream: its connection, its lists, its callers' sessions.

What it is for: everything one configured server does for the gateway, so that its trouble stays its own.
What may live here: what happens between one upstream and the gateway. What may not: other upstreams, exposed names.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from trunkline.client.patience import Patience
from trunkline.client.peer import Notification, Peer
from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import Notes, Result
from trunkline.errors import (
    InvalidParams,
    RemoteError,
    ReplicaLost,
    SignInNeeded,
    TransportError,
    UpstreamUnavailable,
)
from trunkline.extensions.tasks.names import METHOD_NAMES
from trunkline.gateway import following, shelf
from trunkline.gateway.approval import Approval
from trunkline.gateway.circuit import Circuit
from trunkline.gateway.connecting import Connecting
from trunkline.gateway.credentials import Accounts
from trunkline.gateway.dialling import Connection, Dial
from trunkline.gateway.elsewhere import Elsewhere
from trunkline.gateway.failures import from_remote, from_transport, unavailable
from trunkline.gateway.following import Following
from trunkline.gateway.holding import Holding, home_of, needed, not_held, orphaned
from trunkline.gateway.homes import Homes
from trunkline.gateway.limits import Limits
from trunkline.gateway.listing import KINDS, Kind, Listed
from trunkline.gateway.masking import Mask
from trunkline.gateway.reads import Reads
from trunkline.gateway.relaying import Relay
from trunkline.gateway.requests import Attempts, Requests, is_cut
from trunkline.gateway.sessions import Key, Sessions, key_of
from trunkline.gateway.shelf import Shelf
from trunkline.gateway.status import UpstreamStatus, last_error
from trunkline.gateway.supervision import Backoff, Status, Supervised
from trunkline.gateway.updates import Updates
from trunkline.portable.model import Entry

_log = logging.getLogger("trunkline.gateway")

_PACE = 1.0
"""Seconds between two readings of lists that an upstream says have changed; it may say so as often as it likes."""

_RENEWING = 1.0
"""Seconds a client waits for a fresh list where a known one would do."""


class Upstream:
    """One upstream.

    Parameters:
        entry: the configured server, resolved.
        dial: makes connections.
        limits: what it may cost.
        elsewhere: carries calls to other replicas of the gateway.
        notes: what replicas leave for each other.
        backoff: how restarts are spaced; by default wider for processes than for remote servers.
        accounts: what remote servers are shown.
    """

    def __init__(
        self,
        entry: Entry,
        dial: Dial,
        limits: Limits,
        elsewhere: Elsewhere,
        notes: Notes,
        backoff: Backoff | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        self.entry = entry
        self.name = entry.name
        self.capabilities: Mapping[str, object] | None = None
        """What it declared when it was last connected."""
        self.listeners: list[Callable[[Kind | None, str | None, bool], None]] = []
        """Told (kind, None) of a changed list, (None, uri) of a changed resource, (None, None) of another state; and
        whether clients of other replicas may have been given what it was before."""
        self.shelf = Shelf(self.name, self._list, entry.admits, lambda kind, known: self._tell(kind, None, known))
        self.mask = Mask(entry.secret_values)
        self._limits = limits
        self.approval = Approval(self.name, self.shelf, limits.lists)
        self._users = 0
        self._peer: Peer | None = None
        self._following = Following(self.name, self._notified, self._missed)
        room = limits.processes if entry.transport == "stdio" else limits.sessions
        self._elsewhere = elsewhere
        self._connecting = Connecting(entry, dial, accounts or Accounts(), elsewhere, notes, self._hear, self.mask)
        self.replica = elsewhere.replicas.name
        self._homes = Homes(self.name, notes, elsewhere.replicas, forgiving=entry.lost_process == "replace")
        self._sessions = Sessions(
            self.name,
            self._connecting.of,
            limit=room,
            idle=limits.session_idle,
            left=self._homes.leave,
            alone=entry.processes == "per-call",
        )
        self._requests = Requests(entry, limits, self.shelf, self.approval)
        self._holding = Holding(self.name, limits, self.replica, lambda: elsewhere.inflight)
        self._reads = Reads()
        self._updates = Updates(self.name, self._reads, elsewhere.replicas, partial(self._tell, None))
        self._circuit = Circuit(self.name, limits.silences, limits.silence)
        self.calls = 0
        """Requests on their way to it and back."""
        self._learning: asyncio.Task[None] | None = None
        self._learn_again = False
        self._supervised: Supervised[Connection] = Supervised(
            self.name, self._connecting.own, backoff=backoff or _backoff(entry), on_change=self._moved
        )

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Want it connected; paired with `stop`, so that several providers may share it."""
        self._users += 1
        self._updates.start()
        self._supervised.start()

    async def stop(self) -> None:
        """Leave nothing behind once nobody wants it."""
        self._users -= 1
        if self._users > 0:
            return
        self._updates.stop()
        if self._learning is not None:
            self._learning.cancel()
        await self.shelf.stop()
        await self._following.end()
        await self._holding.close()
        await self._sessions.close()
        await self._supervised.stop()
        self._requests.close()

    @property
    def status(self) -> UpstreamStatus:
        """The row of the live table."""
        life = self._supervised.status
        tools = self.shelf.lists.get("tools", None if self._offers("tools") else Listed())
        return UpstreamStatus(
            name=self.name,
            transport=self.entry.transport,
            state=life.state,
            since=life.since,
            era=self._peer.era if self._peer is not None else None,
            revision=self._peer.revision if self._peer is not None else None,
            tools=len(tools.items) - len(tools.refused) if tools is not None else None,
            error=last_error(life, self.shelf.error),
            sessions=len(self._sessions),
            held=len(self._holding),
            circuit=self._circuit.state,
            cached=len(self._reads),
            hits=self._reads.hits,
            changes=self.shelf.changes,
            lost=self._homes.lost,
            refused=self.approval.refused,
        )

    @property
    def busy(self) -> bool:
        """Whether a call runs, or waits for its next round."""
        return self.calls > 0 or len(self._holding) > 0

    def holds(self, handle: str) -> bool:
        """Whether a call waits here for its next round."""
        return handle in self._holding

    # -- lists -----------------------------------------------------------------------------------------------------

    @property
    def hidden(self) -> bool:
        """It keeps failing: what it last listed is of no use to anyone."""
        return self._supervised.state == "failed"

    def lacks(self, kind: Kind) -> bool:
        """Whether a merged list has to say that this upstream's part is missing."""
        return self.hidden or (kind not in self.shelf.lists and self._offers(kind))

    def stale(self, kind: Kind) -> bool:
        """Whether what a merged list shows of it may be out of date."""
        return self._offers(kind) and (self._supervised.state != "ready" or self.shelf.due(kind))

    def due(self, kind: Kind) -> bool:
        """Whether asking it for this list makes sense now."""
        return self._supervised.state in ("starting", "ready") and self._offers(kind) and self.shelf.due(kind)

    async def refresh(self, kind: Kind, within: float) -> None:
        """See that the list is good, without dragging anyone along; it goes on in the background.

        Parameters:
            within: seconds since it began to start, or to be asked, that are waited for a list nobody has seen yet.
                One that is known is good enough meanwhile.
        """
        known = kind in self.shelf.lists
        if self._supervised.state != "ready":
            left = self._supervised.status.since + within - time.time()
            if known or left <= 0:
                return
            try:
                await self._supervised.ready(left)
            except UpstreamUnavailable:
                return
        if self.due(kind):
            await self.shelf.refresh(kind, min(within, _RENEWING) if known else within)

    async def reach(self) -> None:
        """Wait until it is connected. Raises `UpstreamUnavailable` when it cannot be."""
        await self._supervised.ready(self._limits.start)

    def reads(self) -> bool:
        """Whether it has resources, as far as is known."""
        return self.capabilities is None or shelf.offers(self.capabilities, "resources")

    @property
    def instructions(self) -> str | None:
        """What it says of itself for the model; None while that is not what was pinned."""
        return self.approval.instructions

    async def defined(self) -> tuple[str | None, Listed]:
        """What can be pinned of it now: its instructions and tools. Raises `UpstreamUnavailable`."""
        await self._supervised.ready(_backoff(self.entry).start)
        instructions = self._peer.instructions if self._peer is not None else None
        if not self._offers("tools"):
            return instructions, Listed()
        if not await self.shelf.settle("tools", self._limits.listing):
            raise unavailable(self.name, f"did not tell its tools: {self.shelf.error or 'no answer'}", retry=True)
        return instructions, self.shelf.lists["tools"]

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(self, context: Context, params: Mapping[str, object], uri: str | None = None) -> Awaitable[Result]:
        """Send a caller's request on and return the result, as the upstream gave it.

        Parameters:
            context: the caller's request.
            params: its parameters, under the upstream's own names.
            uri: what the client calls the resource, for `resources/read`.

        Raises `UpstreamUnavailable`, and `RemoteError` for the upstream's own errors.
        """
        if context.replay is not None and context.replay.asker not in (None, self.name):
            # What one upstream asked and wants echoed is not for another that is asked for the same name by now.
            raise InvalidParams("Invalid params: requestState belongs to another upstream; send the request without it")
        if context.method == "resources/read" and not self._connecting.each:
            return self._reads.get(context, params, partial(self._call, context, params, uri))
        return self._call(context, params, uri)

    async def answer(self, context: Context, params: Mapping[str, object]) -> Result:
        """Answer a call of another replica's client with what is here, as `call` does."""
        uri = params.get("uri")
        return await self._call(context, params, uri if isinstance(uri, str) else None, here=True)

    async def asked(self, key: Key, method: str, params: dict[str, object]) -> dict[str, object] | None:
        """Have a caller asked whose call runs here; None where none does."""
        session = self._sessions.get(key)
        return None if session is None or not session.relays else await session.answer(method, params)

    async def _call(
        self, context: Context, params: Mapping[str, object], uri: str | None, *, here: bool = False
    ) -> Result:
        connection = self._supervised.connection or await self._supervised.ready(self._limits.start)
        # Before a session or a process is made for it, and before a call that is held open is answered.
        await self.approval.admit(context.method, params)
        if self._connecting.each:
            await self._connecting.admit(context)
        home = None
        if not here and (connection.bound or context.replay is not None):
            home = await self._home(connection, context)
        while home is not None:
            try:
                return await self._elsewhere.call(home, self.name, context, params)
            except ReplicaLost as lost:
                if lost.delivered and not self._requests.repeatable(context.method, params):
                    raise
                home = await self._home(connection, context, lost=home)
        try:
            with self._circuit:
                return await self._carry(connection, context, params)
        except rounds.InputRequired:
            if context.replay is not None:
                context.replay.asker = self.name
                # What the process sealed, no other one may be able to read.
                context.replay.home = self.replica if connection.bound else None
            raise
        except RemoteError as error:
            self.mask.hide(error)
            unknown = error.remote_code == InvalidParams.code and context.method not in METHOD_NAMES
            if unknown and orphaned(context, self.replica):
                raise not_held(self.name) from error
            raise from_remote(self.name, context.method, uri, error) from error
        except TransportError as error:
            invitation = self._connecting.outcome(context, error)
            if invitation is not None:
                raise invitation from error
            self._note(connection, error)
            self.mask.hide(error)
            facts = {"request": context.trace, "method": context.method, "upstream": self.name}
            _log.warning("upstream %s failed at %s: %s", self.name, context.method, error.message, extra=facts)
            repeatable = self._requests.repeatable(context.method, params)
            raise from_transport(self.name, context.method, error, repeatable) from error

    def follow(self, uri: str) -> None:
        """Listen to a resource. Raises `InvalidParams` when that cannot be."""
        resources = self.capabilities.get("resources") if self.capabilities is not None else {"subscribe": True}
        if not isinstance(resources, Mapping) or resources.get("subscribe") is not True:
            raise InvalidParams(f"upstream {self.name} tells no changes of resources; read {uri[:200]!r} again instead")
        if not self._following.follow(uri):
            raise unavailable(self.name, f"is listened to at {following.URIS} resources already", retry=True)

    def unfollow(self, uri: str) -> None:
        """One listener to a resource less."""
        self._following.unfollow(uri)

    async def _home(self, connection: Connection, context: Context, lost: str | None = None) -> str | None:
        """The replica that has what a request needs; None where that is this one, or does not matter.

        Parameters:
            lost: the one that had it and gives it up, or is gone.
        """
        held = context.replay.held if context.replay is not None else None
        if held is not None:
            home = home_of(held)
            if home == self.replica:
                return None
            if home == lost or not await self._elsewhere.replicas.alive(home):
                raise not_held(self.name)
            return home
        asked = context.replay.home if context.replay is not None else None
        if asked not in (None, lost, self.replica) and await self._elsewhere.replicas.alive(asked):
            return asked
        if not connection.bound or connection.shared or self.entry.processes == "per-call":
            return None
        key = key_of(context)
        if key in self._sessions:
            return None
        return await self._homes.find(key, ending=lost)

    def _carry(self, connection: Connection, context: Context, params: Mapping[str, object]) -> Awaitable[Result]:
        """By the way its callers are kept apart there."""
        if context.replay is not None and context.replay.held is not None:
            return self._holding.resume(context, context.replay.held)
        modern = connection.peer.era == "modern"
        patience = self._requests.patience(context)
        if connection.shared or (modern and self.entry.transport != "stdio" and not self._connecting.each):
            return patience.bound(self._in_common(connection, context, params, patience))
        if needed(context) and not modern:
            return self._holding.begin(context, patience, partial(self._in_session, params))
        return self._in_session(params, Relay(context, patience))

    async def _in_common(
        self, connection: Connection, context: Context, params: Mapping[str, object], patience: Patience
    ) -> Result:
        overheard = self._hear if connection.shared else None
        attempts: Attempts | None = None
        while True:
            relay = Relay(context, patience, overheard)
            try:
                return await self._requests.send(connection, relay, params)
            except (TransportError, RemoteError) as error:
                self.mask.hide(error)
                attempts = attempts or self._requests.attempts(context, params)
                wait = attempts.wait(error, relay)
                if wait is None:
                    raise
                self._note(connection, error)
                if connection.shared or connection.ended.done():
                    again = await self._supervised.renewed(connection, attempts.left, once=connection.shared)
                    if again is None:
                        raise
                    connection, wait = again, 0.0
            await asyncio.sleep(wait)

    def _in_session(self, params: Mapping[str, object], relay: Relay) -> Awaitable[Result]:
        return relay.patience.bound(self._leased(params, relay))

    async def _leased(self, params: Mapping[str, object], relay: Relay) -> Result:
        attempts: Attempts | None = None
        with self._sessions.lease(relay.context, relay) as session:
            while True:
                connection: Connection | None = None
                try:
                    connection = await self._sessions.connect(session)
                    return await self._requests.over(session, connection, relay, params)
                except (TransportError, RemoteError) as error:
                    if connection is not None and is_cut(error):
                        self._sessions.lose(session, connection)
                    self.mask.hide(error)
                    attempts = attempts or self._requests.attempts(relay.context, params)
                    wait = attempts.wait(error, relay, connected=connection is not None)
                    if wait is None:
                        raise
                await asyncio.sleep(wait)

    async def peer(self) -> Peer:
        """Who is there to be listened to. Raises `UpstreamUnavailable`."""
        return (self._supervised.connection or await self._supervised.ready(self._limits.start)).peer

    # -- connections -----------------------------------------------------------------------------------------------

    def _hear(self, line: str) -> None:
        self._supervised.hear(self.mask.text(line))

    def _moved(self, life: Status) -> None:
        connection = self._supervised.connection
        if connection is None:
            self._following.pause()
        else:
            self._peer = connection.peer
            self.capabilities = connection.peer.capabilities
            self.shelf.error = ""
            self._circuit.answered()
            self._reads.drop()
            self.shelf.expire(*KINDS)
            self._following.begin(connection.peer)
            self.approval.met(connection.peer.instructions)
            self._warm()
        self._tell(None, None)

    def _warm(self) -> None:
        """Learn what it has, so that names are known before the first call and clients hear of what changed."""
        self._learn_again = True
        if self._learning is None or self._learning.done():
            self._learning = asyncio.get_running_loop().create_task(self._learn())

    async def _learn(self) -> None:
        while self._learn_again:
            self._learn_again = False
            for kind in KINDS:
                if self._supervised.connection is not None and self.due(kind):
                    await self.shelf.refresh(kind, self._limits.listing)
            await asyncio.sleep(_PACE)

    async def _list(self, method: str, params: dict[str, object]) -> Result:
        connection = self._supervised.connection
        if connection is None:
            raise unavailable(self.name, f"is {self._supervised.state.replace('_', ' ')}", retry=True)
        try:
            return await connection.peer.request(method, params, timeout=self._limits.listing)
        except TransportError as error:
            self._note(connection, error)
            self.mask.hide(error)
            raise
        except RemoteError as error:
            self.mask.hide(error)
            raise

    def _note(self, connection: Connection, error: TransportError | RemoteError) -> None:
        """A remote server that cannot even be connected to, or lets nobody in, is down for everybody.

        A process' end is seen by itself.
        """
        out = is_cut(error) or isinstance(error, SignInNeeded)
        if isinstance(error, TransportError) and not error.delivered and not connection.shared and out:
            connection.end(error.message)

    def _notified(self, notification: Notification) -> None:
        kinds = following.LISTS.get(notification.method)
        if kinds is not None:
            self.shelf.expire(*kinds)
            self._warm()
            if "resources" in kinds:
                self._reads.drop()
        elif notification.method == following.UPDATED:
            uri = notification.params.get("uri")
            if isinstance(uri, str):
                self._updates.note(uri)

    def _missed(self) -> None:
        """Nobody listened for a while: whatever changed meanwhile shows when the lists are read again."""
        self.shelf.expire(*KINDS)
        self._reads.drop()
        self._warm()

    def _offers(self, kind: Kind) -> bool:
        return self.capabilities is None or shelf.offers(self.capabilities, kind)

    def _tell(self, kind: Kind | None, uri: str | None, everywhere: bool = False) -> None:
        for listener in list(self.listeners):
            listener(kind, uri, everywhere)


def _backoff(entry: Entry) -> Backoff:
    # Reaching out costs little, and a server that came back should not be kept waiting.
    backoff = Backoff() if entry.transport == "stdio" else Backoff(cap=10.0, slow=20.0)
    return backoff if entry.startup_timeout is None else replace(backoff, start=entry.startup_timeout)
