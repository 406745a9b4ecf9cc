"""A resource or a resource template: a function that is read.

What it is for: reading, and what the lists say about it.
What may live here: one resource.
What may not: the collection of resources.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import ConfigError, InternalError, ResourceNotFound, ToolError
from trunkline.runtime.pool import WorkerPool
from trunkline.server.calling import Function, caller
from trunkline.server.codec import InvalidArguments, arguments_codec
from trunkline.server.codec_msgspec import encode
from trunkline.server.completion import completers
from trunkline.server.content import Annotations, Block, Contents, without_none
from trunkline.server.signature import Signature, read_signature
from trunkline.server.uri_template import UriTemplate


class ResourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an author may say about a resource beside its function; see `Server.resource`."""

    name: str | None = None
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None
    annotations: Annotations | None = None
    icons: Sequence[Mapping[str, object]] | None = None
    meta: Mapping[str, object] | None = None
    ttl_ms: int | None = None
    cache_scope: str | None = None
    completion: Mapping[str, Function | Iterable[str]] = {}
    inline: bool = False
    timeout: float | None = None


class Resource:
    """One resource, or all of one template.

    Parameters:
        uri: the URI, or a template when it has expressions in braces.
        function: what is read; a template's variables are its parameters.
        options: what its author said about it.
        pool: runs the function when it is synchronous.
    """

    __slots__ = (
        "_call",
        "_context",
        "_decode",
        "_hints",
        "_mime_type",
        "completers",
        "listed",
        "parameters",
        "template",
        "uri",
    )

    def __init__(self, uri: str, function: Function, options: ResourceOptions, pool: WorkerPool) -> None:
        label = f"resource {uri!r}"
        if ":" not in uri:
            raise ConfigError(f"{label}: a URI starts with a scheme, for example weather://")
        signature = read_signature(function)
        self.uri = uri
        self.template = UriTemplate(uri) if "{" in uri or "}" in uri else None
        _check_variables(label, self.template, signature)
        self.parameters = signature.parameters
        self.completers = completers(signature.parameters, options.completion, pool)
        self._decode = arguments_codec(label, signature.parameters, None).decode_strings
        self._context = signature.context
        self._call = caller(function, signature, pool, options.inline, options.timeout)
        self._mime_type = options.mime_type
        self._hints = without_none(ttlMs=options.ttl_ms, cacheScope=options.cache_scope)
        self.listed: Mapping[str, object] = self._describe(function, signature, options)

    async def read(self, context: Context, uri: str, variables: Mapping[str, str]) -> Result:
        """Answer one `resources/read`."""
        try:
            arguments = self._decode(variables)
        except InvalidArguments:
            # A variable of another type means that no such resource exists.
            raise ResourceNotFound(uri) from None
        if self._context is not None:
            arguments[self._context] = context
        try:
            value = await self._call(**arguments)
        except ToolError as error:
            raise InternalError(error.message) from None
        return {"contents": self._contents(uri, value), **self._hints}

    def _contents(self, uri: str, value: object) -> list[Block]:
        if isinstance(value, list | tuple) and value and all(isinstance(item, Contents) for item in value):
            return [item.wire(uri, self._mime_type) for item in value]
        if isinstance(value, Contents):
            return [value.wire(uri, self._mime_type)]
        if isinstance(value, str):
            return [Contents(value).wire(uri, self._mime_type or "text/plain")]
        if isinstance(value, bytes):
            return [Contents(value).wire(uri, self._mime_type or "application/octet-stream")]
        return [Contents(encode(value).decode()).wire(uri, self._mime_type or "application/json")]

    def _describe(self, function: Function, signature: Signature, options: ResourceOptions) -> Mapping[str, object]:
        return without_none(
            **{"uri" if self.template is None else "uriTemplate": self.uri},
            name=options.name or getattr(function, "__name__", self.uri),
            title=options.title,
            description=options.description or signature.description,
            mimeType=options.mime_type,
            size=options.size,
            annotations=None if options.annotations is None else options.annotations.wire(),
            icons=options.icons,
            _meta=options.meta,
        )


def _check_variables(label: str, template: UriTemplate | None, signature: Signature) -> None:
    variables = set(template.variables if template else ())
    optional = set(template.query if template else ())
    taken = {parameter.name for parameter in signature.parameters}
    required = {parameter.name for parameter in signature.parameters if parameter.required}
    if missing := variables - taken:
        raise ConfigError(f"{label}: the function has no parameter for {', '.join(sorted(missing))}")
    if unfilled := required - (variables - optional):
        raise ConfigError(f"{label}: nothing fills {', '.join(sorted(unfilled))}; give a default")
