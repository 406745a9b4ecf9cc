"""A named selection of a gateway, as a provider of its own.

What it is for: answer clients of one endpoint with what a `Selection` shows, through the gateway it is taken from.
What may live here: the way of requests, lists and change signals through a selection.
What may not: what a selection means (`selection.py`), upstreams (`face.py`), progressive discovery (`progressive.py`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from trunkline.engine.context import Context
from trunkline.engine.doors import Change, Result
from trunkline.errors import InvalidParams
from trunkline.gateway import relaying, uris
from trunkline.gateway.catalog import UNAVAILABLE_KEY, Catalog, paged, unknown
from trunkline.gateway.face import Face
from trunkline.gateway.listing import KINDS, Item, Kind
from trunkline.gateway.selection import Chosen, Selection
from trunkline.protocol import json
from trunkline.protocol.headers import HeaderParam
from trunkline.protocol.messages import Params

if TYPE_CHECKING:
    from trunkline.gateway.carrying import Carrying

_LISTED: Mapping[str, tuple[Kind, ...]] = {
    "tools": ("tools",),
    "prompts": ("prompts",),
    "resources": ("resources", "templates"),
}
"""The lists a change signal is about."""


class _Shown(msgspec.Struct, frozen=True):
    """What one catalog comes to here: the lists, and the URIs the shown tools point at."""

    catalog: Catalog
    lists: dict[Kind, list[Item]]
    templates: tuple[uris.Template, ...]
    pointed: frozenset[str]


class Endpoint:
    """A provider over a selection of a gateway.

    Parameters:
        face: the gateway; it lives longer than its endpoints, which neither start nor stop it.
        selection: what is shown.

        endpoint = Endpoint(federation, Selection(tools=("time__*",)))
        application = Application(Engine(endpoint))
    """

    def __init__(self, face: Face, selection: Selection) -> None:
        self._face = face
        self._selection = selection
        self._chosen: dict[Kind, Chosen] = {
            "tools": Chosen("tools", selection.tools, selection.edit_tools),
            "prompts": Chosen("prompts", selection.prompts, selection.edit_prompts),
            "resources": Chosen("resources", selection.resources),
            "templates": Chosen("templates", selection.resources),
        }
        self._made: _Shown | None = None
        self.carrying: Carrying | None = None
        """What carries tasks of the upstreams for clients of this endpoint."""

    # -- what is offered -------------------------------------------------------------------------------------------

    @property
    def face(self) -> Face:
        """The gateway it is taken from."""
        return self._face

    def info(self) -> Mapping[str, object]:
        """The gateway's record."""
        return self._face.info()

    def capabilities(self) -> Mapping[str, object]:
        """What the gateway can carry, of the kinds that are chosen; tools may point at resources at any time."""
        offered = {"tools": bool(self._selection.tools), "prompts": bool(self._selection.prompts)}
        return {name: own for name, own in self._face.capabilities().items() if offered.get(name, True)}

    def instructions(self) -> str | None:
        """This endpoint's guidance, or the gateway's."""
        return self._selection.instructions or self._face.instructions()

    def freshness(self) -> Mapping[str, object]:
        """As the gateway's."""
        return self._face.freshness()

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        """The parameters a tool mirrors into `Mcp-Param-*` headers, without those that are filled in."""
        chosen = self._chosen["tools"]
        real = chosen.real(tool)
        if real is None:
            return ()
        pinned = chosen.pins(real)
        return tuple(one for one in self._face.header_params(real) if one.path[0] not in pinned)

    def known_as(self, context: Context) -> str | None:
        """What the gateway calls the tool or prompt of a request, where that is another name."""
        name = context.params.name
        if not isinstance(name, str) or context.method not in ("tools/call", "prompts/get"):
            return None
        real = self._chosen["tools" if context.method == "tools/call" else "prompts"].real(name)
        return None if real == name else real

    def known_name(self, kind: str, name: str) -> str:
        """What the gateway calls a tool or prompt of this endpoint; the name itself where it has none."""
        return (self._chosen[kind].real(name) if kind in ("tools", "prompts") else None) or name  # type: ignore[index]

    def meant(self, context: Context) -> Params | None:
        """The parameters of a tool's call as the gateway is given them; None for a call that does not reach it."""
        name = context.params.name
        real = self._chosen["tools"].real(name) if isinstance(name, str) else None
        if real is None:
            return None
        pins = self._chosen["tools"].pins(real)
        return None if pins and pins.keys() & _arguments(context).keys() else _filled(context, real, pins)

    def count(self, kind: Kind) -> int | None:
        """How many of a kind are shown; None before any is known."""
        shown = self._shown.lists[kind]
        return len(shown) if shown or not self._lacking(kind) else None

    def problems(self) -> list[str]:
        """What the selection names and the gateway does not have; judged when all its lists are known."""
        said: list[str] = []
        catalog = self._face.catalog
        items = catalog.items
        named: tuple[Kind, ...] = ("tools", "prompts")
        for kind in named:
            if not self._lacking(kind):
                said += self._chosen[kind].unknown([*items(kind), *(catalog.refused() if kind == "tools" else ())])
        if not self._lacking("resources", "templates"):
            both = [*items("resources"), *({"uri": one["uriTemplate"]} for one in items("templates"))]
            said += self._chosen["resources"].unknown(both)
        return said

    # -- lists -----------------------------------------------------------------------------------------------------

    async def list_tools(self, context: Context) -> Result:
        """Answer `tools/list`."""
        return await self._list("tools", context, self._face.list_tools)

    async def list_resources(self, context: Context) -> Result:
        """Answer `resources/list`."""
        return await self._list("resources", context, self._face.list_resources)

    async def list_templates(self, context: Context) -> Result:
        """Answer `resources/templates/list`."""
        return await self._list("templates", context, self._face.list_templates)

    async def list_prompts(self, context: Context) -> Result:
        """Answer `prompts/list`."""
        return await self._list("prompts", context, self._face.list_prompts)

    # -- calls -----------------------------------------------------------------------------------------------------

    async def call_tool(self, context: Context) -> Result:
        """Answer `tools/call`."""
        real = self._real("tools", context.params.name)
        pins = self._chosen["tools"].pins(real)
        set_here = sorted(pins.keys() & _arguments(context).keys()) if pins else ()
        if set_here:
            # For the model to read and try again (server/tools, Error Handling).
            text = f"The argument {set_here[0]!r} is fixed at this endpoint: leave it out."
            return {"content": [{"type": "text", "text": text}], "isError": True}
        call = partial(self._face.call_tool, carrying=self.carrying)
        return await self._through(context, _filled(context, real, pins), call)

    async def get_prompt(self, context: Context) -> Result:
        """Answer `prompts/get`."""
        real = self._real("prompts", context.params.name)
        pins = self._chosen["prompts"].pins(real)
        set_here = sorted(pins.keys() & _arguments(context).keys()) if pins else ()
        if set_here:
            raise InvalidParams(f"Invalid params: the argument {set_here[0]!r} is fixed at this endpoint: leave it out")
        return await self._through(context, _filled(context, real, pins), self._face.get_prompt)

    async def read_resource(self, context: Context) -> Result:
        """Answer `resources/read`."""
        await self._admit(context, context.params.uri)
        return await self._face.read_resource(context)

    async def complete(self, context: Context) -> Result:
        """Answer `completion/complete`."""
        given = relaying.parameters(context)
        ref = given.get("ref")
        if isinstance(ref, dict) and ref.get("type") == "ref/prompt":
            given["ref"] = {**ref, "name": self._real("prompts", ref.get("name"))}
            params = replace(context.params, raw=Raw(json.encode(given)))
            return await self._through(context, params, self._face.complete)
        if isinstance(ref, dict) and ref.get("type") == "ref/resource":
            await self._admit(context, ref.get("uri"))
        return await self._face.complete(context)

    # -- changes ---------------------------------------------------------------------------------------------------

    async def follow(self, context: Context, uris: Sequence[str]) -> None:
        """Someone starts to listen to these resources: all of them or, raising, none."""
        for uri in uris:
            await self._admit(context, uri)
        await self._face.follow(context, uris)

    async def unfollow(self, context: Context, uris: Sequence[str]) -> None:
        """A listener to these resources left."""
        await self._face.unfollow(context, uris)

    def watch(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Be told of changes of what is shown; returns what ends it."""
        told = self._shown

        def heard(change: Change) -> None:
            nonlocal told
            now = self._shown
            kinds = _LISTED.get(change.kind, ())
            same = [told.lists[kind] == now.lists[kind] for kind in kinds]
            told = _Shown(now.catalog, {**told.lists, **{kind: now.lists[kind] for kind in kinds}}, (), frozenset())
            if not kinds or not all(same):
                listener(change)

        return self._face.watch(heard)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Nothing: the gateway is started for itself."""

    async def stop(self) -> None:
        """Nothing: the gateway is stopped for itself."""

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _shown(self) -> _Shown:
        catalog = self._face.catalog
        if self._made is None or self._made.catalog is not catalog:
            lists = {kind: self._chosen[kind].shown(catalog.items(kind)) for kind in KINDS}
            templates = tuple(uris.Template(str(one["uriTemplate"])) for one in lists["templates"])
            pointed = frozenset(uri for tool in lists["tools"] for uri in _interfaces(tool))
            self._made = _Shown(catalog, lists, templates, pointed)
        return self._made

    async def _list(self, kind: Kind, context: Context, ask: Callable[[Context], Awaitable[Result]]) -> Result:
        cursor = context.params.cursor
        whole = await ask(context if cursor is UNSET else context.instead(replace(context.params, cursor=UNSET)))
        page = paged(kind, self._shown.lists[kind], None if cursor is UNSET else cursor)
        lacking = self._lacking(kind)
        if lacking:
            page["_meta"] = {UNAVAILABLE_KEY: lacking}
        return {**page, "ttlMs": whole["ttlMs"], "cacheScope": whole["cacheScope"]}

    def _lacking(self, *kinds: Kind) -> list[str]:
        """The upstreams that are missing in these lists, of those that could be in them."""
        missing = {name for kind in kinds for name in self._face.lacking(kind)}
        parts = self._face.catalog.parts if missing else ()
        return [
            part.upstream
            for part in parts
            if part.upstream in missing and any(self._chosen[kind].concerns(part.label) for kind in kinds)
        ]

    def _real(self, kind: Kind, shown: object) -> str:
        """What the gateway calls it. Raises `InvalidParams` for what this endpoint does not have."""
        if not isinstance(shown, str):
            raise InvalidParams("Invalid params: 'name' is a string")
        real = self._chosen[kind].real(shown)
        if real is None:
            raise unknown(kind, shown)
        return real

    async def _through(
        self, context: Context, params: Params, answer: Callable[[Context], Awaitable[Result]]
    ) -> Result:
        if params is context.params:
            return await answer(context)
        inner = context.instead(params)
        try:
            return await answer(inner)
        finally:
            # What was noted for the next round is sealed with the request as its client wrote it.
            context.replay = inner.replay

    async def _admit(self, context: Context, uri: object) -> None:
        """Refuse a resource that is not of this endpoint, whoever has it. Raises `ResourceNotFound`."""
        if not isinstance(uri, str):
            raise InvalidParams("Invalid params: 'uri' is a string")
        if self._has(uri):
            return
        first = context.instead(Params())
        for ask in (self._face.list_templates, self._face.list_tools):
            await ask(first)
        if not self._has(uri):
            raise unknown("resources", uri)

    def _has(self, uri: str) -> bool:
        """Whether it is chosen, of a chosen template, or the interface of a chosen tool."""
        if self._chosen["resources"].takes(uri):
            return True
        shown = self._shown
        return uri in shown.pointed or any(template.matches(uri) for template in shown.templates)


def _arguments(context: Context) -> dict[str, object]:
    given = relaying.parameters(context).get("arguments")
    return given if isinstance(given, dict) else {}


def _filled(context: Context, real: str, pins: Mapping[str, object]) -> Params:
    """The parameters under the gateway's name, with what is filled in."""
    params = context.params
    if not pins:
        return params if params.name == real else replace(params, name=real)
    given = {**relaying.parameters(context), "arguments": {**_arguments(context), **pins}}
    return replace(params, name=real, arguments=Raw(json.encode(given["arguments"])), raw=Raw(json.encode(given)))


def _interfaces(tool: Item) -> list[str]:
    """The resources a tool's `_meta` points at (MCP Apps)."""
    meta = tool.get("_meta")
    if not isinstance(meta, dict):
        return []
    ui = meta.get("ui")
    found = [meta.get("ui/resourceUri"), ui.get("resourceUri") if isinstance(ui, dict) else None]
    return [uri for uri in found if isinstance(uri, str)]
