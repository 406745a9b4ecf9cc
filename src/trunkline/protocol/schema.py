"""JSON Schema as MCP uses it.

What it is for: the rules of `x-mcp-header`, and validation of values against a peer's schema.
What may live here: pure functions over schemas.
What may not: fetching anything: a `$ref` to the network is refused (basic/index, `$ref` Resolution).
"""

import re
from collections.abc import Iterator
from typing import NoReturn, Protocol

from trunkline.protocol.headers import HeaderParam

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_KINDS = ("string", "integer", "boolean")
_MAX_SUBSCHEMAS = 10_000
_MAX_SCHEMA_DEPTH = 64


class Validator(Protocol):
    """A compiled schema."""

    def is_valid(self, instance: object) -> bool:
        """Whether the value satisfies the schema."""

    def iter_errors(self, instance: object) -> Iterator[Exception]:
        """Each violation, as an exception with a message."""


def header_params(schema: object) -> tuple[HeaderParam, ...]:
    """The parameters a tool mirrors into headers, by the constraints of Streamable HTTP, Schema Extension.

    Raises `ValueError` with the reason when an annotation is not allowed: the whole tool definition is invalid then.
    """
    found: list[HeaderParam] = []
    reachable: set[int] = set()
    _collect(schema, (), found, reachable)
    _refuse_elsewhere(schema, reachable, 0)
    names = [param.name.lower() for param in found]
    if len(set(names)) != len(names):
        raise ValueError("two parameters share one x-mcp-header name")
    return tuple(found)


def compile_schema(schema: object) -> Validator:
    """Compile a schema (default dialect 2020-12). Raises `ValueError` when it is invalid, too large or refers outside.

    compile_schema({"type": "integer"}).is_valid(3)
    """
    import jsonschema_rs

    check_bounds(schema)
    try:
        return jsonschema_rs.validator_for(schema, retriever=_never_fetch, validate_formats=False)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ValueError(f"the schema cannot be used: {error}") from None


def violations(validator: Validator, value: object, limit: int = 3, *, quote: bool = True) -> list[str]:
    """The first few reasons why a value does not satisfy a schema, as text for a person or a model.

    Parameters:
        quote: reasons may repeat parts of the value; without, they name the rule alone, for a log.
    """
    reasons: list[str] = []
    for error in validator.iter_errors(value):
        path = ".".join(str(step) for step in getattr(error, "instance_path", ()))
        rule = "/".join(str(step) for step in getattr(error, "schema_path", ()))
        message = str(getattr(error, "message", error)) if quote else f"not what {rule} says"
        reasons.append(f"{path}: {message}" if path else message)
        if len(reasons) == limit:
            break
    return reasons


def check_bounds(schema: object) -> None:
    """Refuse schemas large or deep enough to be an attack (Composition-Keyword Resource Use)."""
    count = 0
    stack: list[tuple[object, int]] = [(schema, 0)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if depth > _MAX_SCHEMA_DEPTH * 2 or count > _MAX_SUBSCHEMAS:
            raise ValueError("the schema is too large or too deep")
        if isinstance(node, dict):
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)


def _collect(schema: object, path: tuple[str, ...], found: list[HeaderParam], reachable: set[int]) -> None:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) > _MAX_SCHEMA_DEPTH:
        return
    for name, child in properties.items():
        if not isinstance(child, dict):
            continue
        reachable.add(id(child))
        if "x-mcp-header" in child:
            found.append(_header_param(child, (*path, name)))
        _collect(child, (*path, name), found, reachable)


def _header_param(schema: dict[str, object], path: tuple[str, ...]) -> HeaderParam:
    header, kind = schema["x-mcp-header"], schema.get("type")
    where = ".".join(path)
    if not isinstance(header, str) or not _TOKEN.fullmatch(header):
        raise ValueError(f"x-mcp-header of {where} is not a header name token")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"x-mcp-header is only for string, integer and boolean parameters; {where} is {kind!r}")
    return HeaderParam(header, path, kind, b"mcp-param-" + header.lower().encode())


def _refuse_elsewhere(node: object, reachable: set[int], depth: int) -> None:
    if depth > _MAX_SCHEMA_DEPTH * 2:
        raise ValueError("the schema is too deep")
    if isinstance(node, dict):
        if "x-mcp-header" in node and id(node) not in reachable and not isinstance(node["x-mcp-header"], dict):
            raise ValueError("x-mcp-header stands where no chain of properties leads")
        for key, child in node.items():
            if key not in ("default", "const", "enum", "examples"):
                _refuse_elsewhere(child, reachable, depth + 1)
    elif isinstance(node, list):
        for child in node:
            _refuse_elsewhere(child, reachable, depth + 1)


def _never_fetch(uri: str) -> NoReturn:
    raise ValueError(f"the schema refers to {uri[:200]}, and nothing is fetched to resolve it")
