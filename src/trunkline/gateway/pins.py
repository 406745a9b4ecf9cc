"""Pins: the definitions of an upstream's tools that somebody has approved, as digests.

What it is for: a tool that was approved for what it said must not be shown or called once it says something else.
What may live here: the digest of a definition, pins as values, what they say of a list; pure.
What may not: the lock file (`assembly/`), asking upstreams, refusing calls (`upstream.py`).

Held against its pin is what a client would be shown, under the upstream's own name: every member but `icons`, which are
addresses a model never reads and whose content may change anyway. `_meta` counts: hosts act on it (MCP Apps names the
interface of a tool there). The `instructions` of an upstream are pinned beside its tools: a model reads them too.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii

import msgspec

from trunkline.gateway.listing import Item, Listed
from trunkline.portable.model import PinMode

Parts = Mapping[str, str]
"""The parts of one definition, each as its digest."""

Digested = dict[str, tuple[Item, Parts]]
"""The tools of one list, by name, with the digests of each."""

OTHER = "other"
"""The part that stands for all members without one of their own: what an upstream makes up adds no line to anything."""

_OWN = frozenset(("_meta", "annotations", "description", "execution", "inputSchema", "outputSchema", "title"))
_LEFT_OUT = frozenset(("name", "icons"))
_WORDS = {"inputSchema": "input schema", "outputSchema": "output schema", OTHER: "other members"}

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,6}))?")
_PLAIN_ZEROS = 300
"""Zeros that are written out behind a whole number; a larger one keeps an exponent."""


class ServerPins(msgspec.Struct, frozen=True):
    """What was approved of one upstream.

    Parameters:
        instructions: their digest; None where it gave none.
        tools: by the upstream's own names.
    """

    instructions: str | None = None
    tools: Mapping[str, Parts] = {}


class Pinning(msgspec.Struct, frozen=True):
    """How one upstream is held to its pins.

    Parameters:
        mode: `off` holds it to nothing; `changed` refuses what is pinned and differs; `strict` also what is not pinned.
        pins: None where nothing of this upstream was ever pinned.

        Pinning("strict").refused({"add": parts({"name": "add", "description": "adds"})})  # {"add": ()}
    """

    mode: PinMode = "off"
    pins: ServerPins | None = None

    def refused(self, tools: Mapping[str, Parts]) -> dict[str, tuple[str, ...]]:
        """The tools that are not to be shown or called, each with the parts that changed; none for what has no pin."""
        if self.mode == "off":
            return {}
        pinned = self.pins.tools if self.pins is not None else {}
        found: dict[str, tuple[str, ...]] = {}
        for name, now in tools.items():
            pin = pinned.get(name)
            if pin is None and self.mode == "strict":
                found[name] = ()
            elif pin is not None and pin != now:
                found[name] = differing(pin, now)
        return found

    def withholds(self, instructions: str | None) -> str:
        """Why an upstream's instructions are not to be passed on; empty when they may be."""
        if self.mode == "off" or not instructions:
            return ""
        if self.pins is None:
            return "instructions: not pinned" if self.mode == "strict" else ""
        return "" if self.pins.instructions == digest(instructions) else "instructions: changed"


OFF = Pinning()


def pins_of(instructions: str | None, items: Iterable[Item]) -> ServerPins:
    """The pins that approve an upstream as it is now."""
    given = digest(instructions) if instructions else None
    return ServerPins(given, {str(item["name"]): parts(item) for item in items})


def parts(item: Item) -> Parts:
    """The digest of each part of a definition.

    parts({"name": "add", "description": "adds"})  # {"description": "sha256:90a3…"}
    """
    return {part: digest(value) for part, value in contents(item).items()}


def contents(item: Item) -> dict[str, object]:
    """What each part of a definition says."""
    own = {member: item[member] for member in sorted(item.keys() & _OWN)}
    others = {member: value for member, value in item.items() if member not in _OWN | _LEFT_OUT}
    return {**own, OTHER: others} if others else own


def differing(before: Parts, after: Parts) -> tuple[str, ...]:
    """The parts that are not the same, by name."""
    return tuple(sorted(part for part in before.keys() | after.keys() if before.get(part) != after.get(part)))


def words(parts: Iterable[str]) -> str:
    """Parts as people call them.

    words(["description", "inputSchema"])  # "description, input schema"
    """
    return ", ".join(_WORDS.get(part, part) for part in parts)


def reason(parts: Iterable[str]) -> str:
    """Why a tool is refused: which parts changed, or that nothing is pinned."""
    changed = words(parts)
    return f"{changed} changed" if changed else "not pinned"


def digest(value: object) -> str:
    """The SHA-256 of a JSON value, whatever the order of members and the spelling of numbers and texts.

    digest({"b": 1.0, "a": 2}) == digest({"a": 2, "b": 1})  # True
    """
    return "sha256:" + hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def canonical(value: object) -> str:
    """A JSON value in the one form its digest is made of: ASCII, no blanks, members by name, numbers by value.

    The order of a list counts, and so does every code point of a text: what looks the same need not be the same.
    """
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, dict):
        return (
            "{" + ",".join([f"{encode_basestring_ascii(key)}:{canonical(value[key])}" for key in sorted(value)]) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join([canonical(item) for item in value]) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    # A parsed number that a float would not keep is its digits.
    return _number(bytes(value).decode() if isinstance(value, msgspec.Raw) else repr(value))


def _number(text: str) -> str:
    """1.0, 1 and 10e-1 are one number (JSON Schema core, 4.2.2), and how it is parsed depends on what is around it."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    sign, whole, fraction, power = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) - len(fraction) + len(digits)
    digits = digits.rstrip("0")
    exponent -= len(digits)
    if not digits:
        return "0"
    if 0 <= exponent <= _PLAIN_ZEROS:
        return sign + digits + "0" * exponent
    return f"{sign}{digits}e{exponent}"


class Judge:
    """Holds the lists of one upstream to its pins; a definition that stays the same is digested once."""

    def __init__(self) -> None:
        self.pinning = OFF
        self._known: Digested = {}

    def __contains__(self, tool: object) -> bool:
        """Whether the list that was judged last has a tool of this name; with pins only."""
        return tool in self._known

    def digested(self, items: Iterable[Item]) -> Digested:
        """The digests of a list's tools; may take a second for ten thousand, and may run in another thread."""
        found: Digested = {}
        for item in items if self.pinning.mode != "off" else ():
            name = str(item["name"])
            before = self._known.get(name)
            found[name] = before if before is not None and before[0] == item else (item, parts(item))
        return found

    def judged(self, share: Listed, digested: Digested) -> Listed:
        """The list, with what is refused of it."""
        self._known = digested
        refused = self.pinning.refused({name: found for name, (_, found) in digested.items()})
        return msgspec.structs.replace(share, refused=refused)
