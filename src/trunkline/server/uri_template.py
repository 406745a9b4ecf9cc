"""URI templates as MCP servers use them: RFC 6570 level 1, `{+path}` and a closing `{?query}`.

What it is for: find out, in linear time, whether a URI belongs to a template, and its variables.
What may live here: parsing and matching.
What may not: regular expressions over URIs: a hostile URI must not make them backtrack.
"""

import re
from urllib.parse import parse_qsl, unquote

from trunkline.errors import ConfigError

_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_DELIMITERS = frozenset("/?#")


class UriTemplate:
    """A template that knows its URIs.

    Parameters:
        text: literals and expressions: `{name}` stays inside one path segment, one `{+name}` may cross `/`, and a
            `{?a,b}` at the end names query parameters, each optional.

    Raises `ConfigError` for what cannot be matched unambiguously.

        UriTemplate("weather://{city}/now").match("weather://S%C3%A3o%20Paulo/now")  # {"city": "São Paulo"}
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.query: tuple[str, ...] = ()
        self._literals: list[str] = []
        self._path: list[str] = []
        self._reserved: int | None = None
        position = 0
        for expression in _EXPRESSION.finditer(text):
            self._add(text[position : expression.start()], expression[1], expression.end() == len(text))
            position = expression.end()
        if not self.query:
            self._literals.append(text[position:])
        self._check()

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of all variables."""
        return (*self._path, *self.query)

    def match(self, uri: str) -> dict[str, str] | None:
        """The variables of a URI, percent-decoded; None when it does not belong here."""
        values: dict[str, str] = {}
        body = uri
        if self.query:
            body, _, query = uri.partition("?")
            found = self._match_query(query)
            if found is None:
                return None
            values = found
        raw = self._match_path(body)
        if raw is None:
            return None
        try:
            for name, value in raw.items():
                values[name] = unquote(value, errors="strict")
        except UnicodeDecodeError:
            return None
        return values

    def _match_path(self, body: str) -> dict[str, str] | None:
        literals, names = self._literals, self._path
        if not names:
            return {} if body == literals[0] else None
        start, end = len(literals[0]), len(body) - len(literals[-1])
        if not body.startswith(literals[0]) or not body.endswith(literals[-1]) or end < start:
            return None
        # What crosses "/" takes what its neighbours leave: those before it match from the left, those behind it
        # from the right. Nobody ever tries again.
        open_end = len(names) - 1 if self._reserved is None else self._reserved
        raw: dict[str, str] = {}
        for index in range(open_end):
            cut = body.find(literals[index + 1], start + 1, end)
            if cut < 0:
                return None
            raw[names[index]] = body[start:cut]
            start = cut + len(literals[index + 1])
        for index in range(len(names) - 1, open_end, -1):
            cut = body.rfind(literals[index], start, max(end - 1, 0))
            if cut < 0:
                return None
            raw[names[index]] = body[cut + len(literals[index]) : end]
            end = cut
        raw[names[open_end]] = body[start:end]
        return raw if all(self._fits(name, value) for name, value in raw.items()) else None

    def _fits(self, name: str, value: str) -> bool:
        if not value:
            return False
        crosses = self._reserved is not None and name == self._path[self._reserved]
        return crosses or _DELIMITERS.isdisjoint(value)

    def _match_query(self, query: str) -> dict[str, str] | None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=len(self.query))
        except (ValueError, UnicodeDecodeError):
            return None
        values = dict(pairs)
        return values if len(values) == len(pairs) and values.keys() <= set(self.query) else None

    def _add(self, literal: str, expression: str, last: bool) -> None:
        if self._path and not literal and not expression.startswith("?"):
            raise ConfigError(f"URI template {self.text!r}: a literal must stand between two expressions")
        self._literals.append(literal)
        if expression.startswith("?"):
            if not last:
                raise ConfigError(f"URI template {self.text!r}: {{?...}} must stand at the end")
            self.query = tuple(expression[1:].split(","))
            return
        if expression.startswith("+"):
            if self._reserved is not None:
                raise ConfigError(f"URI template {self.text!r}: only one {{+...}} can be matched")
            self._reserved = len(self._path)
        self._path.append(expression.removeprefix("+"))

    def _check(self) -> None:
        for name in self.variables:
            if not name.isidentifier():
                raise ConfigError(f"URI template {self.text!r}: {name!r} is not the name of a parameter")
        if len(set(self.variables)) != len(self.variables):
            raise ConfigError(f"URI template {self.text!r}: a variable stands in it twice")
        if not self._path and not self.query:
            raise ConfigError(f"URI template {self.text!r} has no variables")
        if any("{" in literal or "}" in literal for literal in self._literals):
            raise ConfigError(f"URI template {self.text!r}: a brace is not closed")
