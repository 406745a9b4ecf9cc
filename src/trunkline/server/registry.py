"""Functions become tools, resources and prompts.

What it is for: the decorators of `Server`, and the same at run time.
What may live here: registration.
What may not: the server's own options, how requests are answered.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from trunkline.engine.doors import Change
from trunkline.errors import ConfigError
from trunkline.server.calling import Function
from trunkline.server.codec import Schema
from trunkline.server.completion import completers
from trunkline.server.content import Annotations
from trunkline.server.prompts import Prompt, PromptOptions
from trunkline.server.provider import FunctionProvider
from trunkline.server.resources import Resource, ResourceOptions
from trunkline.server.tools import Tool, ToolOptions

if TYPE_CHECKING:
    from trunkline.extensions.tasks.policy import TaskPolicy

F = TypeVar("F", bound=Callable[..., object])


class Registry:
    """What a server offers; listeners are told of every change."""

    def __init__(self, provider: FunctionProvider) -> None:
        self.provider = provider

    # -- tools -----------------------------------------------------------------------------------------------------

    @overload
    def tool(self, function: F, /) -> F: ...

    @overload
    def tool(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: Mapping[str, object] | None = None,
        icons: Sequence[Mapping[str, object]] | None = None,
        input_schema: Schema | None = None,
        output_schema: Schema | None = None,
        structured: bool | None = None,
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, object] | None = None,
        inline: bool = False,
        timeout: float | None = None,
        task: "TaskPolicy | bool | None" = None,
    ) -> Callable[[F], F]: ...

    def tool(self, function: F | None = None, /, **options: object) -> F | Callable[[F], F]:
        """Make a function a tool; bare, or with options.

        Parameters:
            name, title, description: by default the function's name and docstring.
            annotations: `ToolAnnotations`, for example `{"readOnlyHint": True}`.
            icons: `Icon` objects.
            input_schema: a JSON Schema to use verbatim; the function then takes one dict.
            output_schema: a JSON Schema to use verbatim; results are checked against it.
            structured: False for no structured content; None follows the return annotation.
            headers: parameter -> name of the `Mcp-Param-*` header that mirrors it.
            meta: the tool's `_meta`.
            inline: run a synchronous function on the event loop; only for one that never waits.
            timeout: seconds one call may run.
            task: True, or a `TaskPolicy`: calls become durable tasks of clients that know them, and run to their end
                for all others. The first such tool is registered before the server starts.

        Raises `ConfigError` for a signature or schema that cannot work.

            @server.tool(annotations={"readOnlyHint": True})
            async def add(a: int, b: int) -> int: ...
        """
        chosen = ToolOptions(**options)  # type: ignore[arg-type]

        def register(function: F) -> F:
            self.add_tool(function, chosen)
            return function

        return register if function is None else register(function)

    def add_tool(self, function: Callable[..., object], options: ToolOptions | None = None) -> None:
        """Register a tool at run time; listeners are told."""
        chosen = options or ToolOptions()
        tool = Tool(function, chosen, self.provider.pool)
        self.provider.tools.add(tool.name, tool)
        if chosen.task:
            self._make_durable(tool, chosen.task)
        self.provider.changed(Change("tools"))

    def remove_tool(self, name: str) -> None:
        """Take a tool away; listeners are told. Raises `ConfigError` when there is none."""
        self.provider.tools.remove(name)
        self.provider.changed(Change("tools"))

    def _make_durable(self, tool: Tool, policy: "TaskPolicy | Literal[True]") -> None:
        raise ConfigError(f"tool {tool.name!r}: only the tools of a Server can be tasks")

    # -- resources -------------------------------------------------------------------------------------------------

    def resource(
        self,
        uri: str,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | None = None,
        icons: Sequence[Mapping[str, object]] | None = None,
        meta: Mapping[str, object] | None = None,
        ttl_ms: int | None = None,
        cache_scope: str | None = None,
        completion: Mapping[str, Function | Iterable[str]] | None = None,
        inline: bool = False,
        timeout: float | None = None,
    ) -> Callable[[F], F]:
        """Make a function a resource; a URI with `{name}`, `{+path}` or a closing `{?query}` makes it a template.

        Parameters:
            uri: what clients read. A template's variables are the function's parameters, percent-decoded.
            name, title, description: by default the function's name and docstring.
            mime_type: of the contents; by default text/plain, application/octet-stream or application/json.
            size: bytes, if known.
            annotations, icons, meta: for the list.
            ttl_ms, cache_scope: how long, and for whom, a client may keep what it read.
            completion: variable -> choices, or a function that suggests values.
            inline, timeout: as for tools.

        Raises `ConfigError` for a template or signature that cannot work.

            @server.resource("weather://{city}")
            async def weather(city: str) -> dict[str, float]: ...
        """
        options = ResourceOptions(
            name=name,
            title=title,
            description=description,
            mime_type=mime_type,
            size=size,
            annotations=annotations,
            icons=icons,
            meta=meta,
            ttl_ms=ttl_ms,
            cache_scope=cache_scope,
            completion=completion or {},
            inline=inline,
            timeout=timeout,
        )

        def register(function: F) -> F:
            self.add_resource(uri, function, options)
            return function

        return register

    def add_resource(self, uri: str, function: Function, options: ResourceOptions | None = None) -> None:
        """Register a resource or template at run time; listeners are told."""
        provider = self.provider
        resource = Resource(uri, function, options or ResourceOptions(), provider.pool)
        (provider.resources if resource.template is None else provider.templates).add(uri, resource)
        provider.completions = provider.completions or bool(resource.completers)
        provider.changed(Change("resources"))

    def remove_resource(self, uri: str) -> None:
        """Take a resource or template away; listeners are told. Raises `ConfigError` when there is none."""
        templates = self.provider.templates
        (templates if uri in templates.entries else self.provider.resources).remove(uri)
        self.provider.changed(Change("resources"))

    def notify_resource_updated(self, uri: str) -> None:
        """Tell whoever subscribed to `uri` that its contents changed; from any thread."""
        self.provider.changed(Change("resource", uri))

    # -- prompts ---------------------------------------------------------------------------------------------------

    @overload
    def prompt(self, function: F, /) -> F: ...

    @overload
    def prompt(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: Sequence[Mapping[str, object]] | None = None,
        meta: Mapping[str, object] | None = None,
        completion: Mapping[str, Function | Iterable[str]] | None = None,
        inline: bool = False,
        timeout: float | None = None,
    ) -> Callable[[F], F]: ...

    def prompt(self, function: F | None = None, /, **options: object) -> F | Callable[[F], F]:
        """Make a function a prompt; bare, or with options.

        Parameters:
            name, title, description: by default the function's name and docstring.
            icons, meta: for the list.
            completion: argument -> choices, or a function that suggests values.
            inline, timeout: as for tools.

            @server.prompt(completion={"language": ["python", "rust"]})
            def review(code: str, language: str = "python") -> str: ...
        """
        chosen = PromptOptions(**{**options, "completion": options.get("completion") or {}})  # type: ignore[arg-type]

        def register(function: F) -> F:
            self.add_prompt(function, chosen)
            return function

        return register if function is None else register(function)

    def add_prompt(self, function: Function, options: PromptOptions | None = None) -> None:
        """Register a prompt at run time; listeners are told."""
        prompt = Prompt(function, options or PromptOptions(), self.provider.pool)
        self.provider.prompts.add(prompt.name, prompt)
        self.provider.completions = self.provider.completions or bool(prompt.completers)
        self.provider.changed(Change("prompts"))

    def remove_prompt(self, name: str) -> None:
        """Take a prompt away; listeners are told. Raises `ConfigError` when there is none."""
        self.provider.prompts.remove(name)
        self.provider.changed(Change("prompts"))

    def completion(self, of: str, argument: str, /) -> Callable[[F], F]:
        """Let a function suggest values of one argument.

        Parameters:
            of: the name of a prompt, or the URI template of a resource; registered before.
            argument: which argument or variable.

        Raises `ConfigError` when there is none.

            @server.completion("review", "language")
            async def languages(typed: str) -> list[str]: ...
        """
        provider = self.provider
        thing = provider.prompts.entries.get(of) or provider.templates.entries.get(of)
        if thing is None:
            raise ConfigError(f"There is no prompt or resource template {of!r} to complete; register it first")

        def register(function: F) -> F:
            thing.completers.update(completers(thing.parameters, {argument: function}, provider.pool))
            provider.completions = True
            return function

        return register
