"""What a function takes and gives, read once when it is registered.

What it is for: parameters, their descriptions and defaults, the injected `Context`, the documentation.
What may live here: reading of signatures, annotations and docstrings.
What may not: schemas and decoding (those are the codecs).
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, get_args, get_origin

import msgspec

from trunkline.engine.context import Context
from trunkline.errors import ConfigError

REQUIRED = inspect.Parameter.empty
"""Stands for the default of a parameter that has none."""

_SECTION = re.compile(r"\s*(Args|Arguments|Parameters|Params)\s*:?\s*$")
_END = re.compile(r"\s*(Returns?|Raises|Yields?|Examples?|Notes?|Attributes)\s*:\s*$")
_GOOGLE = re.compile(r"(\s+)\*{0,2}([A-Za-z_]\w*)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_REST = re.compile(r"\s*:param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


class Header(msgspec.Struct, frozen=True):
    """Marks a parameter that clients mirror into the HTTP header `Mcp-Param-{name}`.

    region: Annotated[str, Header("Region")]
    """

    name: str


class Parameter(msgspec.Struct, frozen=True):
    """One parameter that the caller fills."""

    name: str
    annotation: object
    default: object = REQUIRED
    description: str | None = None
    header: str | None = None

    @property
    def required(self) -> bool:
        """Whether the caller must give it."""
        return self.default is REQUIRED


class Signature(msgspec.Struct, frozen=True):
    """A function as its callers see it.

    context: the name of the parameter that gets the `Context`, if there is one.
    rest: the annotation of `**kwargs`, or None without.
    returns: the return annotation, `REQUIRED` when there is none.
    """

    parameters: tuple[Parameter, ...]
    context: str | None
    rest: object
    returns: object
    description: str | None
    is_async: bool


def read_signature(function: Callable[..., object], headers: Mapping[str, str] | None = None) -> Signature:
    """Read a function's signature and docstring. Raises `ConfigError` for what no caller by name could fill."""
    target = function if inspect.isroutine(function) or inspect.isclass(function) else _called(function)
    label = getattr(function, "__name__", type(function).__name__)
    hints = _hints(target, label)
    description, documented = read_docstring(inspect.getdoc(function))
    wanted = dict(headers or {})
    parameters: list[Parameter] = []
    context: str | None = None
    rest: object = None
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = hints.get(name, typing.Any)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise ConfigError(f"{label}: {name!r} can only be given by position; arguments come by name")
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = annotation
        elif is_context(annotation):
            context = name
        else:
            parameters.append(_parameter(parameter, annotation, documented.get(name), wanted.pop(name, None)))
    if wanted:
        raise ConfigError(f"{label}: headers name parameters it does not have: {', '.join(sorted(wanted))}")
    return Signature(tuple(parameters), context, rest, hints.get("return", REQUIRED), description, _is_async(function))


def is_context(annotation: object) -> bool:
    """Whether a parameter of this type gets the `Context`, also as `Context | None`."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return any(is_context(member) for member in get_args(annotation))
    return isinstance(annotation, type) and issubclass(annotation, Context)


def read_docstring(text: str | None) -> tuple[str | None, dict[str, str]]:
    """The description, and the parameters' descriptions from Google sections or reST `:param` lines."""
    if not text:
        return None, {}
    summary: list[str] = []
    documented: dict[str, str] = {}
    section, current, indent = False, "", 0
    for line in text.splitlines():
        if _SECTION.match(line):
            section, current, indent = True, "", 0
        elif rest := _REST.match(line):
            current = rest[1]
            documented[current] = rest[2]
        elif section and (entry := _GOOGLE.match(line)) and (not indent or len(entry[1]) <= indent):
            current, indent = entry[2], len(entry[1])
            documented[current] = entry[3]
        elif (section or documented) and current and line.startswith(" ") and line.strip():
            documented[current] = f"{documented[current]} {line.strip()}".strip()
        elif section and not line.strip():
            current = ""
        elif not _END.match(line) and not documented:
            section = False
            summary.append(line)
        else:
            section, current = False, ""
            if not _END.match(line):
                continue
            break
    return "\n".join(summary).strip() or None, documented


def _parameter(
    parameter: inspect.Parameter, annotation: object, documented: str | None, header: str | None
) -> Parameter:
    description = documented
    kept: list[object] = []
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        for item in metadata:
            if isinstance(item, str):
                description = item
            elif isinstance(item, Header):
                header = item.name
            else:
                kept.append(item)
        annotation = Annotated[(base, *kept)] if kept else base
    return Parameter(parameter.name, annotation, parameter.default, description, header)


def _called(function: object) -> Callable[..., object]:
    inner = getattr(function, "func", None)
    if callable(inner):
        return typing.cast("Callable[..., object]", inner)
    return typing.cast("Callable[..., object]", type(function).__call__)


def _hints(target: Callable[..., object], label: str) -> dict[str, object]:
    try:
        return dict(typing.get_type_hints(target, include_extras=True))
    except NameError as error:
        raise ConfigError(
            f"{label}: the annotation {error.name!r} cannot be resolved where the function is registered;"
            " import the type at the top of the module"
        ) from None


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )
