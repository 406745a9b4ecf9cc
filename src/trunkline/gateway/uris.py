"""Resource URIs of federated upstreams.

What it is for: a URI stays as it is while it is unique; on collision one reversible rule rewrites it.
What may live here: the rule, its reverse, and the matching of URI templates, as pure functions.
What may not: which upstream owns what (`catalog.py`), messages (`rewriting.py`).

The rule: the label and `__` are put in front of what follows the scheme, `demo://item/1` becomes `demo://time__item/1`.
The scheme stays, because clients decide by it (`ui://`).
"""

import re

from trunkline.gateway.names import SEPARATOR

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:(?://)?", re.ASCII)
_EXPRESSION = re.compile(r"\{([^{}]*)\}")
_SPANNING = "+#./;?&"
"""Operators of RFC 6570 whose expansion may hold reserved characters, a slash among them."""


def rewrite(label: str, uri: str) -> str:
    """The URI under which an upstream's colliding URI is known to clients; also for URI templates.

    rewrite("time", "demo://item/1")  # "demo://time__item/1"
    """
    scheme = _scheme(uri)
    return f"{scheme}{label}{SEPARATOR}{uri[len(scheme) :]}"


def restore(uri: str) -> tuple[str, str] | None:
    """The label and the upstream's URI of one in rewritten form, or None for any other.

    Whether a server of that label exists is for the caller to know.

    restore("demo://time__item/1")  # ("time", "demo://item/1")
    """
    scheme = _scheme(uri)
    label, separator, rest = uri[len(scheme) :].partition(SEPARATOR)
    if not separator or not label:
        return None
    return label, scheme + rest


def is_web(uri: str) -> bool:
    """Whether clients may fetch it themselves (server/resources, Common URI Schemes: https)."""
    return uri[:8].lower().startswith(("http://", "https://"))


class Template:
    """A URI template as far as routing needs it: does it expand to this URI, and how much of it is literal.

    The match is one pass over the literals from left to right, linear whatever an upstream writes.
    """

    __slots__ = ("_literals", "_spanning", "weight")

    def __init__(self, template: str) -> None:
        parts = _EXPRESSION.split(template)
        self._literals = parts[0::2]
        self._spanning = [expression[:1] in _SPANNING and expression != "" for expression in parts[1::2]]
        self.weight = sum(map(len, self._literals))

    def matches(self, uri: str) -> bool:
        """Whether the template may expand to `uri`."""
        if not self._spanning:
            return uri == self._literals[0]
        first, last = self._literals[0], self._literals[-1]
        end = len(uri) - len(last)
        if not uri.startswith(first) or not uri.endswith(last) or end < len(first):
            return False
        position = len(first)
        for literal, spanning in zip(self._literals[1:-1], self._spanning[:-1], strict=True):
            found = uri.find(literal, position, end)
            if found < 0 or not (spanning or "/" not in uri[position:found]):
                return False
            position = found + len(literal)
        return self._spanning[-1] or "/" not in uri[position:end]


def _scheme(uri: str) -> str:
    match = _SCHEME.match(uri)
    return match.group() if match else ""
