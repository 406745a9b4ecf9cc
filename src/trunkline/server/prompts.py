"""A prompt: a function that writes messages.

What it is for: rendering, and what `prompts/list` says about it.
What may live here: one prompt.
What may not: the collection of prompts.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, InternalError, InvalidParams, ToolError
from trunkline.runtime.pool import WorkerPool
from trunkline.server.calling import Function, caller
from trunkline.server.codec import InvalidArguments, arguments_codec
from trunkline.server.completion import completers
from trunkline.server.content import Block, Message, without_none
from trunkline.server.results import block
from trunkline.server.signature import Parameter, read_signature

_decode_texts = msgspec.json.Decoder(dict[str, str]).decode


class PromptOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an author may say about a prompt beside its function; see `Server.prompt`."""

    name: str | None = None
    title: str | None = None
    description: str | None = None
    icons: Sequence[Mapping[str, object]] | None = None
    meta: Mapping[str, object] | None = None
    completion: Mapping[str, Function | Iterable[str]] = {}
    inline: bool = False
    timeout: float | None = None


class Prompt:
    """One prompt.

    Parameters:
        function: gives a text, a `Message`, content, or a list of them.
        options: what its author said about it.
        pool: runs the function when it is synchronous.
    """

    __slots__ = ("_call", "_context", "_decode", "_description", "completers", "listed", "name", "parameters")

    def __init__(self, function: Function, options: PromptOptions, pool: WorkerPool) -> None:
        self.name: str = options.name or str(getattr(function, "__name__", ""))
        if not self.name:
            raise ConfigError("A prompt needs a name")
        signature = read_signature(function)
        self.parameters = signature.parameters
        self.completers = completers(signature.parameters, options.completion, pool)
        self._decode = arguments_codec(f"prompt {self.name!r}", signature.parameters, signature.rest).decode_strings
        self._context = signature.context
        self._call = caller(function, signature, pool, options.inline, options.timeout)
        self._description = options.description or signature.description
        self.listed: Mapping[str, object] = without_none(
            name=self.name,
            title=options.title,
            description=self._description,
            arguments=[_argument(parameter) for parameter in signature.parameters] or None,
            icons=options.icons,
            _meta=options.meta,
        )

    async def get(self, context: Context) -> Result:
        """Answer one `prompts/get`."""
        raw = context.params.arguments
        try:
            arguments = self._decode({} if raw is msgspec.UNSET else _decode_texts(raw))
        except InvalidArguments as error:
            raise InvalidParams(f"Invalid params: prompt {self.name!r}: {error}") from None
        except msgspec.MsgspecError:
            raise InvalidParams("Invalid params: the arguments of a prompt are texts") from None
        if self._context is not None:
            arguments[self._context] = context
        try:
            value = await self._call(**arguments)
        except ToolError as error:
            raise InternalError(error.message) from None
        messages = [_message(item) for item in (value if isinstance(value, list | tuple) else [value])]
        return without_none(description=self._description, messages=messages)


def _argument(parameter: Parameter) -> Block:
    return without_none(name=parameter.name, description=parameter.description, required=parameter.required)


def _message(value: object) -> Block:
    if isinstance(value, Message):
        return {"role": value.role, "content": block(value.content)}
    return {"role": "user", "content": block(value)}
