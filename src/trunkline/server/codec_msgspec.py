"""The codec for plain annotations, dataclasses, TypedDicts and Structs.

What it is for: schema, decoding and encoding by msgspec, from and to raw bytes.
What may live here: what msgspec does for one function.
What may not: pydantic.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, cast

import msgspec
from msgspec import structs

from trunkline.errors import ConfigError
from trunkline.server.codec import InvalidArguments, Schema, arguments_schema, complete_property
from trunkline.server.signature import Parameter

_PLACE = re.compile(r"(?P<reason>.*?)(?: - at `(?P<place>[^`]*)`)?$", re.DOTALL)


class MsgspecArguments:
    """Arguments decoded into a Struct made for the function."""

    def __init__(self, label: str, parameters: tuple[Parameter, ...], rest: object) -> None:
        try:
            self.schema = _arguments_schema(parameters, rest)
            arguments = _struct(parameters, closed=rest is None)
            self._decode = msgspec.json.Decoder(arguments, dec_hook=_as_it_is).decode
            self._rest = None if rest is None else msgspec.json.Decoder(dict[str, rest], dec_hook=_as_it_is).decode  # type: ignore[valid-type]
        except TypeError as error:
            raise ConfigError(f"{label}: {error}") from None
        self._struct = arguments
        self._known = frozenset(parameter.name for parameter in parameters)

    def decode(self, raw: bytes) -> dict[str, object]:
        """Raw JSON to keyword arguments."""
        try:
            arguments = structs.asdict(self._decode(raw))
            if self._rest is not None:
                arguments.update(self._unknown(raw))
            return arguments
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments([explain(error)]) from None

    def decode_strings(self, values: Mapping[str, str]) -> dict[str, object]:
        """Texts to keyword arguments."""
        try:
            arguments = structs.asdict(msgspec.convert(values, self._struct, strict=False, dec_hook=_as_it_is))
            if self._rest is not None:
                arguments.update({key: value for key, value in values.items() if key not in self._known})
            return arguments
        except msgspec.ValidationError as error:
            raise InvalidArguments([explain(error)]) from None

    def _unknown(self, raw: bytes) -> dict[str, object]:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        unknown = {key: value for key, value in members.items() if key not in self._known}
        return cast("dict[str, object]", self._rest(msgspec.json.encode(unknown))) if self._rest else {}


class MsgspecResult:
    """Results encoded, and checked by decoding what was encoded."""

    def __init__(self, label: str, annotation: object) -> None:
        try:
            (schema,), definitions = _schemas([cast("type", annotation)])
            self._check: Callable[[bytes], object] = msgspec.json.Decoder(
                cast("type", annotation), dec_hook=_as_it_is
            ).decode
        except TypeError as error:
            raise ConfigError(f"{label}: {error}") from None
        self.schema: Schema = {**schema, "$defs": definitions} if definitions else dict(schema)

    def encode(self, value: object) -> bytes:
        """A value to JSON."""
        try:
            encoded = encode(value)
            self._check(encoded)
        except (msgspec.MsgspecError, TypeError, RecursionError) as error:
            raise InvalidArguments([explain(error)]) from None
        return encoded


def explain(error: Exception) -> str:
    """A decoder's message as a line for a model: the place first."""
    found = _PLACE.match(str(error))
    reason, place = (found["reason"], found["place"]) if found else (str(error), None)
    place = (place or "").removeprefix("$").removeprefix(".")
    reason = reason.replace("Object ", "", 1) if reason.startswith("Object ") else reason[:1].lower() + reason[1:]
    return f"{place}: {reason}" if place else reason


def _as_it_is(annotation: type, value: object) -> object:
    """`object` takes any JSON; msgspec knows that by the name of `Any` alone."""
    if annotation is object:
        return value
    raise TypeError(f"{annotation.__name__} has no JSON form")


def _any_schema(annotation: type) -> Schema:
    if annotation is object:
        # Admits everything; msgspec takes an empty schema for none.
        return {"title": "Any"}
    raise NotImplementedError


def _schemas(annotations: list[type]) -> tuple[tuple[Schema, ...], Schema]:
    return msgspec.json.schema_components(annotations, schema_hook=_any_schema, ref_template="#/$defs/{name}")


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


encode = msgspec.json.Encoder(enc_hook=_plain).encode
"""Encode what a function returned; pydantic models by their own rules."""


def _struct(parameters: tuple[Parameter, ...], *, closed: bool) -> type[msgspec.Struct]:
    fields: list[tuple[str, type] | tuple[str, type, object]] = []
    for parameter in parameters:
        annotation = cast("type", parameter.annotation)
        if parameter.required:
            fields.append((parameter.name, annotation))
        else:
            fields.append(
                (parameter.name, annotation, msgspec.field(default_factory=partial(_same, parameter.default)))
            )
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=closed)


def _same(default: object) -> object:
    """A parameter's default is the same object each time, as in a Python call."""
    return default


def _arguments_schema(parameters: tuple[Parameter, ...], rest: object) -> Schema:
    types = [cast("type", _described(parameter)) for parameter in parameters]
    if rest is not None:
        types.append(cast("type", rest))
    described, definitions = _schemas(types)
    properties: dict[str, object] = {}
    for parameter, schema in zip(parameters, described, strict=False):
        properties[parameter.name] = complete_property(parameter, dict(schema))
    return arguments_schema(parameters, properties, definitions, False if rest is None else described[-1])


def _described(parameter: Parameter) -> object:
    if parameter.description is None:
        return parameter.annotation
    return Annotated[parameter.annotation, msgspec.Meta(description=parameter.description)]
