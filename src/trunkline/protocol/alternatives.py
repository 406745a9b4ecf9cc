"""Types the schemas have and msgspec has not: a choice between untagged objects, an object open to unknown members.

What it is for: run-time stand-ins in the generated wire modules and the decoding hook that understands them.
What may live here: the stand-ins, the hook.
What may not: a definition of any revision.

A type checker sees the plain form instead: `A | B` for a choice, `dict[str, object]` for an open object.
"""

from collections.abc import Mapping
from typing import get_origin

import msgspec
from msgspec import Struct, ValidationError


class Wire(Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of the generated wire types: snake_case here, the specification's names on the wire."""


class OneOf(type):
    """A choice between types that no constant member tells apart; the one that knows most of the members wins."""

    alternatives: tuple[object, ...]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, tuple(filter(None, map(_class_of, cls.alternatives))))


class Open(type):
    """An object whose declared members are checked and whose members, unknown ones included, all stay: a dict."""

    fields: type[Struct]

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, dict)


def one_of(name: str, *alternatives: object) -> OneOf:
    """The type of a value that matches one of several types."""
    return OneOf(name, (), {"alternatives": alternatives})


def open_object(name: str, fields: type[Struct]) -> Open:
    """The type of a dict whose declared members are those of `fields`."""
    return Open(name, (), {"fields": fields})


def hook(kind: object, value: object) -> object:
    """The `dec_hook` that decodes both, and `object`, which msgspec hands over as well."""
    if kind is object:
        return value
    if isinstance(kind, OneOf):
        return _pick(kind, value)
    if isinstance(kind, Open):
        msgspec.convert(value, kind.fields, dec_hook=hook)
        return value
    raise NotImplementedError(f"{kind} is not a wire type")


def _pick(choice: OneOf, value: object) -> object:
    best: object = None
    most = -1
    for alternative in choice.alternatives:
        try:
            found = msgspec.convert(value, alternative, dec_hook=hook)
        except ValidationError:
            continue
        known = _known(alternative, found, value)
        if known > most:
            best, most = found, known
    if most < 0:
        raise ValidationError(f"Expected `{choice.__name__}`, the value fits none of its forms")
    return best


def _known(alternative: object, found: object, value: object) -> int:
    """How many members of a value its type declares."""
    kind = alternative.fields if isinstance(alternative, Open) else type(found)
    if not issubclass(kind, Struct) or not isinstance(value, Mapping):
        return 0
    return len(value.keys() & {*kind.__struct_encode_fields__, kind.__struct_config__.tag_field})


def _class_of(alternative: object) -> type | None:
    kind = get_origin(alternative) or alternative
    return kind if isinstance(kind, type) else None
