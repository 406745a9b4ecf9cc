"""What a return value becomes.

What it is for: text and content blocks, structured content that satisfies the output schema, errors a model can read.
What may live here: encoders made once for each tool.
What may not: arguments, calling.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

import msgspec

from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, ToolError
from trunkline.protocol import schema as json_schema
from trunkline.server.codec import InvalidArguments, ResultCodec, Schema, result_codec
from trunkline.server.codec_msgspec import encode
from trunkline.server.content import CONTENT_TYPES, Block, ToolResult
from trunkline.server.signature import REQUIRED

_ANYTHING = (object, Any)

Finish = Callable[[object], Result]
"""Turns what a tool returned into its result."""


def error_result(text: str) -> Result:
    """A result a model can correct itself by (server/tools, Error Handling)."""
    return {"content": [{"type": "text", "text": text}], "isError": True}


def blocks(value: object) -> list[object]:
    """Any value as content blocks: content as it is, text as text, the rest as compact JSON."""
    if value is None:
        return []
    if isinstance(value, list | tuple) and any(isinstance(item, CONTENT_TYPES) for item in value):
        return [block(item) for item in value]
    return [block(value)]


def block(value: object) -> Block:
    """One value as one content block."""
    if isinstance(value, str):
        return {"type": "text", "text": value}
    if isinstance(value, CONTENT_TYPES):
        return value.wire()  # type: ignore[no-any-return, attr-defined]
    return {"type": "text", "text": encode(value).decode()}


class Plain:
    """Results without structured content of their own; a `ToolResult` may bring some."""

    schema: Schema | None = None

    def __call__(self, value: object) -> Result:
        """Text, blocks, or what a `ToolResult` says."""
        if isinstance(value, str):
            return {"content": [{"type": "text", "text": value}]}
        if isinstance(value, ToolResult):
            return tool_result(value)
        return {"content": blocks(value)}


class Structured:
    """Results of an annotated type: JSON once, as text and as structured content.

    What is not an object is wrapped as `{"result": ...}`: older revisions know objects only.
    """

    def __init__(self, codec: ResultCodec) -> None:
        self._encode = codec.encode
        schema = _inlined(codec.schema)
        self._wrapped = schema.get("type") != "object"
        self.schema: Schema = _wrap(codec.schema) if self._wrapped else schema

    def __call__(self, value: object) -> Result:
        """Text and structured content."""
        if isinstance(value, ToolResult):
            return tool_result(value)
        try:
            encoded = self._encode(value)
        except InvalidArguments as error:
            raise OutputMismatch(str(error)) from None
        structured = b'{"result":' + encoded + b"}" if self._wrapped else encoded
        text = value if isinstance(value, str) else encoded.decode()
        return {"content": [{"type": "text", "text": text}], "structuredContent": msgspec.Raw(structured)}


class Checked:
    """Results that must satisfy a schema the author wrote."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._validator = json_schema.compile_schema(schema)

    def __call__(self, value: object) -> Result:
        """Structured content that was checked."""
        result = tool_result(value if isinstance(value, ToolResult) else ToolResult(value, value))
        if result.get("isError"):
            return result
        if "structuredContent" not in result:
            raise OutputMismatch("no structured content")
        plain = msgspec.json.decode(encode(result["structuredContent"]))
        # It is logged, so it must not quote the result.
        reasons = json_schema.violations(self._validator, plain, quote=False)
        if reasons:
            raise OutputMismatch("; ".join(reasons))
        result["structuredContent"] = plain
        return result


class OutputMismatch(ToolError):
    """The tool returned something that its output schema does not allow."""


def tool_result(value: ToolResult) -> Result:
    """The wire form of a `ToolResult`."""
    content = value.content
    result: Result = {"content": blocks(list(content) if isinstance(content, tuple) else content)}
    if content == ():
        result["content"] = [] if value.structured is None else [block(value.structured)]
    if value.structured is not None:
        result["structuredContent"] = msgspec.Raw(encode(value.structured))
    if value.is_error:
        result["isError"] = True
    if value.meta is not None:
        result["_meta"] = dict(value.meta)
    return result


def finisher(
    label: str, returns: object, structured: bool | None, output_schema: Schema | None
) -> Plain | Structured | Checked:
    """What turns a tool's return values into results.

    Parameters:
        returns: the return annotation.
        structured: False for no structured content, True to insist on it, None to follow the annotation.
        output_schema: a schema written by the author; wins over the annotation.
    """
    if output_schema is not None:
        if output_schema.get("type") != "object":
            raise ConfigError(f'{label}: an output_schema needs "type": "object"')
        try:
            return Checked(output_schema)
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None
    if structured is False or (structured is None and not _describes_data(returns)):
        return Plain()
    if returns is REQUIRED:
        raise ConfigError(f"{label}: structured output needs a return annotation or an output_schema")
    return Structured(result_codec(label, returns))


def _describes_data(annotation: object) -> bool:
    """Whether a return type is data of a known shape, rather than text or content."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation in (REQUIRED, None, type(None), str, bytes, list, tuple, *_ANYTHING):
        return False
    if get_origin(annotation) in (list, tuple, Sequence) and any(item in _ANYTHING for item in get_args(annotation)):
        # Content may stand among the items.
        return False
    return not any(member in (*CONTENT_TYPES, ToolResult) for member in _members(annotation))


def _members(annotation: object) -> Iterable[object]:
    yield annotation
    for member in get_args(annotation):
        yield from _members(member)


def _inlined(schema: Schema) -> Schema:
    """A schema that starts with a reference, with the definition in its place: older revisions want `type` there."""
    reference, definitions = schema.get("$ref"), schema.get("$defs")
    if not isinstance(reference, str) or not isinstance(definitions, dict):
        return schema
    name = reference.rpartition("/")[2]
    root: Schema = dict(definitions[name])
    # A definition that mentions itself stays, and so do all others.
    kept = {key: value for key, value in definitions.items() if key != name or reference in str(definitions)}
    return {**root, "$defs": kept} if kept else root


def _wrap(schema: Schema) -> Schema:
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    wrapped: Schema = {"type": "object", "properties": {"result": inner}, "required": ["result"]}
    if "$defs" in schema:
        wrapped["$defs"] = schema["$defs"]
    return wrapped
