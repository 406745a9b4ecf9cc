"""Suggestions for the arguments of prompts and the variables of templates.

What it is for: answer `completion/complete`.
What may live here: completers, by function or by a list of choices.
What may not: the things whose arguments are completed.
"""

import enum
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, get_args, get_origin

import msgspec

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, InternalError, InvalidParams
from trunkline.runtime.pool import WorkerPool
from trunkline.server.calling import Function, caller
from trunkline.server.signature import Parameter, read_signature

MAX_VALUES = 100
"""Values in one answer (utilities/completion, Completion Results)."""


class PromptReference(msgspec.Struct, tag_field="type", tag="ref/prompt"):
    """A prompt by name."""

    name: str


class ResourceReference(msgspec.Struct, tag_field="type", tag="ref/resource"):
    """A resource template by its text."""

    uri: str


class Argument(msgspec.Struct):
    """What is being typed."""

    name: str
    value: str


class Resolved(msgspec.Struct):
    """What is known already."""

    arguments: dict[str, str] = {}


class CompleteParams(msgspec.Struct):
    """The parameters of `completion/complete`."""

    ref: PromptReference | ResourceReference
    argument: Argument
    context: Resolved = msgspec.field(default_factory=Resolved)


class Completed(msgspec.Struct, frozen=True):
    """Suggestions of which more exist than are given.

    Parameters:
        values: the first of them, best first.
        total: how many there are.
        has_more: whether there are more than these.
    """

    values: Sequence[str]
    total: int | None = None
    has_more: bool | None = None


_decode = msgspec.json.Decoder(CompleteParams).decode


def read_params(context: Context) -> CompleteParams:
    """Decode the request. Raises `InvalidParams`."""
    try:
        return _decode(context.params.raw)
    except msgspec.MsgspecError as error:
        raise InvalidParams(f"Invalid params: {error}") from None


class Completer:
    """Suggests values of one argument.

    Parameters:
        source: choices, or a function of the text typed so far, which may also take the arguments known already
            (a dict, second) and the `Context`; it returns texts or a `Completed`.
        pool: runs the function when it is synchronous.
    """

    __slots__ = ("_call", "_choices", "_context", "_names")

    def __init__(self, source: Function | Iterable[str], pool: WorkerPool) -> None:
        self._choices: tuple[str, ...] = ()
        self._context: str | None = None
        self._names: tuple[str, ...] = ()
        if not callable(source):
            self._choices, self._call = tuple(source), None
            return
        signature = read_signature(source)
        self._names = tuple(parameter.name for parameter in signature.parameters)
        if not 1 <= len(self._names) <= 2:
            raise ConfigError("A completion takes the text typed so far, and perhaps a dict of the other arguments")
        self._context = signature.context
        self._call = caller(source, signature, pool, False, None)

    async def complete(self, context: Context, params: CompleteParams) -> Result:
        """The suggestions for what was typed."""
        typed = params.argument.value
        if self._call is None:
            wanted = typed.casefold()
            return _answer([choice for choice in self._choices if choice.casefold().startswith(wanted)])
        arguments: dict[str, object] = dict(zip(self._names, (typed, params.context.arguments), strict=False))
        if self._context is not None:
            arguments[self._context] = context
        return _answer(await self._call(**arguments))


def choices(parameter: Parameter) -> tuple[str, ...]:
    """The texts a parameter may have by its type: `Literal` and string enumerations."""
    annotation = parameter.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    members: Sequence[object] = (annotation,)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        members = get_args(annotation)
    found: list[str] = []
    for member in members:
        if get_origin(member) is Literal:
            found += [value for value in get_args(member) if isinstance(value, str)]
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            found += [item.value for item in member if isinstance(item.value, str)]
    return tuple(found)


def completers(
    parameters: Sequence[Parameter], given: Mapping[str, Function | Iterable[str]], pool: WorkerPool
) -> dict[str, Completer]:
    """The completers of one thing: those its author gave, and those its types imply. Raises `ConfigError`."""
    names = {parameter.name for parameter in parameters}
    if unknown := given.keys() - names:
        raise ConfigError(f"There is no argument {', '.join(sorted(unknown))} to complete")
    found = {parameter.name: Completer(choices(parameter), pool) for parameter in parameters if choices(parameter)}
    found.update({name: Completer(source, pool) for name, source in given.items()})
    return found


def nothing() -> Result:
    """No suggestions."""
    return _answer([])


def _answer(value: object) -> Result:
    if isinstance(value, Completed):
        completion: dict[str, object] = {"values": list(value.values)[:MAX_VALUES]}
        if value.total is not None:
            completion["total"] = value.total
        completion["hasMore"] = len(value.values) > MAX_VALUES if value.has_more is None else value.has_more
        return {"completion": completion}
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InternalError("A completion did not return a list of texts")
    values = list(value)
    return {"completion": {"values": values[:MAX_VALUES], "total": len(values), "hasMore": len(values) > MAX_VALUES}}
