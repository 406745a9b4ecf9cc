"""Arguments as parts of an HTTP request.

What it is for: OpenAPI's parameter styles, everything percent-encoded that could mean something to a server.
What may live here: pure functions from values to text. What may not: requests, documents.
"""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from trunkline.protocol import json

STYLES: Mapping[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form",),
}
"""The styles of each location, the default first."""

_BETWEEN = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


def scalar(value: object) -> str:
    """A JSON value as text: as JSON writes it, strings as they are.

    scalar(True)  # "true"
    """
    if isinstance(value, str):
        return value
    return "" if value is None else json.encode(value).decode()


def path(name: str, value: object, style: str, explode: bool) -> str:
    """A path parameter's part of the path. Raises `ValueError` for a value that would leave its place."""
    text = {"simple": _simple, "label": _label, "matrix": _matrix}[style](name, value, explode)
    if text in ("", ".", ".."):
        raise ValueError(f"the path parameter {name[:80]!r} cannot be empty, '.' or '..'")
    return text


def query(name: str, value: object, style: str, explode: bool) -> Iterator[str]:
    """A query or cookie parameter as encoded `name=value` pairs.

    list(query("tag", ["a", "b&c"], "form", True))  # ["tag=a", "tag=b%26c"]
    """
    key = _quoted(name)
    if isinstance(value, Mapping):
        if style == "deepObject":
            yield from _deep(key, value)
        elif explode:
            yield from (f"{_quoted(member)}={_quoted(item)}" for member, item in value.items())
        else:
            yield f"{key}={_BETWEEN[style].join(_quoted(part) for pair in value.items() for part in pair)}"
    elif isinstance(value, list):
        if explode or style == "deepObject":
            yield from (f"{key}={_quoted(item)}" for item in value)
        else:
            yield f"{key}={_BETWEEN[style].join(_quoted(item) for item in value)}"
    else:
        yield f"{key}={_quoted(value)}"


def header(value: object, explode: bool) -> str:
    """A header parameter's value. Raises `ValueError` for one that no header can carry."""
    if isinstance(value, Mapping):
        pairs = value.items()
        text = ",".join(f"{k}={scalar(v)}" if explode else f"{k},{scalar(v)}" for k, v in pairs)
    else:
        text = ",".join(scalar(item) for item in value) if isinstance(value, list) else scalar(value)
    if any(ord(char) < 32 or ord(char) in (127,) for char in text):
        raise ValueError("a header cannot carry control characters")
    return text if text.isascii() else quote(text, safe=" !#$&'()*+,/:;=?@[]~%")


def _simple(name: str, value: object, explode: bool) -> str:
    return ",".join(_parts(value, explode))


def _label(name: str, value: object, explode: bool) -> str:
    return "." + ("." if explode else ",").join(_parts(value, explode))


def _matrix(name: str, value: object, explode: bool) -> str:
    key = _quoted(name)
    if explode and isinstance(value, Mapping):
        return "".join(f";{part}" for part in _parts(value, True))
    if explode and isinstance(value, list):
        return "".join(f";{key}={_quoted(item)}" for item in value)
    return f";{key}={','.join(_parts(value, False))}"


def _parts(value: object, explode: bool) -> list[str]:
    if isinstance(value, Mapping):
        pairs = ((_quoted(name), _quoted(item)) for name, item in value.items())
        return ["=".join(pair) for pair in pairs] if explode else [part for pair in pairs for part in pair]
    return [_quoted(item) for item in value] if isinstance(value, list) else [_quoted(value)]


def _deep(key: str, value: Mapping[str, object]) -> Iterator[str]:
    for member, item in value.items():
        inner = f"{key}%5B{_quoted(member)}%5D"
        if isinstance(item, Mapping):
            yield from _deep(inner, item)
        elif isinstance(item, list):
            yield from (f"{inner}={_quoted(one)}" for one in item)
        else:
            yield f"{inner}={_quoted(item)}"


def _quoted(value: object) -> str:
    try:
        return quote(scalar(value), safe="")
    except UnicodeEncodeError:
        raise ValueError("a text holds half a character, which no URL can carry") from None
