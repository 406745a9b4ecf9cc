"""Which scopes a request takes.

What it is for: rules by method, tool, prompt and resource, as data, and the question whether some scopes do.
What may live here: the rules and what follows from them. What may not: how a caller is told, see `granting`.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import UNSET

from trunkline.engine.patterns import matches
from trunkline.errors import ConfigError
from trunkline.protocol import json
from trunkline.protocol.messages import Params

NOBODY: Literal["nobody"] = "nobody"
"""In place of a list of scopes: not with any."""

Needed = tuple[str, ...] | Literal["nobody"]
Rules = Mapping[str, Needed]

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_KIND_OF = {
    "tools/call": "tools",
    "prompts/get": "prompts",
    "resources/read": "resources",
    "resources/subscribe": "resources",
    "resources/unsubscribe": "resources",
}


class Scopes(msgspec.Struct, frozen=True, kw_only=True):
    """The scopes that requests take; whatever rules match a request are needed together.

    Parameters:
        always: for anything at all; what clients are told to ask for first.
        tools, prompts, resources: by name or URI, `*` is any text: the scopes, or `nobody`, which also hides them.
        methods: by method, likewise.
        implies: scope -> the scopes it stands for as well; theirs count too.

    Raises `ConfigError` for what is no scope (RFC 6749, 3.3).

        Scopes(always=("mcp",), tools={"delete_*": ("files.write",)}, implies={"admin": ("mcp", "files.write")})
    """

    always: tuple[str, ...] = ()
    tools: Rules = {}
    prompts: Rules = {}
    resources: Rules = {}
    methods: Rules = {}
    implies: Mapping[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        rules = [
            needed for kind in (self.tools, self.prompts, self.resources, self.methods) for needed in kind.values()
        ]
        lists = [self.always, *(needed for needed in rules if needed != NOBODY), *self.implies.values()]
        for name in (*self.implies, *(name for names in lists for name in names)):
            if not isinstance(name, str) or not _SCOPE.fullmatch(name):
                raise ConfigError(f"{name!r} is no scope: it has no blanks, quotes or backslashes")
        if any(isinstance(names, str) for names in lists):
            raise ConfigError("Scopes are lists of names")


class Rulebook:
    """Answers what a request takes, by rules compiled once."""

    def __init__(self, scopes: Scopes) -> None:
        self.always = frozenset(scopes.always)
        self._rules: Mapping[str, Rules] = {
            "tools": scopes.tools,
            "prompts": scopes.prompts,
            "resources": scopes.resources,
            "methods": scopes.methods,
        }
        self._implies = scopes.implies
        self.hiding = any(NOBODY in self._rules[kind].values() for kind in ("tools", "prompts", "resources"))
        # Names come from callers, so what is remembered of them is bounded.
        self.of = lru_cache(4096)(self._of)
        self.together = lru_cache(4096)(self._together)
        self.held = lru_cache(1024)(self._held)

    def needed(self, method: str, params: Params) -> frozenset[str] | None:
        """The scopes a request takes, all of them; None where none will do."""
        return self.together(method, tuple(_things(method, params)))

    def _together(self, method: str, things: tuple[tuple[str, str], ...]) -> frozenset[str] | None:
        found = [self.of("methods", method), *(self.of(kind, name) for kind, name in things)]
        return None if None in found else self.always.union(*(one for one in found if one is not None))

    def _of(self, kind: str, name: str) -> frozenset[str] | None:
        """The scopes that one thing takes beyond those for everything; None where none will do."""
        found = [needed for pattern, needed in self._rules[kind].items() if matches(pattern, name)]
        if NOBODY in found:
            return None
        return frozenset(scope for needed in found for scope in needed)

    def _held(self, granted: frozenset[str]) -> frozenset[str]:
        """Scopes with all that they imply (Scope Challenge Handling: broader scopes satisfy narrower ones)."""
        held: set[str] = set()
        waiting = list(granted)
        while waiting:
            scope = waiting.pop()
            if scope not in held:
                held.add(scope)
                waiting += self._implies.get(scope, ())
        return frozenset(held)


def _things(method: str, params: Params) -> Iterable[tuple[str, str]]:
    """The tools, prompts and resources a request is about."""
    kind = _KIND_OF.get(method)
    if kind is not None:
        name = params.uri if kind == "resources" else params.name
        return () if name is UNSET else ((kind, name),)
    if method == "completion/complete":
        return _completed(_plain(params).get("ref"))
    if method == "subscriptions/listen":
        wanted = _plain(params).get("notifications")
        uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
        return [("resources", uri) for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else ()
    return ()


def _completed(ref: object) -> Iterable[tuple[str, str]]:
    """What a completion is for: a prompt, or the template of a resource."""
    if not isinstance(ref, dict):
        return ()
    name, uri = ref.get("name"), ref.get("uri")
    if isinstance(uri, str):
        return (("resources", uri),)
    return (("prompts", name),) if isinstance(name, str) else ()


def _plain(params: Params) -> Mapping[str, object]:
    whole = json.plain(params.raw)
    return whole if isinstance(whole, dict) else {}
