"""Between raw JSON and Python values: the shape every codec has.

What it is for: one door for the libraries that know types; the choice between them.
What may live here: the protocols, the choice, the error a codec raises.
What may not: an import of pydantic.
"""

import dataclasses
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from trunkline.server.signature import Parameter

Schema = dict[str, object]

_THEIRS = {"pydantic", "annotated_types"}
_DEPTH = 8


class InvalidArguments(Exception):
    """Arguments do not fit; `reasons` tell a model what to change."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class ArgumentsCodec(Protocol):
    """Decodes the arguments of one function."""

    schema: Schema
    """JSON Schema of the arguments: an object."""

    def decode(self, raw: bytes) -> dict[str, object]:
        """Raw JSON to keyword arguments, strictly. Raises `InvalidArguments`."""

    def decode_strings(self, values: Mapping[str, str]) -> dict[str, object]:
        """Texts (URI variables, prompt arguments) to keyword arguments, converting. Raises `InvalidArguments`."""


class ResultCodec(Protocol):
    """Encodes and checks the results of one function."""

    schema: Schema
    """JSON Schema of the result."""

    def encode(self, value: object) -> bytes:
        """A value to JSON that satisfies `schema`. Raises `InvalidArguments` when it does not fit."""


def arguments_codec(label: str, parameters: tuple[Parameter, ...], rest: object) -> ArgumentsCodec:
    """The codec for a function's parameters. Raises `ConfigError` for types no codec knows."""
    if any(needs_pydantic(parameter.annotation) or needs_pydantic(parameter.default) for parameter in parameters):
        from trunkline.server.codec_pydantic import PydanticArguments

        return PydanticArguments(label, parameters, rest)
    from trunkline.server.codec_msgspec import MsgspecArguments

    return MsgspecArguments(label, parameters, rest)


def result_codec(label: str, annotation: object) -> ResultCodec:
    """The codec for a function's return type. Raises `ConfigError` for a type no codec knows."""
    if needs_pydantic(annotation):
        from trunkline.server.codec_pydantic import PydanticResult

        return PydanticResult(label, annotation)
    from trunkline.server.codec_msgspec import MsgspecResult

    return MsgspecResult(label, annotation)


def needs_pydantic(annotation: object, depth: int = 0) -> bool:
    """Whether pydantic's own things occur in an annotation; where nobody imported them they cannot."""
    if not _THEIRS & sys.modules.keys() or depth > _DEPTH:
        return False
    if type(annotation).__module__.partition(".")[0] in _THEIRS:
        return True
    if hasattr(annotation, "__pydantic_core_schema__") or hasattr(annotation, "__get_pydantic_core_schema__"):
        return True
    members: list[object] = list(typing.get_args(annotation))
    members += getattr(annotation, "__metadata__", ())
    if isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation)):
        members += _fields(annotation)
    return any(needs_pydantic(member, depth + 1) for member in members)


def _fields(annotation: type) -> list[object]:
    try:
        return list(typing.get_type_hints(annotation, include_extras=True).values())
    except NameError:
        # The codec that is chosen will say which name it is.
        return []


def arguments_schema(
    parameters: tuple[Parameter, ...],
    properties: dict[str, object],
    definitions: Mapping[str, object],
    additional: object,
) -> Schema:
    """The object schema of a function's arguments."""
    schema: Schema = {"type": "object", "properties": properties}
    required = [parameter.name for parameter in parameters if parameter.required]
    if required:
        schema["required"] = required
    if additional != {}:
        schema["additionalProperties"] = additional
    if definitions:
        schema["$defs"] = dict(definitions)
    return schema


def complete_property(parameter: Parameter, schema: Schema) -> Schema:
    """Add what the signature knows: description, default, header."""
    if parameter.description is not None and "description" not in schema:
        schema["description"] = parameter.description
    if parameter.header is not None:
        schema["x-mcp-header"] = parameter.header
    if not parameter.required:
        try:
            schema["default"] = msgspec.to_builtins(parameter.default)
        except (TypeError, ValueError):
            # A default without a JSON form is the function's own affair.
            schema.pop("default", None)
    return schema
