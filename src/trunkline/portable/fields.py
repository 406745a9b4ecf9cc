"""The members of one entry, each taken once and checked.

What it is for: reading members under any of their spellings, and keeping what nobody took.
What may live here: checks of shape (text, list, map, flag, seconds).
What may not: what the members mean.
"""

import math
from collections.abc import Mapping

from trunkline.errors import ConfigError
from trunkline.portable.place import Place, kind


class Fields:
    """Hands out the members of an entry; `rest` is what is left.

    A member that is null counts as absent. Two spellings of one member are refused unless they agree.
    """

    def __init__(self, raw: Mapping[str, object], place: Place) -> None:
        self.rest = dict(raw)
        self.place = place

    def take(self, *spellings: str) -> tuple[object, Place]:
        """The member and its place; the member is None when there is none."""
        given = [(name, self.rest.pop(name)) for name in spellings if name in self.rest]
        given = [(name, value) for name, value in given if value is not None]
        if not given:
            return None, self.place.at(spellings[0])
        name, value = given[0]
        for other, another in given[1:]:
            if another != value:
                raise self.place.at(other).fault(f"says something else than `{name}`, which means the same; keep one")
        return value, self.place.at(name)

    def text(self, *spellings: str) -> str | None:
        value, place = self.take(*spellings)
        if value is None or isinstance(value, str):
            return value
        raise place.fault(f"is {kind(value)}; a string is accepted")

    def flag(self, *spellings: str) -> bool | None:
        value, place = self.take(*spellings)
        if value is None or isinstance(value, bool):
            return value
        raise place.fault(f"is {kind(value)}; true or false, without quotes, is accepted")

    def texts(self, *spellings: str) -> tuple[str, ...] | None:
        value, place = self.take(*spellings)
        return None if value is None else texts(value, place)

    def mapping(self, *spellings: str) -> dict[str, str]:
        value, place = self.take(*spellings)
        return mapping(value, place)

    def seconds(self, *spellings: str) -> float | None:
        value, place = self.take(*spellings)
        return None if value is None else positive(value, place)


def texts(value: object, place: Place) -> tuple[str, ...]:
    """A list of strings."""
    if not isinstance(value, list):
        raise place.fault(f"is {kind(value)}; a list of strings is accepted")
    return tuple(text(item, place.at(index)) for index, item in enumerate(value))


def mapping(value: object, place: Place) -> dict[str, str]:
    """An object of strings; nothing when absent."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise place.fault(f"is {kind(value)}; an object of strings is accepted")
    return {name: text(item, place.at(name)) for name, item in value.items()}


def text(value: object, place: Place) -> str:
    """A string; a whole number counts as one, since people forget the quotes around ports."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise place.fault(f"is {kind(value)}; a string is accepted" + _quotes(value))


def positive(value: object, place: Place) -> float:
    """A number above zero."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if 0 < number < math.inf:
            return number
    raise place.fault("a number above 0 is accepted" if _numeric(value) else f"is {kind(value)}; a number is accepted")


def contradiction(place: Place, one: str, other: str) -> ConfigError:
    """The error for two members that cannot both be followed."""
    return place.fault(f"`{one}` and `{other}` contradict each other; keep one")


def _numeric(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quotes(value: object) -> str:
    return ": put the value in quotes" if isinstance(value, bool | float) else ""
