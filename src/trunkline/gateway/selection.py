"""What an endpoint shows of a gateway, and how it shows it.

What it is for: patterns and edits in, the names, definitions and arguments clients see out.
What may live here: pure functions and values; the same on every replica, whatever upstreams are up.
What may not: asking upstreams, waiting (`endpoint.py`).

Routing needs no list: an edit names one thing exactly, so what a renamed thing is called at the gateway is a table made
of the configuration, and everything else keeps its name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from trunkline.engine.patterns import matches
from trunkline.gateway.listing import IDENTITY, Item, Kind
from trunkline.gateway.names import SEPARATOR

Named = Literal["tools", "prompts"]
"""The kinds that can be edited."""

ALL = ("*",)


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """One tool or prompt, shown otherwise than its server does.

    Parameters:
        name, title, description: instead of its own; None leaves them.
        pin: arguments that are filled in here: clients neither see nor set them.
    """

    name: str | None = None
    title: str | None = None
    description: str | None = None
    pin: Mapping[str, object] = {}


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown, by the gateway's names; `*` in a pattern is any text.

    Parameters:
        tools, prompts, resources: patterns of names and, for resources and their templates, of URIs.
        edit_tools, edit_prompts: edits by name; a name that no pattern takes in is not shown either.
        instructions: guidance for the model; None gives the gateway's own.
    """

    tools: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    edit_tools: Mapping[str, Edit] = {}
    edit_prompts: Mapping[str, Edit] = {}
    instructions: str | None = None


EVERYTHING = Selection(tools=ALL, prompts=ALL, resources=ALL)
"""The whole gateway as it is."""


class Chosen:
    """One kind of thing as an endpoint has it.

    Parameters:
        kind: what is chosen.
        patterns: what is taken in, by the gateway's names or URIs.
        edits: by the gateway's names.
    """

    def __init__(self, kind: Kind, patterns: Sequence[str], edits: Mapping[str, Edit] | None = None) -> None:
        self.kind = kind
        self.patterns = tuple(patterns)
        self._matches = pattern_of(patterns)
        self._edits = {name: edit for name, edit in (edits or {}).items() if self._matches(name)}
        self._real: dict[str, str] = {}
        for real, edit in self._edits.items():
            self._real.setdefault(edit.name or real, real)
        self._moved = {real for real, edit in self._edits.items() if edit.name not in (None, real)}

    def takes(self, name: str) -> bool:
        """Whether a pattern takes in this name of the gateway's."""
        return self._matches(name)

    def concerns(self, label: str | None) -> bool:
        """Whether something of the upstream with this label may be taken in."""
        if label is None or self.kind in ("resources", "templates"):
            return bool(self.patterns)
        prefix = label + SEPARATOR
        starts = [pattern.partition("*") for pattern in self.patterns]
        return any(start.startswith(prefix) or (star and prefix.startswith(start)) for start, star, _ in starts)

    def real(self, shown: str) -> str | None:
        """The gateway's name of what clients know as `shown`; None for what this endpoint does not have."""
        renamed = self._real.get(shown)
        if renamed is not None:
            return renamed
        return shown if shown not in self._moved and self._matches(shown) else None

    def pins(self, real: str) -> Mapping[str, object]:
        """The arguments that are filled in."""
        edit = self._edits.get(real)
        return edit.pin if edit is not None else {}

    def shown(self, items: Iterable[Item]) -> list[Item]:
        """The items of this endpoint, in the order of the gateway, as clients see them."""
        return list(self._shown(items))

    def unknown(self, items: Iterable[Item]) -> list[str]:
        """What was named exactly and is not there, and what was to be filled in and cannot be, in words."""
        there = {str(item[IDENTITY[self.kind]]): item for item in items}
        one = self.kind[:-1]
        exact = dict.fromkeys([*(name for name in self.patterns if "*" not in name), *self._edits])
        said = [f"there is no {one} {name[:100]!r}" for name in exact if name not in there]
        for pattern in self.patterns:
            if "*" in pattern and not any(map(pattern_of([pattern]), there)):
                said.append(f"no {one} matches {pattern[:100]!r}")
        for real, edit in self._edits.items():
            if real in there:
                missing = sorted(set(edit.pin) - arguments(self.kind, there[real]))
                said += [f"{one} {real!r} has no argument {name[:100]!r} to fill in" for name in missing]
            if edit.name is not None and edit.name != real and self._hides(edit.name, there):
                said.append(f"{one} {edit.name!r} of the gateway is hidden by {real!r}, which has its name here")
        return said

    def _hides(self, name: str, there: Mapping[str, Item]) -> bool:
        return name in there and name not in self._moved and self._matches(name)

    def _shown(self, items: Iterable[Item]) -> Iterator[Item]:
        key = IDENTITY[self.kind]
        for item in items:
            real = str(item[key])
            if not self._matches(real):
                continue
            edit = self._edits.get(real)
            name = real if edit is None else edit.name or real
            if self.real(name) == real:
                yield item if edit is None else edited(self.kind, item, name, edit)


def pattern_of(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a text matches one of the patterns; `*` is any text, everything else stands for itself."""
    texts = tuple(patterns)
    return lambda text: any(matches(pattern, text) for pattern in texts)


def edited(kind: Kind, item: Item, name: str, edit: Edit) -> Item:
    """A tool or prompt as an edit has it."""
    told = {"title": edit.title, "description": edit.description}
    shown: Item = {**item, "name": name, **{field: text for field, text in told.items() if text is not None}}
    if edit.title is not None and isinstance(item.get("annotations"), dict):
        # The older place of the title (server/tools, Tool): some clients show this one.
        shown["annotations"] = {key: value for key, value in item["annotations"].items() if key != "title"}  # type: ignore[attr-defined]
    if not edit.pin:
        return shown
    if kind == "tools":
        shown["inputSchema"] = without(item["inputSchema"], frozenset(edit.pin))
    elif isinstance(item.get("arguments"), list):
        shown["arguments"] = [one for one in item["arguments"] if _name(one) not in edit.pin]  # type: ignore[attr-defined]
    return shown


def without(schema: object, pinned: frozenset[str]) -> object:
    """A schema of an object, for objects that lack the pinned properties."""
    if not isinstance(schema, dict):
        return schema
    left = dict(schema)
    if isinstance(schema.get("properties"), dict):
        left["properties"] = {name: own for name, own in schema["properties"].items() if name not in pinned}
    if isinstance(schema.get("required"), list):
        left["required"] = [name for name in schema["required"] if name not in pinned]
        if not left["required"]:
            del left["required"]
    for branch in ("allOf", "anyOf", "oneOf"):
        if isinstance(schema.get(branch), list):
            left[branch] = [without(one, pinned) for one in schema[branch]]
    return left


def arguments(kind: Kind, item: Item) -> set[str]:
    """The names of the arguments a tool or prompt has."""
    if kind == "tools":
        schema = item.get("inputSchema")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        return set(properties) if isinstance(properties, dict) else set()
    declared = item.get("arguments")
    return {_name(one) for one in declared} if isinstance(declared, list) else set()


def _name(argument: object) -> str:
    return str(argument.get("name")) if isinstance(argument, dict) else ""
