"""One kind of registered thing: immutable, swapped on change.

What it is for: look-up by key at the same cost for one entry and for thousands; ordered, paged lists.
What may live here: the shelf and its cursors.
What may not: what the entries are.
"""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, InvalidParams


class Entry(Protocol):
    """What can stand on a shelf."""

    @property
    def listed(self) -> Mapping[str, object]:
        """Its entry in the list."""


E = TypeVar("E", bound=Entry)


class Shelf(Generic[E]):
    """Entries by key, in the order they were registered.

    Parameters:
        kind: what the entries are called in errors.
        member: the member of the list result that holds them.
        page_size: entries in one page; None for all.
    """

    def __init__(self, kind: str, member: str, page_size: int | None) -> None:
        self.kind = kind
        self.entries: dict[str, E] = {}
        self.used = False
        self._member = member
        self._page_size = page_size
        self._numbers: dict[str, int] = {}
        self._next = 1

    def add(self, key: str, entry: E) -> None:
        """Register. Raises `ConfigError` when the key is taken."""
        if key in self.entries:
            raise ConfigError(f"The {self.kind} {key!r} is registered already; remove it first")
        self.entries = {**self.entries, key: entry}
        self._numbers[key] = self._next
        self._next += 1
        self.used = True

    def remove(self, key: str) -> None:
        """Take away. Raises `ConfigError` when there is no such entry."""
        if key not in self.entries:
            raise ConfigError(f"There is no {self.kind} {key!r} to remove")
        self.entries = {other: entry for other, entry in self.entries.items() if other != key}
        del self._numbers[key]

    def page(self, cursor: object) -> Result:
        """A page of the list after `cursor`; None starts. Raises `InvalidParams` for a cursor that is not ours."""
        entries = list(self.entries.values())
        start = 0
        if isinstance(cursor, str):
            # A cursor is the number of the last entry seen, so that it survives whatever is added or removed.
            start = bisect_right(list(self._numbers.values()), self._seen(cursor))
        end = len(entries) if self._page_size is None else start + self._page_size
        result: Result = {self._member: [entry.listed for entry in entries[start:end]]}
        if end < len(entries):
            result["nextCursor"] = self._cursor(list(self._numbers.values())[end - 1])
        return result

    def _cursor(self, number: int) -> str:
        return base64.urlsafe_b64encode(f"{self._member}:{number}".encode()).decode().rstrip("=")

    def _seen(self, cursor: str) -> int:
        try:
            text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
            number = int(text.removeprefix(f"{self._member}:")) if len(cursor) < 64 else 0
        except (binascii.Error, ValueError):
            number = 0
        if not 0 < number < self._next or self._cursor(number) != cursor:
            raise InvalidParams("Invalid params: the cursor is not one of this list; start again without it")
        return number
