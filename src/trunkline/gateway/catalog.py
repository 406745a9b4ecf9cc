"""The merged catalog of all upstreams and the tables calls are routed by.

What it is for: one immutable value that answers every list and every "whose is it", replaced as a whole on change.
What may live here: merging, routing, caching hints of merged lists; pure.
What may not: asking upstreams, waiting, knowing why one is sick.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from trunkline.engine.doors import Result
from trunkline.errors import InvalidParams, ResourceNotFound
from trunkline.gateway import names, rewriting, uris
from trunkline.gateway.listing import IDENTITY, KINDS, MEMBERS, Item, Kind, Listed
from trunkline.protocol.headers import HeaderParam

UNAVAILABLE_KEY = "dev.trunkline/unavailable"
"""`_meta` key of a list: the upstreams it lacks."""

PAGE = 1000
"""Items in one page of a merged list."""

SILENT_TTL_MS = 60_000
"""How long a list counts as fresh whose upstream gives no hint (every legacy one)."""

LACKING_TTL_MS = 5_000
"""How long a list counts as fresh that lacks an upstream, or shows what a sick one last had."""


class Part(msgspec.Struct, frozen=True):
    """One upstream's share.

    Parameters:
        upstream: its configured name.
        label: what its names begin with; None leaves names and URIs alone, for an upstream under its own path.
        lists: what it last told, for each kind it was asked for.
        reads: whether it has resources at all.
        hidden: its items are in no list, but stay its own: nobody else takes over its URIs meanwhile.
    """

    upstream: str
    label: str | None
    lists: Mapping[Kind, Listed] = {}
    reads: bool = True
    hidden: bool = False


class Route(msgspec.Struct, frozen=True):
    """Whose something is, and what its owner calls it."""

    upstream: str
    name: str


class Catalog:
    """What all upstreams have, in the order of the configuration and, within it, of each upstream.

    Parameters:
        parts: one per upstream, in the order of the configuration.
    """

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self.parts = tuple(parts)
        self._labels = {part.label: part.upstream for part in parts if part.label is not None}
        self._label_of = {part.upstream: part.label for part in parts}
        self._items: dict[Kind, list[Item]] = {kind: [] for kind in KINDS}
        self._refused: list[Item] = []
        self._routes: dict[Kind, dict[str, Route]] = {kind: {} for kind in KINDS}
        self._headers: dict[str, tuple[HeaderParam, ...]] = {}
        self._templates: list[tuple[uris.Template, Route]] = []
        readers = [part.upstream for part in parts if part.reads]
        self._sole = readers[0] if len(readers) == 1 else None
        self._mute = {part.upstream for part in parts if not part.reads}
        for part in parts:
            self._add_addressed(part, "resources")
            self._add_addressed(part, "templates")
        self._templates = self._matchers()
        # Tools come last: they may point at resources (`ui://`), wherever those ended up.
        for part in parts:
            self._add_named(part, "prompts")
            self._add_named(part, "tools")

    # -- whose is it -----------------------------------------------------------------------------------------------

    def find(self, kind: Kind, name: str) -> Route | None:
        """The owner of a listed thing, by the name or URI clients know."""
        return self._routes[kind].get(name)

    def owner(self, name: str) -> str | None:
        """The one upstream that may have a tool or prompt of this name, listed or not."""
        if None in self._label_of.values():
            return self.parts[0].upstream
        return self._labels.get(name.partition(names.SEPARATOR)[0])

    def locate(self, uri: str) -> Route | None:
        """The upstream to read a URI from: rewritten form, list, template, sole upstream with resources; else None."""
        restored = self._restore(uri)
        if restored is not None:
            return restored
        route = self._routes["resources"].get(uri)
        if route is not None:
            return route
        for template, found in self._templates:
            if template.matches(uri):
                return Route(found.upstream, uri)
        return Route(self._sole, uri) if self._sole is not None else None

    def header_params(self, tool: str) -> tuple[HeaderParam, ...]:
        """The parameters a tool mirrors into headers, by the name clients know."""
        return self._headers.get(tool, ())

    # -- how is it called ------------------------------------------------------------------------------------------

    def expose(self, upstream: str, uri: str) -> str:
        """The URI under which clients reach what an upstream calls `uri`.

        It stays while it leads back to this upstream, or nowhere although it need not: a web address anyone may
        fetch, or a URI of an upstream that has no resources to read.
        """
        route = self.locate(uri)
        if route is not None and route.upstream == upstream and route.name == uri:
            return uri
        if route is None and (upstream in self._mute or uris.is_web(uri)):
            return uri
        label = self._label_of.get(upstream)
        return uri if label is None else uris.rewrite(label, uri)

    # -- lists -----------------------------------------------------------------------------------------------------

    def items(self, kind: Kind) -> Sequence[Item]:
        """Everything of a kind that lists show, under the names clients know."""
        return self._items[kind]

    def refused(self) -> Sequence[Item]:
        """The tools that are there and not shown, since they are not what was pinned."""
        return self._refused

    def page(self, kind: Kind, cursor: str | None, lacking: Sequence[str] = (), stale: bool = False) -> Result:
        """The answer to a list request.

        Parameters:
            kind: what is listed.
            cursor: where a former page said the next one begins.
            lacking: upstreams whose items could not be had.
            stale: some items are what an upstream had before it fell sick.

        Raises `InvalidParams` for a cursor of no page.
        """
        result = {**paged(kind, self._items[kind], cursor), **self._hints(kind, bool(lacking) or stale)}
        if lacking:
            result["_meta"] = {UNAVAILABLE_KEY: list(lacking)}
        return result

    def _hints(self, kind: Kind, sick: bool) -> Result:
        lists = [part.lists[kind] for part in self.parts if kind in part.lists and not part.hidden]
        ttls = [SILENT_TTL_MS if one.ttl_ms is None else one.ttl_ms for one in lists]
        ttl = min(ttls, default=SILENT_TTL_MS)
        return {
            "ttlMs": min(ttl, LACKING_TTL_MS) if sick else ttl,
            "cacheScope": "private" if any(one.private for one in lists) else "public",
        }

    def _add_named(self, part: Part, kind: Kind) -> None:
        share = part.lists.get(kind)
        if share is None:
            return
        own = [str(item["name"]) for item in share.items]
        shown = own if part.label is None else names.federated(part.label, own)
        for item, name, seen in zip(share.items, own, shown, strict=True):
            if kind == "tools":
                item = rewriting.tool(item, partial(self.expose, part.upstream))
            if not part.hidden:
                items = self._refused if name in share.refused else self._items[kind]
                items.append(item if seen == name else {**item, "name": seen})
            self._routes[kind][seen] = Route(part.upstream, name)
            if kind == "tools" and name in share.headers:
                self._headers[seen] = share.headers[name]

    def _add_addressed(self, part: Part, kind: Kind) -> None:
        share = part.lists.get(kind)
        if share is None:
            return
        key = IDENTITY[kind]
        for item in share.items:
            uri = str(item[key])
            seen = uri
            if part.label is not None and (uri in self._routes[kind] or self._restore(uri) is not None):
                seen = uris.rewrite(part.label, uri)
            if not part.hidden:
                self._items[kind].append(item if seen == uri else {**item, key: seen})
            self._routes[kind][seen] = Route(part.upstream, uri)

    def _matchers(self) -> list[tuple[uris.Template, Route]]:
        """The templates that kept their form, the most literal first, so that `a://b/{x}` goes before `a://{x}`."""
        kept = [(uris.Template(route.name), route) for seen, route in self._routes["templates"].items()
                if seen == route.name]  # fmt: skip
        return sorted(kept, key=lambda entry: -entry[0].weight)

    def _restore(self, uri: str) -> Route | None:
        restored = uris.restore(uri)
        upstream = self._labels.get(restored[0]) if restored is not None else None
        return Route(upstream, restored[1]) if restored is not None and upstream is not None else None


def paged(kind: Kind, items: Sequence[Item], cursor: str | None) -> Result:
    """One page of a list. Raises `InvalidParams` for a cursor of no page."""
    start = _start(cursor, len(items))
    result: Result = {MEMBERS[kind]: list(items[start : start + PAGE])}
    if start + PAGE < len(items):
        result["nextCursor"] = str(start + PAGE)
    return result


def _start(cursor: str | None, count: int) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9 or not 0 < int(cursor) <= count:
        raise InvalidParams("Invalid params: this cursor belongs to no page of this list; list again without one")
    return int(cursor)


def unknown(kind: Kind, name: str) -> InvalidParams:
    """The error for a thing nobody has."""
    if kind in ("resources", "templates"):
        return ResourceNotFound(name[:2000])
    return InvalidParams(f"Unknown {kind[:-1]}: no upstream has {name[:100]!r}; list the {kind} for what there is")
