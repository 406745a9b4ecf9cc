"""What clients see of one or more upstreams.

What it is for: a `Provider` that answers each request from the upstream it belongs to, or from all of them.
What may live here: routing, fan-out of lists, change signals in the names clients know.
What may not: connections and their failures (`upstream.py`), naming rules (`names.py`, `uris.py`).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, ChangeKind, Result
from trunkline.errors import InvalidParams, UpstreamUnavailable
from trunkline.extensions.tasks.names import IDENTIFIER
from trunkline.gateway import relaying, rewriting, tasks
from trunkline.gateway.catalog import Catalog, Part, Route, unknown
from trunkline.gateway.dialling import Dialler
from trunkline.gateway.failures import unavailable
from trunkline.gateway.limits import Limits
from trunkline.gateway.listing import Kind
from trunkline.gateway.retiring import Retiring
from trunkline.gateway.upstream import Upstream
from trunkline.protocol.headers import HeaderParam

if TYPE_CHECKING:
    from trunkline.gateway.carrying import Carrying

_CHANGES: dict[Kind, ChangeKind] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "templates": "resources",
}

_CAPABILITIES: dict[str, object] = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}
"""Offered whatever the upstreams have at the moment: they may come and go while clients are connected."""

_FRESHNESS: dict[str, object] = {"cacheScope": "public", "ttlMs": 60_000}

ALONE = "alone"
"""The part of a gateway (`doors.Run.part`) where one upstream is alone, and its URIs stay as they are."""

_INSTRUCTIONS = 4000
"""Characters of one upstream's instructions that are passed on."""


