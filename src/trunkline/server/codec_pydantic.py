"""The codec for pydantic models and fields.

What it is for: schema, decoding and encoding by pydantic-core, from and to raw bytes.
What may live here: what pydantic does for one function; imported only where an annotation needs it.
What may not: anything functions without pydantic pay for.
"""

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, NotRequired, cast

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticSerializationError, PydanticUndefined
from typing_extensions import TypedDict

from trunkline.errors import ConfigError
from trunkline.server.codec import InvalidArguments, Schema, arguments_schema, complete_property
from trunkline.server.signature import REQUIRED, Parameter

_UNUSABLE = (PydanticUserError, PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError)
_REFERENCES = "#/$defs/{model}"


class PydanticArguments:
    """Arguments decoded into a dict of exactly the function's parameters."""

    def __init__(self, label: str, parameters: tuple[Parameter, ...], rest: object) -> None:
        parameters = tuple(_resolve(parameter) for parameter in parameters)
        self._known = frozenset(parameter.name for parameter in parameters)
        self._rest: TypeAdapter[dict[str, object]] | None = None
        try:
            self._adapter = _adapter(parameters, closed=rest is None)
            generated = self._adapter.json_schema(ref_template=_REFERENCES)
            if rest is not None:
                self._rest = TypeAdapter(cast("Any", dict)[str, rest])
        except _UNUSABLE as error:
            raise ConfigError(f"{label}: {error}") from None
        definitions = generated.pop("$defs", {})
        known = generated.get("properties", {})
        properties: dict[str, object] = {
            parameter.name: complete_property(parameter, known[parameter.name]) for parameter in parameters
        }
        additional: object = False
        if self._rest is not None:
            unknown = self._rest.json_schema(ref_template=_REFERENCES)
            definitions.update(unknown.pop("$defs", {}))
            additional = unknown.get("additionalProperties", {})
        self.schema: Schema = arguments_schema(parameters, properties, definitions, additional)

    def decode(self, raw: bytes) -> dict[str, object]:
        """Raw JSON to keyword arguments."""
        try:
            # Raw bytes come as `msgspec.Raw`, which pydantic-core does not read.
            arguments = self._adapter.validate_json(bytes(raw), strict=True)
            if self._rest is not None:
                unknown = {key: value for key, value in arguments.items() if key not in self._known}
                arguments.update(self._rest.validate_python(unknown, strict=True))
            return arguments
        except ValidationError as error:
            raise InvalidArguments(_explain(error)) from None

    def decode_strings(self, values: Mapping[str, str]) -> dict[str, object]:
        """Texts to keyword arguments."""
        try:
            return self._adapter.validate_python(dict(values))
        except ValidationError as error:
            raise InvalidArguments(_explain(error)) from None


class PydanticResult:
    """Results validated against the type, then written by its serializer."""

    def __init__(self, label: str, annotation: object) -> None:
        try:
            self._adapter: TypeAdapter[object] = TypeAdapter(cast("Any", annotation))
            self.schema: Schema = self._adapter.json_schema(ref_template=_REFERENCES, mode="serialization")
        except _UNUSABLE as error:
            raise ConfigError(f"{label}: {error}") from None

    def encode(self, value: object) -> bytes:
        """A value to JSON."""
        try:
            return self._adapter.dump_json(self._adapter.validate_python(value), by_alias=True)
        except ValidationError as error:
            raise InvalidArguments(_explain(error)) from None
        except PydanticSerializationError as error:
            raise InvalidArguments([str(error)]) from None


def _adapter(parameters: tuple[Parameter, ...], *, closed: bool) -> TypeAdapter[dict[str, object]]:
    fields: dict[str, object] = {}
    for parameter in parameters:
        annotation = parameter.annotation
        fields[parameter.name] = annotation if parameter.required else cast("Any", NotRequired)[annotation]
    # The shape is known only now, which static types cannot follow.
    shape = cast("Any", TypedDict)("Arguments", fields)
    shape.__pydantic_config__ = ConfigDict(extra="forbid" if closed else "allow")
    return TypeAdapter(shape)


def _resolve(parameter: Parameter) -> Parameter:
    """A default written as `Field(...)` becomes a part of the annotation and a plain default."""
    field = parameter.default
    if not isinstance(field, FieldInfo):
        return parameter
    default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
    kept = copy(field)
    kept.default, kept.default_factory = PydanticUndefined, None
    annotation = cast("Any", Annotated)[parameter.annotation, kept]
    return Parameter(parameter.name, annotation, default, parameter.description, parameter.header)


def _explain(error: ValidationError) -> list[str]:
    return [_line(detail) for detail in error.errors(include_url=False, include_context=False)[:5]]


def _line(detail: ErrorDetails) -> str:
    place = ".".join(str(step) for step in detail["loc"])
    reason = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{place}: {reason}" if place else reason
