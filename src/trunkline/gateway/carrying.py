"""Tasks of upstreams, carried to their clients.

What it is for: the ids by which clients know tasks that upstreams keep, and the way of a request by such an id.
What may live here: sealing and opening of ids, the requests about a task. What may not: notifications (`news.py`).

An id seals whose task it is, which upstream keeps it and how that one calls it. No row is needed for it: any replica
with the keys opens it, after a restart as before, and nobody's but its owner's requests do.
"""

from collections.abc import Sequence

import msgspec

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import Ear, Extension, KeyRing, Result
from trunkline.errors import RemoteError, SealError
from trunkline.extensions.tasks.carried import carried
from trunkline.extensions.tasks.names import IDENTIFIER
from trunkline.gateway import relaying
from trunkline.gateway.endpoint import Endpoint
from trunkline.gateway.face import Face
from trunkline.gateway.failures import unavailable
from trunkline.gateway.news import News
from trunkline.gateway.tasks import View, kept_by
from trunkline.gateway.upstream import Upstream
from trunkline.protocol import json

_PURPOSE = "task"
_LONGEST = 4096
"""Characters of an id that is looked at; none of ours comes near."""

_ABLE = 1024
"""Bytes of what a client can do that an id may hold; with more, its later requests have to say the same."""


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """Where a task is.

    Parameters:
        upstream, id: who keeps it, and under which id.
        replica: whose process it is, where the process is everybody's at one replica.
        able: what the client could do that made it, where the upstream runs a process for each such set.
    """

    upstream: str
    id: str
    replica: str | None = None
    able: dict[str, object] | None = None


_decode = msgspec.json.Decoder(_Kept).decode


class Carrying:
    """Carries tasks of upstreams for the clients of one engine.

    Parameters:
        provider: what the engine is over.
        keys: the engine's.
        scope: of which application the ids are; those of others open nothing here.

        engine = Engine(federation, keys=keys)
        engine.extend(Carrying(federation, keys).extension())
    """

    def __init__(self, provider: Face | Endpoint, keys: KeyRing, scope: str = "") -> None:
        self.face = provider.face if isinstance(provider, Endpoint) else provider
        self._keys = keys
        self._scope = scope
        provider.carrying = self

    def extension(self) -> Extension:
        """The tasks extension over these tasks alone."""
        return carried(self)

    def offered(self) -> bool:
        """Whether any upstream is known to make tasks."""
        return self.face.makes_tasks()

    def created(self, context: Context, upstream: Upstream, result: Result) -> Result:
        """The task an upstream made of a call, under an id for its caller."""
        own, replica, able = str(result["taskId"]), None, None
        if upstream.entry.transport == "stdio":
            if upstream.entry.processes == "per-session":
                told = relaying.offered(context)
                able = told if len(json.encode(told)) <= _ABLE else None
            else:
                replica = upstream.replica
        payload = msgspec.json.encode(_Kept(upstream.name, own, replica, able))
        id = self._keys.seal(_PURPOSE, self._bound(context), payload)
        return self.view(upstream, own, id).task(result)

    def find(self, context: Context, id: str) -> "Carried | None":
        """The caller's task of this id; None for one that is another's, forged, or none of ours."""
        if len(id) > _LONGEST:
            return None
        try:
            kept = _decode(self._keys.open(_PURPOSE, self._bound(context), id))
        except (SealError, msgspec.MsgspecError):
            return None
        return Carried(self, context, id, kept)

    async def listen(self, context: Context, ids: Sequence[str]) -> Ear:
        """Tell of tasks of this caller."""
        found = [task for task in (self.find(context, id) for id in ids) if task is not None]
        news = News(found)
        await news.begin()
        return news

    def view(self, upstream: Upstream, own: str, id: str) -> View:
        """How a task reads for its client."""
        return View(upstream.name, own, id, self.face.exposing(upstream.name), upstream.mask)

    def _bound(self, context: Context) -> bytes:
        return self._scope.encode() + b"\0" + context.principal.owner.encode()


class Carried:
    """One task, for one request of its owner.

    Attributes:
        id: as the client knows it.
        own: as the upstream does.
        name: the upstream's.
    """

    def __init__(self, carrying: Carrying, context: Context, id: str, kept: _Kept) -> None:
        self.id = id
        self.own = kept.id
        self.name = kept.upstream
        self._carrying = carrying
        self._context = context
        self._kept = kept

    async def get(self) -> Result:
        """The task as the upstream shows it now."""
        result = await self._ask(self._context)
        return self.view(self.upstream()).task(result)

    async def update(self) -> None:
        """Pass on answers; the keys are the upstream's."""
        await self._ask(self._context)

    async def cancel(self) -> None:
        """Pass on that its client wants it cancelled."""
        await self._ask(self._context)

    async def look(self) -> Result:
        """The task as it is now, for a request that is about something else."""
        raw = msgspec.Raw(json.encode({"taskId": self.id}))
        context = self._context.instead(msgspec.structs.replace(self._context.params, raw=raw), "tasks/get")
        context.log_level = None
        return self.view(self.upstream()).task(await self._ask(context))

    def upstream(self) -> Upstream:
        """Who keeps it. Raises `UpstreamUnavailable` when the gateway has nobody of that name, or it has no tasks."""
        upstream = self._carrying.face.upstream(self.name)
        if upstream is None:
            what = "is no longer configured here, or under another name; the tasks it keeps cannot be reached"
            raise unavailable(self.name, what, retry=False)
        if upstream.capabilities is not None and not kept_by(upstream.capabilities, upstream.entry):
            raise unavailable(self.name, "does not serve tasks any more", retry=False)
        return upstream

    def view(self, upstream: Upstream) -> View:
        """How it reads for its client."""
        return self._carrying.view(upstream, self.own, self.id)

    async def _ask(self, context: Context) -> Result:
        await self.upstream().reach()
        upstream = self.upstream()
        params = {**relaying.parameters(context), "taskId": self.own}
        upstream.calls += 1
        try:
            return await upstream.call(self._placed(context), params)
        except RemoteError as error:
            raise self.view(upstream).error(error) from error
        finally:
            upstream.calls -= 1

    def _placed(self, context: Context) -> Context:
        """The request, on its way to the process that has the task."""
        kept = self._kept
        if kept.replica is None and kept.able is None:
            return context
        placed = context.instead(context.params)
        if kept.able is not None:
            extensions = kept.able.get("extensions")
            told = {**(extensions if isinstance(extensions, dict) else {}), IDENTIFIER: {}}
            placed.capabilities = {**kept.able, "extensions": told}
        if kept.replica is not None:
            placed.replay = rounds.begin()
            placed.replay.home = kept.replica
        return placed
