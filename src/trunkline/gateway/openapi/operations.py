"""The operations of a document as tools.

What it is for: which operations there are, what each is called, what it takes, and where each argument goes.
What may live here: pure functions from a document to `Operation`. What may not: HTTP.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from trunkline.engine.patterns import matches
from trunkline.gateway.openapi.document import Document
from trunkline.gateway.openapi.encoding import STYLES
from trunkline.gateway.openapi.schemas import Budget, Converter, Schema
from trunkline.portable.openapi import OpenApi, Override, Selection

METHODS = ("get", "head", "post", "put", "patch", "delete")
MOST = 5_000
"""Operations one document may have."""

_DESCRIPTION = 4_000
_NAME = 64
_NEVER = frozenset(
    [
        "accept",
        "content-type",
        "content-length",
        "authorization",
        "host",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "cookie",
        "expect",
        "proxy-authorization",
        "proxy-connection",
        "keep-alive",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "user-agent",
    ]
)
"""Headers that are not arguments: OpenAPI ignores the first and third; the others are HTTP's own, or credentials."""


@dataclass(frozen=True, slots=True)
class Argument:
    """Where one argument goes: `body` for a member of the body, `whole` for all of it."""

    place: str
    name: str
    style: str = ""
    explode: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a credential goes: `header`, `query` or `cookie` under a name, `bearer` or `basic`."""

    scheme: str
    place: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation and the tool made of it.

    Parameters:
        base: where the API is.
        fixed: arguments the configuration gives.
        media: the type of the body; empty for none.
        binary: members of a multipart body that are given in base64.
    """

    method: str
    path: str
    base: str
    tool: dict[str, object]
    arguments: Mapping[str, Argument]
    credentials: tuple[Credential, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    media: str = ""
    binary: frozenset[str] = frozenset()


def operations(document: Document, settings: OpenApi) -> tuple[dict[str, Operation], list[str]]:
    """The operations to show by the name of their tool, and what was left out and why."""
    made: dict[str, Operation] = {}
    faults: list[str] = []
    budget = Budget()
    unused = set(settings.operations.overrides)
    for method, path, item, operation in _listed(document, faults):
        if not _selected(settings, method, path, operation):
            continue
        if len(made) == MOST:
            faults.append(f"only the first {MOST:,} operations are shown")
            break
        own = str(operation.get("operationId") or _plain(f"{method}{path}"))
        unused.discard(own)
        override = settings.operations.overrides.get(own, Override())
        name = _unique(_plain(override.name or own), made)
        try:
            made[name] = _Maker(document, settings, budget, override).make(name, method, path, item, operation)
        except ValueError as error:
            faults.append(f"{method.upper()} {path[:100]}: {error}")
    faults += [f"no operation is called {name[:80]!r}, which `overrides` names" for name in sorted(unused)]
    return made, faults


_Found = tuple[str, str, Mapping[str, object], Mapping[str, object]]


def _listed(document: Document, faults: list[str]) -> Iterator[_Found]:
    for path, given in document.section("paths").items():
        try:
            item = document.follow(given)
        except ValueError as error:
            faults.append(f"{path[:100]}: {error}")
            continue
        for method in METHODS:
            operation = item.get(method)
            if isinstance(operation, Mapping) and path.startswith("/"):
                yield method, path, item, operation


def _selected(settings: OpenApi, method: str, path: str, operation: Mapping[str, object]) -> bool:
    include, exclude = settings.operations.include, settings.operations.exclude
    wanted = [matched for given, matched in _matches(include, method, path, operation) if given]
    return all(wanted) and not any(matched for _, matched in _matches(exclude, method, path, operation))


def _matches(
    selection: Selection, method: str, path: str, operation: Mapping[str, object]
) -> Iterator[tuple[bool, bool]]:
    """For each list of a selection, whether it is given and whether the operation matches it."""
    tags = operation.get("tags")
    facts: tuple[tuple[tuple[str, ...], list[object]], ...] = (
        (selection.operation_ids, [operation.get("operationId")]),
        (selection.tags, tags if isinstance(tags, list) else []),
        (tuple(given.lower() for given in selection.methods), [method]),
        (selection.paths, [path]),
    )
    for patterns, values in facts:
        texts = [value for value in values if isinstance(value, str)]
        yield bool(patterns), any(matches(pattern, text) for pattern in patterns for text in texts)


class _Maker:
    """Makes one tool."""

    def __init__(self, document: Document, settings: OpenApi, budget: Budget, override: Override) -> None:
        self._document = document
        self._settings = settings
        self._override = override
        self._budget = budget
        self._input = Converter(document, budget)
        self._arguments: dict[str, Argument] = {}
        self._properties: Schema = {}
        self._required: list[str] = []
        self._binary: set[str] = set()

    def make(
        self, name: str, method: str, path: str, item: Mapping[str, object], operation: Mapping[str, object]
    ) -> Operation:
        """The operation. Raises `ValueError` with why it cannot be a tool."""
        servers = operation.get("servers") or item.get("servers") or self._document.value.get("servers")
        base = self._document.base(servers, self._settings)
        self._parameters(path, item, operation)
        media = self._body(operation.get("requestBody"))
        for fixed in self._override.arguments:
            if fixed not in self._arguments:
                raise ValueError(f"it has no argument {fixed[:80]!r}, which `overrides` gives a value")
            self._properties.pop(fixed)
        tool = self._tool(name, method, path, operation)
        return Operation(
            method,
            path,
            base,
            tool,
            self._arguments,
            self._credentials(operation),
            self._override.arguments,
            media,
            frozenset(self._binary),
        )

    def _tool(self, name: str, method: str, path: str, operation: Mapping[str, object]) -> dict[str, object]:
        texts = [text for key in ("summary", "description") if isinstance(text := operation.get(key), str) and text]
        described = "\n\n".join(dict.fromkeys(text.strip() for text in texts)) or f"{method.upper()} {path}"
        description = self._override.description or described
        shape: Schema = {"type": "object", "properties": self._properties, "additionalProperties": False}
        required = [one for one in self._required if one in self._properties]
        if required:
            shape["required"] = required
        if self._input.definitions:
            shape["$defs"] = self._input.definitions
        tool: dict[str, object] = {"name": name, "description": description[:_DESCRIPTION], "inputSchema": shape}
        summary = operation.get("summary")
        if isinstance(summary, str) and summary:
            tool["title"] = summary[:200]
        tool["annotations"] = _annotations(method, tool.get("title"))
        if self._settings.operations.output and (output := self._output(operation)) is not None:
            tool["outputSchema"] = output
        return tool

    # -- what it takes ---------------------------------------------------------------------------------------------

    def _parameters(self, path: str, item: Mapping[str, object], operation: Mapping[str, object]) -> None:
        found: dict[tuple[str, str], Mapping[str, object]] = {}
        for holder in (item, operation):
            listed = holder.get("parameters")
            for given in listed if isinstance(listed, list) else ():
                parameter = self._document.follow(given)
                found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
        secret = self._secret_names()
        order = list(STYLES)
        for (place, name), parameter in sorted(found.items(), key=lambda one: order.index(one[0][0])
                                               if one[0][0] in order else -1):  # fmt: skip
            if place not in STYLES:
                raise ValueError(f"a parameter is in {place[:20]!r}, which is none of {', '.join(STYLES)}")
            folded = name.lower() if place == "header" else name
            if (place, folded) in secret or (place == "header" and folded in _NEVER):
                continue
            self._parameter(place, name, parameter)
        missing = set(re.findall(r"\{([^{}]*)\}", path)) - {name for place, name in found if place == "path"}
        if missing:
            raise ValueError(f"its path has the parameter {min(missing)[:80]!r}, which is not described")

    def _secret_names(self) -> set[tuple[str, str]]:
        """Where credentials travel: never filled in by a caller."""
        names: set[tuple[str, str]] = set()
        for given in self._document.section("components", "securitySchemes").values():
            scheme = self._document.follow(given)
            place, name = str(scheme.get("in")), str(scheme.get("name"))
            if scheme.get("type") == "apiKey":
                names.add((place, name.lower() if place == "header" else name))
        return names

    def _parameter(self, place: str, name: str, parameter: Mapping[str, object]) -> None:
        style = str(parameter.get("style", STYLES[place][0]))
        if style not in STYLES[place]:
            raise ValueError(f"the {place} parameter {name[:80]!r} has the style {style[:20]!r}, which does not exist")
        content = parameter.get("content")
        as_json = isinstance(content, Mapping)
        shape = next(iter(content.values()), {}) if isinstance(content, Mapping) else parameter
        schema = self._input.convert(shape.get("schema", {}) if isinstance(shape, Mapping) else {})
        text = parameter.get("description")
        if isinstance(text, str) and isinstance(schema, dict) and "description" not in schema:
            schema = {**schema, "description": text[:_DESCRIPTION]}
        argument = Argument(place, name, style, parameter.get("explode", style == "form") is True, as_json)
        self._add(argument, schema, place == "path" or parameter.get("required") is True)

    def _add(self, argument: Argument, schema: Schema | bool, required: bool) -> None:
        name = argument.name
        place = "body" if argument.place == "whole" else argument.place
        while name in self._arguments:
            name = f"{place}_{name}"
        self._arguments[name] = argument
        self._properties[name] = schema
        if required:
            self._required.append(name)

    # -- its body --------------------------------------------------------------------------------------------------

    def _body(self, given: object) -> str:
        """Take the body's members as arguments; returns its media type."""
        if given is None:
            return ""
        body = self._document.follow(given)
        content = body.get("content")
        media, shape = _media(content if isinstance(content, Mapping) else {})
        required = body.get("required") is True
        schema = shape.get("schema", {})
        members = self._members(schema)
        needed = members.get("required")
        listed = [one for one in needed if isinstance(one, str)] if isinstance(needed, list) else []
        form = media in ("application/x-www-form-urlencoded", "multipart/form-data")
        properties = members.get("properties")
        flat = isinstance(properties, Mapping) and (required or not listed) and _closed(members)
        if not isinstance(properties, Mapping) or not (flat or form):
            if form:
                raise ValueError(f"its body is {media}, and no properties of it are described")
            self._add(Argument("whole", "body"), self._input.convert(schema), required)
            return media
        for name, property_ in properties.items():
            if _is(self._document, property_, "readOnly"):
                continue
            made = self._input.convert(property_)
            if media == "multipart/form-data" and isinstance(made, dict) and made.get("format") == "binary":
                made = {**made, "contentEncoding": "base64"}
                del made["format"]
                self._binary.add(str(name))
            self._add(Argument("body", str(name)), made, required and name in listed)
        return media

    def _members(self, schema: object) -> Mapping[str, object]:
        try:
            return self._document.follow(schema)
        except ValueError:
            return {}

    # -- what it answers -------------------------------------------------------------------------------------------

    def _output(self, operation: Mapping[str, object]) -> Schema | None:
        """The schema of a successful answer where that is an object; without one where it cannot be converted."""
        responses = operation.get("responses")
        good = [code for code in responses if str(code).startswith("2")] if isinstance(responses, Mapping) else []
        if not isinstance(responses, Mapping) or len(good) != 1:
            return None
        try:
            content = self._document.follow(responses[good[0]]).get("content")
            media, shape = _media(content if isinstance(content, Mapping) else {})
            schema = shape.get("schema")
            if not _is_json(media) or self._members(schema).get("type") != "object":
                return None
            converter = Converter(self._document, self._budget)
            made = converter.convert(schema)
            if not isinstance(made, dict):
                return None
            outer: Schema = {**made, "type": "object"}
            return {**outer, "$defs": converter.definitions} if converter.definitions else outer
        except ValueError:
            return None

    def _credentials(self, operation: Mapping[str, object]) -> tuple[Credential, ...]:
        """The first alternative of its security requirements that the configuration has all credentials for."""
        wanted = operation.get("security", self._document.value.get("security"))
        schemes = self._document.section("components", "securitySchemes")
        for alternative in wanted if isinstance(wanted, list) else ():
            if not isinstance(alternative, Mapping) or not alternative or not alternative.keys() <= schemes.keys():
                continue
            if all(name in self._settings.auth for name in alternative):
                return tuple(_credential(name, self._document.follow(schemes[name])) for name in alternative)
        return ()


def _credential(name: str, scheme: Mapping[str, object]) -> Credential:
    kind, how = scheme.get("type"), str(scheme.get("scheme", "")).lower()
    if kind == "apiKey" and scheme.get("in") in ("header", "query", "cookie"):
        return Credential(name, str(scheme["in"]), str(scheme.get("name")))
    if kind == "http" and how == "basic":
        return Credential(name, "basic")
    if kind in ("oauth2", "openIdConnect") or how == "bearer":
        return Credential(name, "bearer")
    raise ValueError(f"its security scheme {name[:80]!r} is of a kind that is not known")


def _annotations(method: str, title: object) -> dict[str, object]:
    reads = method in ("get", "head")
    made: dict[str, object] = {"readOnlyHint": reads}
    if method == "delete":
        made["destructiveHint"] = True
    if method in ("put", "delete"):
        made["idempotentHint"] = True
    return {"title": title, **made} if title else made


def _media(content: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """The media type to use, JSON before others, and what is said of it. Raises `ValueError` for none we can send."""
    known = {str(name).partition(";")[0].strip().lower(): shape for name, shape in content.items()}
    order = [name for name in known if _is_json(name)]
    order += [name for name in ("application/x-www-form-urlencoded", "multipart/form-data") if name in known]
    order += [name for name in known if name.startswith("text/")]
    if "*/*" in known:
        known["application/json"] = known["*/*"]
        order.append("application/json")
    if not order:
        raise ValueError(f"its body has none of the types JSON, form or text, but {', '.join(known)[:100] or 'none'}")
    shape = known[order[0]]
    return order[0], shape if isinstance(shape, Mapping) else {}


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def _closed(schema: Mapping[str, object]) -> bool:
    """Whether an object is described by its properties alone, so that they can stand beside parameters."""
    mixed = ("allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentRequired", "dependentSchemas")
    wide = schema.get("additionalProperties")
    return (
        schema.get("type", "object") == "object" and not any(key in schema for key in mixed) and wide in (None, False)
    )


def _is(document: Document, node: object, flag: str) -> bool:
    try:
        return document.follow(node).get(flag) is True
    except ValueError:
        return False


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:_NAME] or "operation"


def _unique(name: str, taken: Mapping[str, object]) -> str:
    number, made = 2, name
    while made in taken:
        made, number = f"{name[: _NAME - 5]}_{number}", number + 1
    return made
