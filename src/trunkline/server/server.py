"""The author's API.

What it is for: `Server`: what a server is told about itself, and its life from options to a running application.
What may live here: options, start and stop, ways to run.
What may not: registration (that is `Registry`), how requests are answered, bytes.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

from trunkline.engine.doors import (
    Authenticator,
    Extension,
    Interceptor,
    KeyRing,
    Observer,
    ProtectedResource,
)
from trunkline.engine.engine import Engine
from trunkline.server.content import without_none
from trunkline.server.provider import FunctionProvider, Hook
from trunkline.server.registry import Registry
from trunkline.server.tools import Tool

if TYPE_CHECKING:
    from trunkline.extensions.tasks.policy import TaskPolicy
    from trunkline.extensions.tasks.worker import Pace
    from trunkline.runtime.application import Application
    from trunkline.runtime.shared import Shared
    from trunkline.server.durable import TaskTools
    from trunkline.transports.guard import Guard
    from trunkline.transports.http import HTTPTransport, Limits

H = TypeVar("H", bound=Hook)


class Server(Registry):
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
        auth: says who calls, such as a `ResourceServer`; None makes every caller anonymous.
        keys: seals input rounds and sessions; by default random, good for one process.
        storage: where replicas share sessions, streams, changes and tasks: the URL of a database (`sqlite:///path`,
            `postgresql://user@host/name`); by default in memory, for one process, with which its tasks end.
        task_pace: how many tasks this process runs at once; `Pace(runs=0)` leaves them to others over the same storage.
        observer: told of every finished call.
        page_size: entries in one page of a list; None for all.
        ttl_ms: milliseconds clients may keep the lists; None makes no promise.
        cache_scope: `public` when lists are the same for everyone, `private` otherwise.
        call_timeout: seconds a call may run; None for no limit.
        lifespan: makes an async context manager that is open while the server lives.
        path: where the MCP endpoint is on HTTP.
        public_url: the URL clients use, when it differs from what the server sees; by default what the audience of
            `auth` says.
        allowed_hosts, allowed_origins, trusted_proxies: see `transports.guard.Guard`.
        limits: bounds of HTTP requests.

    Attributes:
        app: the ASGI application, for any ASGI server or to mount in Starlette and FastAPI.
        application: what transports serve.
        storage, task_pace: as given; looked at when `application` is first asked for.

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
        auth: Authenticator | None = None,
        keys: KeyRing | None = None,
        storage: "str | Shared | None" = None,
        task_pace: "Pace | None" = None,
        observer: Observer | None = None,
        page_size: int | None = None,
        ttl_ms: int | None = None,
        cache_scope: str | None = None,
        call_timeout: float | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[object]] | None = None,
        path: str = "/mcp",
        public_url: str | None = None,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
        limits: "Limits | None" = None,
    ) -> None:
        info = without_none(name=name, version=version, title=title, icons=icons, websiteUrl=website_url)
        hints = without_none(ttlMs=ttl_ms, cacheScope=cache_scope)
        super().__init__(FunctionProvider(info, instructions, page_size, hints, lifespan))
        self.name = name
        self.engine = Engine(
            self.provider, extensions=extensions, interceptors=interceptors, keys=keys, observer=observer
        )
        self._auth = auth
        self.storage = storage
        self.task_pace = task_pace
        self._call_timeout = call_timeout
        self._tasks: TaskTools | None = None
        self._path = path
        self._limits = limits
        known = None if auth is None or public_url or trusted_proxies else _public_url(auth, path)
        self._guard = guard_of(
            allowed_hosts, allowed_origins, public_url or known, trusted_proxies, mounted=known is not None
        )

    @cached_property
    def application(self) -> "Application":
        """What transports serve. Made when it is first asked for: defining a server starts no machinery."""
        from trunkline.runtime import application

        shared = _stored(self.storage) if isinstance(self.storage, str) else self.storage
        if self._tasks is not None:
            self._tasks.prepare(shared)
        return application.Application(
            self.engine,
            name=self.name,
            authenticator=self._auth,
            shared=shared,
            call_timeout=self._call_timeout,
        )

    @cached_property
    def app(self) -> "HTTPTransport":
        """The ASGI application, for any ASGI server or to mount in Starlette and FastAPI."""
        from trunkline.transports import http

        return http.HTTPTransport(self.application, path=self._path, guard=self._guard, limits=self._limits)

    def on_start(self, hook: H) -> H:
        """Run an async function before the first request.

        @server.on_start
        async def connect() -> None: ...
        """
        self.provider.on_start.append(hook)
        return hook

    def on_stop(self, hook: H) -> H:
        """Run an async function when the server stops, if it ever started; the last one registered runs first."""
        self.provider.on_stop.append(hook)
        return hook

    def remove_tool(self, name: str) -> None:
        """Take a tool away; listeners are told. Raises `ConfigError` when there is none."""
        super().remove_tool(name)
        if self._tasks is not None:
            self._tasks.rules.pop(name, None)

    def _make_durable(self, tool: Tool, policy: "TaskPolicy | Literal[True]") -> None:
        if self._tasks is None:
            # Imported when it is needed: a server without tasks starts faster.
            from trunkline.server.durable import TaskTools

            self._tasks = TaskTools(self)
        self._tasks.add(tool, policy)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Start and stop with a host that mounts `app`; hosts pass themselves, which is ignored.

        Starlette(routes=[Mount("/weather", app=server.app)], lifespan=server.lifespan)
        """
        await self.application.start()
        try:
            yield
        finally:
            await self.application.stop()

    def run(
        self,
        transport: Literal["stdio", "http"] = "stdio",
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        allow_remote: bool = False,
        drain_delay: float = 0.0,
        drain_timeout: float = 10.0,
    ) -> None:
        """Serve until the client leaves (stdio) or a signal comes.

        Parameters:
            transport: `stdio` for clients that launch this program, `http` for the rest.
            host, port: where to listen; port 0 takes a free one.
            allow_remote: bind beyond loopback although nobody signs in.
            drain_delay: seconds after SIGTERM in which new requests are still taken, while `/readyz` says to send none.
            drain_timeout: seconds calls then get to finish; those that do not are answered with an error.

        Raises `ConfigError` for an address that is taken, or that anyone could call.

            if __name__ == "__main__":
                server.run()
        """
        from trunkline.server import running
        from trunkline.transports.serving import Binding, Drain

        if transport == "stdio":
            running.run_stdio(self.application)
        else:
            binding = Binding(host=host, port=port, allow_remote=allow_remote)
            running.run_http(self.app, binding, Drain(drain_delay, drain_timeout))


def _stored(url: str) -> "Shared":
    from trunkline.transports.stored import Stored

    return Stored(url)


def _public_url(auth: Authenticator, path: str) -> str | None:
    """What stands before the endpoint's path in the URL clients know it by, where the audience of tokens is that."""
    if not isinstance(auth, ProtectedResource) or auth.public_url is None:
        return None
    from trunkline.transports import guard

    return guard.public_url_of(auth.public_url, path)


def guard_of(
    hosts: Sequence[str],
    origins: Sequence[str],
    public_url: str | None,
    proxies: Sequence[str],
    *,
    mounted: bool = False,
) -> "Guard | None":
    """The guard these options ask for, checked at once; None where the defaults do."""
    if not (hosts or origins or public_url or proxies):
        return None
    from trunkline.transports import guard

    return guard.Guard(
        allowed_hosts=hosts,
        allowed_origins=origins,
        public_url=public_url,
        trusted_proxies=proxies,
        mounted=mounted,
    )
