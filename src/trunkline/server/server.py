"""The author's API.

What it is for: `Server`, whose decorators turn functions into tools, resources and prompts, and which then runs.
What may live here: registration, options, the way from a server to an application.
What may not: how requests are answered (`provider`, `tools`, ...), bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, overload

from trunkline.engine.doors import (
    Authenticator,
    Bus,
    Change,
    EventLog,
    Extension,
    Interceptor,
    KeyRing,
    Observer,
    SessionStore,
)
from trunkline.engine.engine import Engine
from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.server.calling import Function
from trunkline.server.codec import Schema
from trunkline.server.completion import completers
from trunkline.server.content import Annotations, without_none
from trunkline.server.prompts import Prompt, PromptOptions
from trunkline.server.provider import FunctionProvider, Hook
from trunkline.server.resources import Resource, ResourceOptions
from trunkline.server.tools import Tool, ToolOptions
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport, Limits

F = TypeVar("F", bound=Callable[..., object])
H = TypeVar("H", bound=Hook)


class Server:
    """An MCP server over Python functions.

    Parameters:
        name: how the server names itself.
        version: its version.
        title: a name for people.
        instructions: guidance for the model.
        icons: `Icon` objects of the schema.
        website_url: a page about the server.
        interceptors: `async (context, call_next)` around every request, outermost first.
        extensions: protocol extensions.
        authenticator: says who calls; None makes every caller anonymous.
        keys: seals input rounds and sessions; by default random, good for one process.
        bus, sessions, events: the doors to state that replicas share; in memory by default.
        observer: told of every finished call.
        page_size: entries in one page of a list; None for all.
        ttl_ms: milliseconds clients may keep the lists; None makes no promise.
        cache_scope: `public` when lists are the same for everyone, `private` otherwise.
        call_timeout: seconds a call may run; None for no limit.
        path: where the MCP endpoint is on HTTP.
        public_url: the URL clients use, when it differs from what the server sees.
        allowed_hosts, allowed_origins, trusted_proxies: see `transports.guard.Guard`.
        limits: bounds of HTTP requests.

    Attributes:
        app: the ASGI application, for any ASGI server or to mount in Starlette and FastAPI.
        application: what transports serve.

    Raises `ConfigError` for options that cannot work.

        server = Server("weather")

        @server.tool
        async def forecast(city: str) -> str: ...
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.1.0",
        title: str | None = None,
        instructions: str | None = None,
        icons: Sequence[Mapping[str, object]] | None = None,
        website_url: str | None = None,
        interceptors: Sequence[Interceptor] = (),
        extensions: Sequence[Extension] = (),
        authenticator: Authenticator | None = None,
        keys: KeyRing | None = None,
        bus: Bus | None = None,
        sessions: SessionStore | None = None,
        events: EventLog | None = None,
        observer: Observer | None = None,
        page_size: int | None = None,
        ttl_ms: int | None = None,
        cache_scope: str | None = None,
        call_timeout: float | None = None,
        path: str = "/mcp",
        public_url: str | None = None,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> None:
        info = without_none(name=name, version=version, title=title, icons=icons, websiteUrl=website_url)
        self.name = name
        self.provider = FunctionProvider(
            info, instructions, page_size, without_none(ttlMs=ttl_ms, cacheScope=cache_scope)
        )
        self.engine = Engine(
            self.provider, extensions=extensions, interceptors=interceptors, keys=keys, observer=observer
        )
        self.application = Application(
            self.engine,
            authenticator=authenticator,
            bus=bus,
            sessions=sessions,
            events=events,
            call_timeout=call_timeout,
        )
        guard = Guard(
            allowed_hosts=allowed_hosts,
            allowed_origins=allowed_origins,
            public_url=public_url,
            trusted_proxies=trusted_proxies,
        )
        self.app = HTTPTransport(self.application, path=path, guard=guard, limits=limits)

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
        tool = Tool(function, options or ToolOptions(), self.provider.pool)
        self.provider.tools.add(tool.name, tool)
        self.provider.changed(Change("tools"))

    def remove_tool(self, name: str) -> None:
        """Take a tool away; listeners are told. Raises `ConfigError` when there is none."""
        self.provider.tools.remove(name)
        self.provider.changed(Change("tools"))

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

    # -- life ------------------------------------------------------------------------------------------------------

    def on_start(self, hook: H) -> H:
        """Run an async function before the first request.

        @server.on_start
        async def connect() -> None: ...
        """
        self.provider.on_start.append(hook)
        return hook

    def on_stop(self, hook: H) -> H:
        """Run an async function when the server stops; the last one registered runs first."""
        self.provider.on_stop.append(hook)
        return hook
