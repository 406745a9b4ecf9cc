"""JSON as editors write it: with comments and trailing commas.

What it is for: parsing a configuration file into plain values, and knowing on which line each of them stands.
What may live here: the parser and its messages, which tell a position and never the text around it.
What may not: knowledge of what a configuration contains.
"""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.errors import ConfigError

Trail = tuple[str | int, ...]
"""The keys and positions that lead to a value."""

MAX_DEPTH = 100

_GAP = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*(?s:.*?)\*/)*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
_SCALAR = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed text: its value, and the line (from 1) of every value in it by trail."""

    value: object
    lines: Mapping[Trail, int]


def parse(text: str, source: str) -> Parsed:
    """Parse JSON with `//` and `/* */` comments and trailing commas; `source` names the text in errors.

    Duplicate keys, unpaired surrogates and numbers out of range are refused. Raises `ConfigError` with line and column.

        parse('{"a": 1,} // one', "mcp.json").value  # {"a": 1}
    """
    parser = _Parser(text.removeprefix("\ufeff"), source)
    value = parser.value(())
    parser.end()
    return Parsed(value, parser.lines)


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.position = 0
        self.lines: dict[Trail, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    def value(self, trail: Trail) -> object:
        first = self._peek()
        if len(trail) > MAX_DEPTH:
            raise self._fault(f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(trail, self._line())
        if first == "{":
            return self._object(trail)
        if first == "[":
            return self._array(trail)
        return self._string() if first == '"' else self._scalar()

    def end(self) -> None:
        if self._peek():
            raise self._fault("the JSON value is complete here, but the file goes on")

    def _object(self, trail: Trail) -> dict[str, object]:
        members: dict[str, object] = {}
        self.position += 1
        while not self._closes("}"):
            if self._peek() != '"':
                raise self._fault('a key in double quotes or "}" is expected')
            line = self._line()
            key = self._string()
            inner = (*trail, key)
            if key in members:
                raise self._fault(f"the key {json.dumps(key[:64])} is given twice, first on line {self.lines[inner]}")
            if self._peek() != ":":
                raise self._fault('":" is expected')
            self.position += 1
            self.lines[inner] = line
            members[key] = self.value(inner)
            self._separate("}")
        return members

    def _array(self, trail: Trail) -> list[object]:
        items: list[object] = []
        self.position += 1
        while not self._closes("]"):
            items.append(self.value((*trail, len(items))))
            self._separate("]")
        return items

    def _string(self) -> str:
        match = _STRING.match(self.text, self.position)
        if match is None:
            raise self._fault("this string is not closed, or holds a line break or another control character")
        try:
            text = str(json.loads(match.group()))
        except ValueError:
            raise self._fault("this string holds an escape that JSON does not know") from None
        if _HALF_PAIR.search(text):
            raise self._fault("this string holds half of a surrogate pair")
        self.position = match.end()
        return text

    def _scalar(self) -> object:
        match = _SCALAR.match(self.text, self.position)
        if match is None:
            raise self._fault("a JSON value is expected")
        word = match.group()
        if word in _WORDS:
            value = _WORDS[word]
        else:
            value = self._number(word)
        self.position = match.end()
        return value

    def _number(self, digits: str) -> int | float:
        try:
            number = float(digits) if set(digits) & set(".eE") else int(digits)
        except ValueError:
            raise self._fault("this number has too many digits") from None
        if isinstance(number, float) and math.isinf(number):
            raise self._fault("this number is out of range")
        return number

    def _closes(self, bracket: str) -> bool:
        if self._peek() != bracket:
            return False
        self.position += 1
        return True

    def _separate(self, bracket: str) -> None:
        """Pass the comma after a value; only the closing bracket may stand in its place."""
        first = self._peek()
        if first == ",":
            self.position += 1
        elif first != bracket:
            raise self._fault(f'"," or "{bracket}" is expected')

    def _peek(self) -> str:
        gap = _GAP.match(self.text, self.position)
        if gap is not None:
            self.position = gap.end()
        if self.text.startswith("/*", self.position):
            raise self._fault('this comment is not closed with "*/"')
        return self.text[self.position : self.position + 1]

    def _line(self) -> int:
        return bisect_left(self._newlines, self.position) + 1

    def _fault(self, what: str) -> ConfigError:
        line = self._line()
        column = self.position - (self._newlines[line - 2] if line > 1 else -1)
        if self.position >= len(self.text):
            what = f"the file ends too early: {what}" if self.text.strip() else "the file is empty"
        return ConfigError(f"{self.source}:{line}:{column}: not valid JSON: {what}")
