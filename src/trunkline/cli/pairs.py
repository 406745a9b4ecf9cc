"""`key=value` arguments, read as the tool's schema says.

What it is for: a person types text, a tool wants numbers, booleans, lists.
What may live here: that conversion. What may not: asking or calling.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trunkline.errors import ConfigError

_AS_JSON = frozenset({"integer", "number", "boolean", "array", "object", "null"})


def read_pairs(pairs: Sequence[str], whole: str | None, schema: Mapping[str, object]) -> dict[str, object]:
    """The arguments of a call.

    Parameters:
        pairs: `key=text`, `key:=JSON`, `key=@file`.
        whole: a JSON object with all arguments; pairs are added to it.
        schema: the tool's `inputSchema`; decides whether text is meant as a number, a boolean, a list.

    Raises `ConfigError` that names the argument.

        read_pairs(["days=3"], None, {"properties": {"days": {"type": "integer"}}})  # {"days": 3}
    """
    arguments: dict[str, object] = {}
    if whole is not None:
        parsed = _parse("--arguments", whole)
        if not isinstance(parsed, dict):
            raise ConfigError('--arguments: a JSON object is needed, as in \'{"city": "Oslo"}\'')
        arguments.update(parsed)
    properties = schema.get("properties")
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.rstrip(":"):
            raise ConfigError(f"{pair!r} is no argument; write key=value, key:=JSON or key=@file")
        if key.endswith(":"):
            arguments[key[:-1]] = _parse(key[:-1], text)
            continue
        described = properties.get(key) if isinstance(properties, Mapping) else None
        arguments[key] = _value(key, text, described if isinstance(described, Mapping) else {})
    return arguments


def _value(key: str, text: str, schema: Mapping[str, object]) -> object:
    if text.startswith("@"):
        try:
            return Path(text[1:]).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{key}: {text[1:]} cannot be read as text: {error}") from None
    kinds = _kinds(schema)
    if not kinds or "string" in kinds or not kinds & _AS_JSON:
        return text
    return _parse(key, text, " or ".join(sorted(kinds)))


def _kinds(schema: Mapping[str, object]) -> set[str]:
    """The JSON types a property may have, as far as its schema says so plainly."""
    kind = schema.get("type")
    kinds = (
        {kind}
        if isinstance(kind, str)
        else {one for one in kind if isinstance(one, str)}
        if isinstance(kind, list)
        else set()
    )
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        for option in options if isinstance(options, list) else ():
            if isinstance(option, Mapping):
                kinds |= _kinds(option)
    return kinds


def _parse(key: str, text: str, wanted: str = "JSON") -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        raise ConfigError(f"{key}: {text!r} is not {wanted}") from None
    return parsed
