"""Plain values held against a Struct, mistake by mistake.

What it is for: every mistake of a file at once, each with its line and what is accepted instead.
What may live here: the walk over values and types, and the words for types.
What may not: what any key means; the values themselves, which may be secrets.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from msgspec import inspect

from trunkline.portable.place import Place, kind


def faults(value: object, type_: inspect.Type, place: Place) -> Iterator[str]:
    """What keeps a value from being of a type; nothing when it can be converted.

    A member of a Struct that is null counts as absent. `place` tells where the value stands.
    """
    plain = _plain(type_, value)
    if isinstance(plain, inspect.StructType) and isinstance(value, dict):
        yield from _struct(value, plain, place)
    elif isinstance(plain, inspect.StructType):
        yield _said(place, f"is {kind(value)}; {accepted(type_)} is accepted")
    elif isinstance(plain, inspect.DictType):
        yield from _mapping(value, plain, place)
    elif isinstance(plain, inspect.VarTupleType):
        yield from _sequence(value, plain, place)
    elif not _fits(value, plain):
        quotes = ": put the value in quotes" if isinstance(plain, inspect.StrType) and _unquoted(value) else ""
        yield _said(place, f"{_what(value, plain)}; {accepted(type_)} is accepted{quotes}")


def accepted(type_: inspect.Type) -> str:
    """A type in words: "a list of strings"."""
    either = _alternatives(type_)
    if len(either) > 1:
        return " or ".join(accepted(one) for one in either)
    plain = _plain(type_)
    if isinstance(plain, inspect.VarTupleType):
        return f"a list of {_plural(plain.item_type)}"
    if isinstance(plain, inspect.DictType):
        return f"a mapping of names to {_plural(plain.value_type)}"
    if isinstance(plain, inspect.LiteralType):
        *most, last = (str(word) for word in plain.values)
        return f"{', '.join(most)} or {last}" if most else last
    if isinstance(plain, inspect.StrType):
        return _TEXTS.get(plain.pattern or "", "a string that is not empty" if plain.min_length else "a string")
    if isinstance(plain, inspect.IntType):
        if plain.le is None:
            return "a whole number" if plain.ge is None else f"a whole number, {plain.ge} or more,"
        return f"a whole number from {plain.ge} to {plain.le}"
    if isinstance(plain, inspect.FloatType):
        if plain.ge is not None:
            return f"a number, {plain.ge:g} or more,"
        return "a number above 0" if plain.gt is not None else "a number"
    return "true or false, without quotes," if isinstance(plain, inspect.BoolType) else "a mapping"


_TEXTS = {
    "^/": 'a path that begins with "/"',
    "^[0-9a-fA-F]{64}$": "a string of 64 hexadecimal digits",
    "^[A-Za-z0-9_-]{1,64}$": "a string of 1 to 64 letters, digits, _ and -",
}


def _struct(value: dict[str, object], type_: inspect.StructType, place: Place) -> Iterator[str]:
    fields = {field.encode_name: field for field in type_.fields}
    for key, member in value.items():
        if key not in fields:
            yield _said(place, f"the key {json.dumps(key[:80])} is not known; {_suggestion(key, fields)}", key)
        elif member is not None:
            yield from faults(member, fields[key].type, place.at(key))
    for name, field in fields.items():
        if field.required and value.get(name) is None:
            yield _said(place, f"has no `{name}`; {accepted(field.type)} is needed")


def _mapping(value: object, type_: inspect.DictType, place: Place) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _said(place, f"is {kind(value)}; {accepted(type_)} is accepted")
        return
    for name, member in value.items():
        nested = isinstance(type_.value_type, inspect.StructType)
        yield from faults(member, type_.value_type, place.own(_owner(place, name), name) if nested else place.at(name))


def _owner(place: Place, name: str) -> str:
    kind = _OWNERS.get(place.trail[-1], "server") if place.trail else "server"
    return f"{kind} {json.dumps(name[:80])}"


_OWNERS: dict[str | int, str] = {
    "endpoints": "endpoint",
    "edit_tools": "tool",
    "edit_prompts": "prompt",
    "overrides": "operation",
}


def _sequence(value: object, type_: inspect.VarTupleType, place: Place) -> Iterator[str]:
    if not isinstance(value, list):
        yield _said(place, f"is {kind(value)}; {accepted(type_)} is accepted")
        return
    for index, item in enumerate(value):
        yield from faults(item, type_.item_type, place.at(index))


def _plain(type_: inspect.Type, value: object = None) -> inspect.Type:
    """A type without what is written around it; of several that there are, the one a value looks like."""
    either = _alternatives(type_)
    if len(either) > 1:
        looks = _KINDS.get(type(value), (inspect.StructType,))
        return next((one for one in either if isinstance(one, looks)), either[0])
    return either[0]


_KINDS: dict[type, tuple[type[inspect.Type], ...]] = {
    str: (inspect.LiteralType, inspect.StrType),
    bool: (inspect.BoolType,),
    list: (inspect.VarTupleType,),
    dict: (inspect.StructType, inspect.DictType),
}
"""What a value looks like, where a key takes several types; everything else looks like a mapping."""


def _alternatives(type_: inspect.Type) -> list[inspect.Type]:
    """What a value may be, without None: null counts as absent."""
    while isinstance(type_, inspect.Metadata):
        type_ = type_.type
    if not isinstance(type_, inspect.UnionType):
        return [type_]
    return [one for some in type_.types if not isinstance(some, inspect.NoneType) for one in _alternatives(some)]


def _fits(value: object, type_: inspect.Type) -> bool:
    if isinstance(type_, inspect.CustomType):
        return True
    if isinstance(type_, inspect.LiteralType):
        return isinstance(value, str) and value in type_.values
    if isinstance(type_, inspect.BoolType):
        return isinstance(value, bool)
    if isinstance(type_, inspect.StrType):
        return isinstance(value, str) and len(value) >= (type_.min_length or 0) and _follows(value, type_.pattern)
    if not isinstance(type_, inspect.IntType | inspect.FloatType):
        return False
    numeric = int if isinstance(type_, inspect.IntType) else int | float
    return isinstance(value, numeric) and not isinstance(value, bool) and _within(value, type_)


def _within(value: float, type_: inspect.IntType | inspect.FloatType) -> bool:
    if (type_.ge is not None and value < type_.ge) or (type_.le is not None and value > type_.le):
        return False
    # A whole number too large for a float is no number of seconds.
    return (type_.gt is None or value > type_.gt) and abs(value) < 1e300


def _follows(value: str, pattern: str | None) -> bool:
    return pattern is None or re.search(pattern, value) is not None


def _suggestion(key: str, fields: Iterable[str]) -> str:
    """The key that was probably meant, in whatever spelling it was written."""
    known = {_bare(name): name for name in fields}
    close = difflib.get_close_matches(_bare(key), known, n=1)
    if close:
        return f"did you mean `{known[close[0]]}`?"
    return f"accepted are {', '.join(f'`{name}`' for name in known.values())}"


def _bare(key: str) -> str:
    return re.sub(r"[-_]", "", key[:80]).lower()


def _what(value: object, type_: inspect.Type) -> str:
    if isinstance(type_, inspect.LiteralType) and isinstance(value, str):
        return "is not one of the words there are"
    number = _unquoted(value) and not isinstance(value, bool) and isinstance(type_, inspect.IntType | inspect.FloatType)
    same = number or (isinstance(value, str) and isinstance(type_, inspect.StrType))
    return "cannot be used" if same else f"is {kind(value)}"


def _unquoted(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _plural(type_: inspect.Type) -> str:
    plain = _plain(type_)
    if isinstance(plain, inspect.CustomType):
        return "values"
    return "strings" if isinstance(plain, inspect.StrType) else "mappings"


def _said(place: Place, what: str, key: str | None = None) -> str:
    """The message; a key that is not known is told on its own line."""
    here = place if key is None else replace(place, trail=(*place.trail, key))
    return here.fault(what).message
