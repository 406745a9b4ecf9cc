"""YAML with one meaning.

What it is for: parsing a YAML file into plain values, and knowing on which line each of them stands.
What may live here: the YAML 1.2 core schema, anchors and merge keys; what is refused: tags, documents, endless copies.
What may not: knowledge of what a configuration contains.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentEndEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from trunkline.errors import ConfigError
from trunkline.portable.jsonc import MAX_DEPTH, Parsed, Trail

MAX_LENGTH = 1_000_000
MAX_VALUES = 100_000

_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_MERGE = "<<"


def parse_yaml(text: str, source: str) -> Parsed:
    """Parse one YAML document; `source` names the text in errors.

    Plain values are read by YAML 1.2's core schema: `no` is a string. Duplicate keys, tags, keys that are no text and
    more than one document are refused. Raises `ConfigError` with line and column, never with text of the file.

        parse_yaml("a: [1, yes]", "trunkline.yaml").value  # {"a": [1, "yes"]}
    """
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"{source}: has more than {MAX_LENGTH:,} characters, which no configuration needs")
    builder = _Builder(source)
    try:
        builder.document(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        raise ConfigError(f"{source}{position}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{source}: not valid YAML: it holds a character that no text file has") from None
    except (ValueError, OverflowError):
        raise ConfigError(f"{source}: not valid YAML: an escape in it stands for no character") from None
    return Parsed(builder.value, builder.lines)


@dataclass(frozen=True, slots=True)
class _Anchored:
    """A value with an anchor, and how many values it is made of."""

    value: object
    size: int


class _Builder:
    """Makes plain values of the parser's events; no tag is ever looked up, no object ever constructed."""

    def __init__(self, source: str) -> None:
        self.value: object = None
        self.lines: dict[Trail, int] = {}
        self._source = source
        self._size = 0
        self._anchors: dict[str, _Anchored] = {}

    def document(self, text: str) -> None:
        """Read the one document of a text."""
        # The pure parser keeps no stack: nesting of any depth arrives here as events.
        self._events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise ConfigError(f"{self._source}: the file is empty")
        self.value = self._value(next(self._events), ())
        end = next(self._events)
        following = next(self._events)
        if isinstance(end, DocumentEndEvent) and not isinstance(following, StreamEndEvent):
            raise self._fault(following, "a second document begins here; one is accepted")

    def _value(self, event: Event, trail: Trail) -> object:
        if len(trail) > MAX_DEPTH:
            raise self._fault(event, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(trail, _position(event)[0])
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if getattr(event, "tag", None) is not None:
            raise self._fault(event, "a tag (`!...`) is not accepted; values have the type they are written in")
        before = self._size
        self._grow(event, 1)
        if isinstance(event, MappingStartEvent):
            value: object = self._mapping(trail)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(trail)
        else:
            value = self._scalar(event)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._size - before)
        return value

    def _alias(self, event: AliasEvent) -> object:
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            raise self._fault(event, "refers to an anchor that is not complete before it")
        self._grow(event, anchored.size)
        return anchored.value

    def _mapping(self, trail: Trail) -> dict[str, object]:
        members: dict[str, object] = {}
        merged: dict[str, object] = {}
        while not isinstance(event := next(self._events), CollectionEndEvent):
            key, line = self._key(event), _position(event)[0]
            inner = (*trail, key)
            if key in members or (key == _MERGE and merged):
                first = self.lines.get(inner, line)
                raise self._fault(event, f"the key {json.dumps(key[:64])} is given twice, first on line {first}")
            self.lines[inner] = line
            value = self._value(next(self._events), inner)
            if key == _MERGE and isinstance(event, ScalarEvent) and event.style is None:
                merged = self._merged(value, event)
                for name in merged:
                    self.lines.setdefault((*trail, name), line)
            else:
                members[key] = value
        return {**merged, **members}

    def _merged(self, value: object, event: Event) -> dict[str, object]:
        """What `<<` brings in: of several mappings, the earlier one wins."""
        merged: dict[str, object] = {}
        for mapping in value if isinstance(value, list) else [value]:
            if not isinstance(mapping, dict):
                raise self._fault(event, "`<<` takes a mapping, or a list of mappings, that has an anchor")
            merged = {**mapping, **merged}
        return merged

    def _sequence(self, trail: Trail) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), CollectionEndEvent):
            items.append(self._value(event, (*trail, len(items))))
        return items

    def _key(self, event: Event) -> str:
        if not isinstance(event, ScalarEvent) or event.tag is not None:
            raise self._fault(event, "a key is a text, without a tag")
        return self._text(event)

    def _scalar(self, event: Event) -> object:
        if not isinstance(event, ScalarEvent):
            raise self._fault(event, "a value is expected")
        text = self._text(event)
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return self._whole(event, text)
        if _ENDLESS.fullmatch(text):
            raise self._fault(event, "this is no number that can be counted to; put it in quotes if it is a text")
        if _FRACTION.fullmatch(text):
            number = float(text)
            if math.isinf(number):
                raise self._fault(event, "this number is out of range")
            return number
        return text

    def _whole(self, event: Event, text: str) -> int:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        try:
            return int(text, base)
        except ValueError:
            raise self._fault(event, "this number has too many digits") from None

    def _text(self, event: ScalarEvent) -> str:
        if _HALF_PAIR.search(event.value):
            raise self._fault(event, "this text holds half of a surrogate pair")
        return str(event.value)

    def _grow(self, event: Event, by: int) -> None:
        self._size += by
        if self._size > MAX_VALUES:
            raise self._fault(event, f"the aliases up to here copy more than {MAX_VALUES:,} values")

    def _fault(self, event: Event, what: str) -> ConfigError:
        line, column = _position(event)
        return ConfigError(f"{self._source}:{line}:{column}: not valid YAML: {what}")


def _position(event: Event) -> tuple[int, int]:
    """Line and column, both from 1."""
    mark = event.start_mark
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
