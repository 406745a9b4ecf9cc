"""A tool: a function with everything about it compiled once.

What it is for: the call itself, and what `tools/list` says about it.
What may live here: one tool.
What may not: the collection of tools, transports.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import msgspec

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, InvalidParams, ProtocolError, ToolError
from trunkline.protocol import schema as json_schema
from trunkline.protocol.headers import HeaderParam
from trunkline.runtime.pool import WorkerPool
from trunkline.server.calling import Function, caller
from trunkline.server.codec import ArgumentsCodec, InvalidArguments, Schema, arguments_codec
from trunkline.server.content import without_none
from trunkline.server.results import OutputMismatch, error_result, finisher
from trunkline.server.signature import Signature, read_signature

if TYPE_CHECKING:
    from trunkline.extensions.tasks.policy import TaskPolicy

logger = logging.getLogger("trunkline.server")

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")
_NO_ARGUMENTS = b"{}"


class ToolOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an author may say about a tool beside its function; see `Server.tool`."""

    name: str | None = None
    title: str | None = None
    description: str | None = None
    annotations: Mapping[str, object] | None = None
    icons: Sequence[Mapping[str, object]] | None = None
    input_schema: Schema | None = None
    output_schema: Schema | None = None
    structured: bool | None = None
    headers: Mapping[str, str] | None = None
    meta: Mapping[str, object] | None = None
    inline: bool = False
    timeout: float | None = None
    task: "TaskPolicy | bool | None" = None


class Tool:
    """One tool.

    Parameters:
        function: what it does.
        options: what its author said about it.
        pool: runs the function when it is synchronous.
    """

    __slots__ = ("_call", "_context", "_decode", "_finish", "headers", "listed", "name")

    def __init__(self, function: Function, options: ToolOptions, pool: WorkerPool) -> None:
        self.name: str = options.name or str(getattr(function, "__name__", ""))
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"The tool name {self.name[:140]!r} is not 1 to 128 characters of A-Z a-z 0-9 _ - .")
        label = f"tool {self.name!r}"
        signature = read_signature(function, options.headers)
        codec = _verbatim(label, signature, options.input_schema) or arguments_codec(
            label, signature.parameters, signature.rest
        )
        finish = finisher(label, signature.returns, options.structured, options.output_schema)
        self._decode = codec.decode
        self._finish = finish
        self._context = signature.context
        self._call = caller(function, signature, pool, options.inline, options.timeout)
        try:
            self.headers: tuple[HeaderParam, ...] = json_schema.header_params(codec.schema)
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None
        self.listed: Mapping[str, object] = _listed(self.name, signature, options, codec.schema, finish.schema)

    async def call(self, context: Context) -> Result:
        """Answer one `tools/call`."""
        raw = context.params.arguments
        try:
            arguments = self._decode(_NO_ARGUMENTS if raw is msgspec.UNSET else raw)
        except InvalidArguments as error:
            return self._refuse(raw, error)
        if self._context is not None:
            arguments[self._context] = context
        try:
            return self._finish(await self._call(**arguments))
        except OutputMismatch as error:
            logger.error("tool %r returned what its output schema does not allow: %s", self.name, error)
            return error_result(f"Tool {self.name!r} returned a result that does not match its output schema")
        except ToolError as error:
            if context.run is not None and context.run.retries(error):
                raise
            return error_result(error.message)
        except ProtocolError:
            raise
        except Exception as error:
            if context.run is not None and context.run.retries(error):
                raise
            logger.exception("tool %r failed", self.name, extra={"request": context.trace})
            return error_result(f"Tool {self.name!r} failed")

    def _refuse(self, raw: object, error: InvalidArguments) -> Result:
        """Wrong arguments are the model's to correct; arguments that are no object are a malformed request."""
        if not isinstance(raw, msgspec.UnsetType) and not bytes(cast("bytes", raw)).lstrip().startswith(b"{"):
            raise InvalidParams("Invalid params: 'arguments' must be an object")
        reasons = "\n".join(f"- {reason}" for reason in error.reasons)
        return error_result(f"Invalid arguments for tool {self.name!r}:\n{reasons}")


class VerbatimArguments:
    """Arguments that must satisfy a schema the author wrote.

    Parameters:
        name: the parameter that gets them as one dict; None spreads them over `**kwargs`.
    """

    def __init__(self, label: str, name: str | None, schema: Schema) -> None:
        if schema.get("type") != "object":
            raise ConfigError(f'{label}: an input_schema needs "type": "object"')
        self.schema = schema
        self._name = name
        try:
            self._validator = json_schema.compile_schema(schema)
        except ValueError as error:
            raise ConfigError(f"{label}: {error}") from None

    def decode(self, raw: bytes) -> dict[str, object]:
        """The checked arguments, as the function takes them."""
        try:
            arguments: dict[str, object] = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArguments([str(error)]) from None
        reasons = json_schema.violations(self._validator, arguments)
        if reasons:
            raise InvalidArguments(reasons)
        return arguments if self._name is None else {self._name: arguments}

    def decode_strings(self, values: Mapping[str, str]) -> dict[str, object]:
        """The texts as they are."""
        return dict(values) if self._name is None else {self._name: dict(values)}


def _verbatim(label: str, signature: Signature, schema: Schema | None) -> ArgumentsCodec | None:
    if schema is None:
        return None
    if len(signature.parameters) + (signature.rest is not None) != 1:
        raise ConfigError(f"{label}: with an input_schema the function takes one dict of arguments, or **arguments")
    return VerbatimArguments(label, None if signature.rest is not None else signature.parameters[0].name, schema)


def _listed(
    name: str, signature: Signature, options: ToolOptions, input_schema: Schema, output_schema: Schema | None
) -> Mapping[str, object]:
    return without_none(
        name=name,
        title=options.title,
        description=options.description or signature.description,
        inputSchema=input_schema,
        outputSchema=output_schema,
        annotations=options.annotations,
        icons=options.icons,
        _meta=options.meta,
    )
