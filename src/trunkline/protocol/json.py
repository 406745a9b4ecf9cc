"""JSON as peers must see it.

What it is for: one strict parser for everything that is forwarded, one encoder for everything that is sent.
What may live here: pure functions over bytes and JSON values.
What may not: knowledge of any message.
"""

import json
import re
from typing import NoReturn

import msgspec

from trunkline.errors import ParseError

MAX_DEPTH = 128
"""Nesting allowed in a parsed message; deeper ones are refused before they cost a stack."""

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_RUNS = re.compile(rb"\[+|\]+")
_OPENING = ord("[")
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_PEELED = 4
_SMALL = 2**16
"""Bytes of a message that is cheap enough to be tried twice."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


encode = msgspec.json.Encoder().encode
"""Encode a JSON value, a Struct or a `msgspec.Raw` to bytes."""

_decode_plain = msgspec.json.Decoder().decode


def parse(raw: bytes | memoryview | str, *, mend: bool = False) -> object:
    """Parse JSON so that re-encoding it loses nothing.

    Duplicate keys are refused (two parsers may pick different ones), fractions and exponents keep their digits
    (as `msgspec.Raw`), integers keep any size. Raises `ParseError`.

    Parameters:
        mend: write U+FFFD for half of a surrogate pair instead of refusing it: servers that cut texts send them.

        parse(b'{"price": 0.10}')  # {"price": Raw(b"0.10")}
    """
    try:
        encoded = raw.encode("utf-8") if isinstance(raw, str) else bytes(raw)
        if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH:
            check_depth(encoded)
        if len(encoded) <= _SMALL:
            # What is written again byte for byte the same has lost nothing, and no key stood in it twice. Any other,
            # most of all JSON with spaces, goes the slower way, which also says what is wrong with it.
            try:
                value: object = _decode_plain(encoded)
                if encode(value) == encoded:
                    return value
            except (msgspec.MsgspecError, UnicodeDecodeError):
                pass
        return _parsed(encoded, mend)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"Parse error: {_reason(error)}") from None


def check_depth(text: bytes) -> None:
    """Refuse JSON nested deeper than `MAX_DEPTH`; the walk runs only where there are more brackets than that."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    brackets = _STRINGS.sub(b"", text).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(_PEELED):
        # One level less each time, and far less to walk through.
        brackets = brackets.replace(b"[]", b"")
    depth = _PEELED if brackets else 0
    for run in _RUNS.findall(brackets):
        depth += len(run) if run[0] == _OPENING else -len(run)
        if depth > MAX_DEPTH:
            raise ParseError(f"Parse error: nested deeper than {MAX_DEPTH} levels")


def number(value: object) -> int | float | None:
    """The number a parsed value stands for, or None when it is none."""
    if isinstance(value, msgspec.Raw):
        return float(bytes(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def plain(raw: bytes | msgspec.Raw) -> object:
    """Decode JSON to ordinary Python values, for people and validators; numbers may lose digits.

    Raises `ParseError`.
    """
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ParseError(f"Parse error: {_reason(error)}") from None


def _parsed(encoded: bytes, mend: bool) -> object:
    value: object = _decode(encoded.decode("utf-8"))
    if _SURROGATE.search(encoded):
        # Half of a pair stands for no character: it could be read here but never written again.
        if mend:
            return _mended(value)
        json.dumps(value, ensure_ascii=False, default=repr).encode("utf-8")
    return value


def _mended(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return [_mended(item) for item in value] if isinstance(value, list) else value


def _literal(digits: str) -> msgspec.Raw | float:
    value = float(digits)
    # A float whose shortest form is what was written loses nothing.
    return value if repr(value) == digits else msgspec.Raw(digits.encode())


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    parsed = dict(pairs)
    if len(parsed) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key[:64]!r}")
            seen.add(key)
    return parsed


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_literal, parse_constant=_no_constant).decode