class Face:
    """A provider over upstreams.

    Parameters:
        upstreams: in the order lists follow.
        labels: what the names of each begin with; None for an upstream alone, whose names stay as they are.
        info: the gateway's `Implementation` record.
        instructions: guidance for the model, before that of the upstreams.
        limits: what each upstream may cost.
        dialler: held open while the provider lives.
    """

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        labels: Mapping[str, str | None],
        *,
        info: Mapping[str, object],
        instructions: str | None,
        limits: Limits,
        dialler: Dialler,
    ) -> None:
        self._upstreams = {upstream.name: upstream for upstream in upstreams}
        self._labels = labels
        self._info = info
        self._instructions = instructions
        self._limits = limits
        self._dialler = dialler
        self._listeners: list[Callable[[Change], None]] = []
        self._followed: dict[str, tuple[Route, int]] = {}
        self._hidden: frozenset[str] = frozenset()
        self._lacked: set[Kind] = set()
        self._catalog: Catalog | None = None
        self._tell = {name: partial(self._heard, name) for name in self._upstreams}
        self._retiring = Retiring(limits.drain)
        self._started = False
        self.carrying: Carrying | None = None
        """What carries tasks of the upstreams; without, none is asked for one."""

    # -- what is offered -------------------------------------------------------------------------------------------

    def info(self) -> Mapping[str, object]:
        """The gateway's record."""
        return self._info

    def capabilities(self) -> Mapping[str, object]:
        """Everything the gateway can carry; for one upstream alone, what it declared."""
        known = [upstream.capabilities for upstream in self._upstreams.values()]
        if None not in self._labels.values() or not known or known[0] is None:
            return _CAPABILITIES
        return {name: declared for name, declared in known[0].items() if name in _CAPABILITIES}

    def instructions(self) -> str | None:
        """Our own guidance and that of each upstream, with the form its names have here."""
        parts = [self._instructions] if self._instructions else []
        for name, upstream in self._upstreams.items():
            text, label = upstream.instructions, self._labels[name]
            if text:
                heading = "" if label is None else f"Names that begin with {label}__:\n"
                parts.append(heading + text[:_INSTRUCTIONS])
        return "\n\n".join(parts) or None

    def freshness(self) -> Mapping[str, object]:
        """Briefly: what is told of the gateway grows while its upstreams connect."""
        return _FRESHNESS

    @property
    def catalog(self) -> Catalog:
        """The merged catalog as it stands; a new one after each change."""
        if self._catalog is None:
            self._catalog = Catalog([self._part(upstream) for upstream in self._upstreams.values()])
        return self._catalog

    def lacking(self, kind: Kind) -> tuple[str, ...]:
        """The upstreams whose part of a list is missing."""
        return tuple(upstream.name for upstream in self._upstreams.values() if upstream.lacks(kind))

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        """The parameters a tool mirrors into `Mcp-Param-*` headers; empty for unknown tools."""
        return self.catalog.header_params(tool)

    def server_of(self, context: Context) -> str | None:
        """The upstream a request goes to, as far as is known without asking anyone."""
        name, uri = context.params.name, context.params.uri
        if context.method == "resources/read":
            route = self.catalog.locate(uri) if isinstance(uri, str) else None
        elif isinstance(name, str):
            kind: Kind = "tools" if context.method == "tools/call" else "prompts"
            route = self.catalog.find(kind, name)
            return self.catalog.owner(name) if route is None else route.upstream
        else:
            route = None
        return None if route is None else route.upstream

    # -- lists -----------------------------------------------------------------------------------------------------

    async def list_tools(self, context: Context) -> Result:
        """Answer `tools/list`."""
        return await self._list("tools", context)

    async def list_resources(self, context: Context) -> Result:
        """Answer `resources/list`."""
        return await self._list("resources", context)

    async def list_templates(self, context: Context) -> Result:
        """Answer `resources/templates/list`."""
        return await self._list("templates", context)

    async def list_prompts(self, context: Context) -> Result:
        """Answer `prompts/list`."""
        return await self._list("prompts", context)

    # -- calls -----------------------------------------------------------------------------------------------------

    async def call_tool(self, context: Context, carrying: "Carrying | UnsetType | None" = UNSET) -> Result:
        """Answer `tools/call`.

        Parameters:
            carrying: gives out ids of tasks in the caller's name; by default what carries those of this provider.
        """
        name, carrying = context.params.name, self.carrying if carrying is UNSET else carrying
        route = self._find("tools", name, context) or await self._named("tools", name)
        if (carrying is None or context.run is not None) and context.capabilities.get("extensions"):
            return await self._call_plainly(context, route)
        result = await self._forward(context, route, name=route.name)
        if carrying is not None and result.get("resultType") == "task":
            return carrying.created(context, self._upstreams[route.upstream], result)
        if context.run is not None:
            return self._exposed(context, route, result)
        return rewriting.call_result(result, self.exposing(route.upstream))

    async def get_prompt(self, context: Context) -> Result:
        """Answer `prompts/get`."""
        name = context.params.name
        route = self._find("prompts", name, context) or await self._named("prompts", name)
        result = await self._forward(context, route, name=route.name)
        return rewriting.prompt_result(result, self.exposing(route.upstream))

    async def read_resource(self, context: Context) -> Result:
        """Answer `resources/read`."""
        route = await self._addressed(context.params.uri, context)
        result = await self._forward(context, route, uri=route.name)
        return rewriting.read_result(result, self.exposing(route.upstream))

    async def complete(self, context: Context) -> Result:
        """Answer `completion/complete`, for a prompt or a URI template."""
        ref = relaying.parameters(context).get("ref")
        kind = ref.get("type") if isinstance(ref, dict) else None
        if not isinstance(ref, dict) or kind not in ("ref/prompt", "ref/resource"):
            raise InvalidParams("Invalid params: 'ref' is a ref/prompt or a ref/resource")
        if kind == "ref/prompt":
            name = ref.get("name")
            route = self._find("prompts", name) or await self._named("prompts", name)
            return await self._forward(context, route, ref={**ref, "name": route.name})
        uri = ref.get("uri")
        found = self.catalog.find("templates", uri) if isinstance(uri, str) else None
        route = found or await self._addressed(uri)
        return await self._forward(context, route, ref={**ref, "uri": route.name})

    # -- changes ---------------------------------------------------------------------------------------------------

    async def follow(self, context: Context, uris: Sequence[str]) -> None:
        """Someone starts to listen to these resources: all of them or, raising, none."""
        routes = {uri: await self._addressed(uri) for uri in uris if uri not in self._followed}
        done: list[str] = []
        try:
            for uri in uris:
                route, count = self._followed.get(uri) or (routes[uri], 0)
                upstream = self._upstreams.get(route.upstream)
                if upstream is None:
                    raise unknown("resources", uri)
                upstream.follow(route.name)
                self._followed[uri] = (route, count + 1)
                done.append(uri)
        except BaseException:
            await self.unfollow(context, done)
            raise

    async def unfollow(self, context: Context, uris: Sequence[str]) -> None:
        """A listener to these resources left."""
        for uri in uris:
            # By what was followed then, wherever the URI leads now.
            route, count = self._followed.pop(uri, (None, 0))
            if route is None:
                continue
            upstream = self._upstreams.get(route.upstream)
            if upstream is not None:
                upstream.unfollow(route.name)
            if count > 1:
                self._followed[uri] = (route, count - 1)

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told of changes from now on; returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect, without waiting: lists and calls wait where they must."""
        if self._started:
            return
        self._started = True
        self._dialler.hold()
        for upstream in self._upstreams.values():
            upstream.listeners.append(self._tell[upstream.name])
            upstream.start()

    async def stop(self) -> None:
        """Leave nothing behind: no process, no session, no connection."""
        if not self._started:
            return
        self._started = False
        for upstream in self._upstreams.values():
            upstream.listeners.remove(self._tell[upstream.name])
        await asyncio.gather(self._retiring.stop(), *(upstream.stop() for upstream in self._upstreams.values()))
        await self._dialler.release()

    def become(self, upstreams: Mapping[str, Upstream], labels: Mapping[str, str | None]) -> None:
        """Have these upstreams from now on, in one step: those that go finish their calls, those that come start."""
        before, catalog = self._upstreams, self.catalog
        gone = [one for one in before.values() if upstreams.get(one.name) is not one]
        come = [one for one in upstreams.values() if before.get(one.name) is not one]
        if list(before) == list(upstreams) and not come:
            return
        told, self._tell = self._tell, {name: partial(self._heard, name) for name in upstreams}
        self._upstreams, self._labels, self._catalog = dict(upstreams), labels, None
        if not self._started:
            return
        for one in before.values():
            one.listeners.remove(told[one.name])
        for one in upstreams.values():
            one.listeners.append(self._tell[one.name])
        for one in gone:
            self._retiring.add(one, catalog)
        for one in come:
            one.start()
        self._follow_again({one.name for one in come})
        for changed in ("tools", "prompts", "resources"):
            self._publish(Change(changed))

    # -- tasks -----------------------------------------------------------------------------------------------------

    def upstream(self, name: str) -> Upstream | None:
        """One of the upstreams, as they are now."""
        return self._upstreams.get(name)

    def makes_tasks(self) -> bool:
        """Whether any upstream is known to answer calls with tasks."""
        return any(tasks.kept_by(one.capabilities, one.entry) for one in self._upstreams.values())

    def remembers_keys(self, tool: str) -> bool:
        """Whether a tool's upstream finds the task of a call that is sent again with the same idempotency key."""
        route = self.catalog.find("tools", tool)
        one = None if route is None else self._upstreams.get(route.upstream)
        return one is not None and tasks.remembers_keys(one.capabilities, one.entry)

    def exposing(self, upstream: str) -> Callable[[str], str]:
        """An upstream's URI in, the one clients know out."""
        return partial(self.catalog.expose, upstream)

    async def _call_plainly(self, context: Context, route: Route) -> Result:
        """A call whose result must be no task: nobody could ask for it, or it is the run of one already."""
        extensions = context.capabilities["extensions"]
        able = (
            {name: own for name, own in extensions.items() if name != IDENTIFIER}
            if isinstance(extensions, dict)
            else {}
        )
        inner = context.instead(context.params)
        inner.capabilities = {**context.capabilities, "extensions": able}
        try:
            result = await self._forward(inner, route, name=route.name)
        finally:
            # What was noted for the next round is sealed with the request as its client wrote it.
            context.replay = inner.replay
        return self._exposed(context, route, result)

    def _exposed(self, context: Context, route: Route, result: Result) -> Result:
        """The result of a call, its URIs as they are known where the call came from."""
        if context.run is not None and context.run.part == ALONE:
            return result
        return rewriting.call_result(result, self.exposing(route.upstream))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _follow_again(self, names: set[str]) -> None:
        """What clients listen to at a server goes on at the one that took its place; they may have missed something."""
        for uri, (route, count) in list(self._followed.items()):
            if route.upstream in names:
                for _ in range(count):
                    self._upstreams[route.upstream].follow(route.name)
                self._publish(Change("resource", uri, here=True))

    async def _list(self, kind: Kind, context: Context) -> Result:
        cursor = context.params.cursor if isinstance(context.params.cursor, str) else None
        if cursor is None:
            await self._refresh(kind)
        stale = any(upstream.stale(kind) for upstream in self._upstreams.values())
        lacking = self.lacking(kind)
        if lacking:
            self._lacked.add(kind)
        return self.catalog.page(kind, cursor, lacking, stale)

    async def _refresh(self, *kinds: Kind) -> None:
        """Ask every upstream whose list is not good, all at once; a slow one is left behind after a while."""
        due = [(upstream, kind) for upstream in self._upstreams.values() for kind in kinds if upstream.due(kind)]
        if due:
            await asyncio.gather(*(upstream.refresh(kind, self._limits.lists) for upstream, kind in due))

    async def _forward(self, context: Context, route: Route, **own: object) -> Result:
        """Send the request on, with the upstream's own names in it."""
        params = relaying.parameters(context)
        params.update(own)
        uri = context.params.uri
        called = uri if isinstance(uri, str) and context.method == "resources/read" else None
        holder = None if context.replay is None else self._retiring.holder(context)
        upstream = self._upstreams[route.upstream] if holder is None else holder[0]
        upstream.calls += 1
        try:
            return await upstream.call(context, params, called)
        finally:
            upstream.calls -= 1

    def _find(self, kind: Kind, name: object, context: Context | None = None) -> Route | None:
        """Whose tool or prompt this is, as far as is known without waiting for anyone."""
        return self._catalog_of(context).find(kind, name) if isinstance(name, str) else None

    async def _named(self, kind: Kind, name: object) -> Route:
        """Whose tool or prompt this is; an upstream that may have it, and was not heard of yet, is waited for."""
        if not isinstance(name, str):
            raise InvalidParams("Invalid params: 'name' is a string")
        route = self.catalog.find(kind, name)
        owner = None if route is not None else self.catalog.owner(name)
        if owner is not None:
            upstream = await self._reached(owner)
            if upstream is not None and upstream.due(kind):
                await upstream.refresh(kind, self._limits.lists)
            if upstream is None or self._upstreams.get(owner) is not upstream:
                # It was replaced while we waited: whoever has its place now is asked.
                return await self._named(kind, name)
            route = self.catalog.find(kind, name)
            if route is None and upstream.lacks(kind):
                raise unavailable(owner, f"did not tell its {kind} in time", retry=True)
        if route is None:
            raise unknown(kind, name)
        return route

    async def _reached(self, name: str) -> Upstream | None:
        """An upstream, once it is connected; None when it was replaced meanwhile."""
        upstream = self._upstreams[name]
        try:
            await upstream.reach()
        except UpstreamUnavailable:
            if self._upstreams.get(name) is upstream:
                raise
        return upstream if self._upstreams.get(name) is upstream else None

    def _catalog_of(self, context: Context | None) -> Catalog:
        """The catalog to look in: a call that was held open began in one that may be gone."""
        if context is None or context.replay is None:
            return self.catalog
        holder = self._retiring.holder(context)
        return self.catalog if holder is None else holder[1]

    async def _addressed(self, uri: object, context: Context | None = None) -> Route:
        """Where a resource is read."""
        if not isinstance(uri, str):
            raise InvalidParams("Invalid params: 'uri' is a string")
        route = self._catalog_of(context).locate(uri)
        while route is None:
            asked = self._upstreams
            await self._refresh("resources", "templates")
            route = self.catalog.locate(uri)
            if self._upstreams is asked:
                break
        if route is None:
            raise unknown("resources", uri)
        return route

    def _part(self, upstream: Upstream) -> Part:
        return Part(
            upstream.name, self._labels[upstream.name], dict(upstream.shelf.lists), upstream.reads(), upstream.hidden
        )

    def _heard(self, name: str, kind: Kind | None, uri: str | None, everywhere: bool) -> None:
        """An upstream changed: a list, a resource, or its state."""
        if uri is not None:
            # A replica whose clients listen to it hears of it from the upstream.
            self._publish(Change("resource", self.catalog.expose(name, uri), here=not everywhere))
            return
        self._catalog = None
        if kind is not None:
            self._publish(Change(_CHANGES[kind], here=not self._is_news(kind, everywhere)))
            return
        hidden = frozenset(upstream.name for upstream in self._upstreams.values() if upstream.hidden)
        if hidden != self._hidden:
            self._hidden = hidden
            for changed in ("tools", "prompts", "resources"):
                self._publish(Change(changed))

    def _is_news(self, kind: Kind, known: bool) -> bool:
        """Whether clients of all replicas are told of a list that changed.

        Replicas notice one after the other, and whoever was told by the first may have asked the last. What a replica
        learns at its start is no news elsewhere, unless it gave a list out without it.
        """
        news = known or kind in self._lacked
        if not self.lacking(kind):
            self._lacked.discard(kind)
        return news

    def _publish(self, change: Change) -> None:
        for listener in list(self._listeners):
            listener(change)
