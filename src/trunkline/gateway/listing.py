"""What one upstream says it has.

What it is for: take an upstream's list answers, keep what clients can bear, say what was left out.
What may live here: the record of a list, the rules an item must meet, as data and pure functions.
What may not: other upstreams, asking.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from trunkline.protocol import json, schema
from trunkline.protocol.headers import HeaderParam

Kind = Literal["tools", "prompts", "resources", "templates"]
KINDS: tuple[Kind, ...] = ("tools", "prompts", "resources", "templates")

METHODS: dict[Kind, str] = {
    "tools": "tools/list",
    "prompts": "prompts/list",
    "resources": "resources/list",
    "templates": "resources/templates/list",
}
MEMBERS: dict[Kind, str] = {
    "tools": "tools",
    "prompts": "prompts",
    "resources": "resources",
    "templates": "resourceTemplates",
}
"""Where the items stand in the result."""

IDENTITY: dict[Kind, str] = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
"""What an item is asked for by."""

_Types = Mapping[str, type]
_REQUIRED: dict[Kind, _Types] = {
    "tools": {"name": str, "inputSchema": dict},
    "prompts": {"name": str},
    "resources": {"uri": str, "name": str},
    "templates": {"uriTemplate": str, "name": str},
}
_SHARED: _Types = {"title": str, "description": str, "icons": list, "_meta": dict}
_OPTIONAL: dict[Kind, _Types] = {
    "tools": {**_SHARED, "outputSchema": dict, "annotations": dict},
    "prompts": {**_SHARED, "arguments": list},
    "resources": {**_SHARED, "mimeType": str, "annotations": dict, "size": int},
    "templates": {**_SHARED, "mimeType": str, "annotations": dict},
}

Item = dict[str, object]


class Listed(msgspec.Struct, frozen=True):
    """One kind of list of one upstream, all its pages, as it last told it.

    `ttl_ms` is None where it gave no hint; `faults` says what was left out, for the operator. `refused` are the tools
    that are not what was pinned, with the parts that changed; they keep their names, and are neither shown nor called.
    """

    items: tuple[Item, ...] = ()
    ttl_ms: int | None = None
    private: bool = False
    faults: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, ...]] = {}
    headers: Mapping[str, tuple[HeaderParam, ...]] = {}
    """Tool -> the parameters it mirrors into headers."""


def listed(kind: Kind, pages: Iterable[Mapping[str, object]], admits: Callable[[str], bool] | None = None) -> Listed:
    """The record of a list from its pages, without what breaks the schema: one bad item never breaks a list.

    Parameters:
        kind: what is listed.
        pages: the results of the list requests, in order.
        admits: whether a tool of this name is let through.
    """
    items: dict[str, Item] = {}
    faults: list[str] = []
    hints: list[tuple[int | None, bool]] = []
    headers: dict[str, tuple[HeaderParam, ...]] = {}
    for page in pages:
        hints.append(_hints(page))
        members = page.get(MEMBERS[kind])
        if not isinstance(members, list):
            faults.append(f"{METHODS[kind]}: the answer has no list {MEMBERS[kind]!r}")
            continue
        for member in members:
            try:
                item, name = _checked(kind, member)
                if name in items:
                    raise ValueError(f"listed twice: {name[:80]!r}")
                if kind == "tools":
                    headers[name] = schema.header_params(item["inputSchema"])
            except ValueError as error:
                faults.append(f"{METHODS[kind]}: {error}")
                continue
            if kind != "tools" or admits is None or admits(name):
                items[name] = item
    ttls = [ttl for ttl, _ in hints if ttl is not None]
    return Listed(
        items=tuple(items.values()),
        ttl_ms=min(ttls) if ttls else None,
        private=any(private for _, private in hints),
        faults=tuple(faults[:20]),
        headers={name: params for name, params in headers.items() if params and name in items},
    )


def _hints(page: Mapping[str, object]) -> tuple[int | None, bool]:
    """`ttlMs` and whether the scope is private (utilities/caching); a negative time counts as 0."""
    ttl = json.number(page.get("ttlMs"))
    return (None if ttl is None else int(min(max(ttl, 0), 2**53))), page.get("cacheScope") == "private"


def _checked(kind: Kind, member: object) -> tuple[Item, str]:
    """The item and its name, without optional members of a wrong type. Raises `ValueError` when it cannot be used."""
    if not isinstance(member, dict):
        raise ValueError("an item is not an object")
    identity = member.get(IDENTITY[kind])
    if not isinstance(identity, str):
        raise ValueError(f"an item has no {IDENTITY[kind]!r}")
    item = member
    for field, type_ in _OPTIONAL[kind].items():
        # null is what many servers write for "absent", and what strict clients refuse the whole list for.
        if field in item and not isinstance(item[field], type_):
            item = {key: value for key, value in item.items() if key != field}
    if kind == "tools":
        item = {**item, "inputSchema": _object_schema(item.get("inputSchema"), identity)}
    elif not isinstance(item.get("name"), str):
        item = {**item, "name": identity}
    for field, type_ in _REQUIRED[kind].items():
        if not isinstance(item.get(field), type_):
            raise ValueError(f"{identity[:80]!r} has no {field!r}")
    return item, identity


def _object_schema(given: object, name: str) -> Item:
    if not isinstance(given, dict):
        raise ValueError(f"{name[:80]!r} has no 'inputSchema'")
    if given.get("type", "object") != "object":
        raise ValueError(f"the 'inputSchema' of {name[:80]!r} is not of an object")
    try:
        schema.check_bounds(given)
    except ValueError as error:
        raise ValueError(f"the 'inputSchema' of {name[:80]!r}: {error}") from None
    return given if "type" in given else {"type": "object", **given}
