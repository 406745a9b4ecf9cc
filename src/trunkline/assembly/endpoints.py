"""The endpoints of a configuration, each under its own path: `/endpoints/NAME/mcp`.

What it is for: serve each selection of the gateway, as the configuration has it at the time.
What may live here: which path is whose, and the life of what is served there. What may not: the gateway's own endpoint.
"""

import asyncio
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from trunkline.assembly.configuration import EndpointSettings
from trunkline.assembly.gateway import Gateway
from trunkline.assembly.paths import Drain
from trunkline.assembly.selecting import selection
from trunkline.assembly.translating import Translating
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Interceptor, Result
from trunkline.gateway import Endpoint
from trunkline.policy.limits import Limiter
from trunkline.transports import described
from trunkline.transports.asgi import ASGIApp, Receive, Scope, Send
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

PREFIX = "/endpoints/"
_END = "/mcp"


class EndpointStatus(Struct, frozen=True):
    """What an operator sees of an endpoint.

    Parameters:
        name, path: what it is called, and where it is.
        tools: how many it shows; None while that is not known.
        progressive: they are found by search instead of being listed.
        problems: what it names and no server has.
    """

    name: str
    path: str
    tools: int | None
    progressive: bool
    problems: tuple[str, ...] = ()


class _Served(Struct, frozen=True):
    settings: EndpointSettings
    endpoint: Endpoint
    transport: HTTPTransport
    drain: Drain


class EndpointPaths:
    """The ASGI application of all endpoints.

    Parameters:
        gateway: what they are taken from; its limits and sign-in hold here too.
        guard: Host and Origin rules.
        beside: answers every other path.
    """

    def __init__(self, gateway: Gateway, guard: Guard, beside: ASGIApp) -> None:
        self._gateway = gateway
        self._guard = guard
        self._beside = beside
        self._served: dict[str, _Served] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        path: str = scope["path"].removeprefix(described.PLACE)
        name = path.removeprefix(PREFIX).removesuffix(_END)
        served = self._current(name) if path == path_of(name) else None
        if served is None:
            await self._beside(scope, receive, send)
            return
        whole = self._gateway.application.authenticator
        if path != scope["path"]:
            # The metadata that say how to sign in there (RFC 9728, section 3.1: the path of the endpoint follows).
            if not await described.describe(whole, self._guard, path, scope, send):
                await self._beside(scope, receive, send)
            return
        # Both may change while we run.
        application = served.transport.application
        application.authenticator = None if whole is None else Translating(whole, served.endpoint.known_name)
        application.call_timeout = self._gateway.application.call_timeout
        await served.transport(scope, receive, send)

    def statuses(self) -> list[EndpointStatus]:
        """A record for each endpoint of the configuration, in its order."""
        rows = []
        for name, settings in self._gateway.plan.settings.endpoints.items():
            served = self._current(name)
            if served is not None:
                progressive = settings.discovery == "progressive"
                counted, problems = served.endpoint.count("tools"), tuple(served.endpoint.problems())
                rows.append(EndpointStatus(name, path_of(name), counted, progressive, problems))
        return rows

    async def aclose(self) -> None:
        """End everything that is served."""
        await asyncio.gather(*self._ending)
        for served in self._served.values():
            await served.transport.application.stop(drain=0)

    def _current(self, name: str) -> _Served | None:
        """An endpoint as the configuration has it now; clients of what it was before find it again by themselves."""
        settings = self._gateway.plan.settings.endpoints.get(name)
        served = self._served.get(name)
        if served is not None and served.settings != settings:
            self._end(self._served.pop(name))
            served = None
        if served is None and settings is not None:
            served = self._served[name] = self._serve(name, settings)
        return served

    def _serve(self, name: str, settings: EndpointSettings) -> _Served:
        whole = self._gateway
        endpoint = Endpoint(whole.federation, selection(settings))
        interceptors: tuple[Interceptor, ...] = ()
        if whole.limiter is not None:
            interceptors = (_Limited(whole.limiter, endpoint),)
        progressive = settings.discovery == "progressive"
        tasks = None if whole.durable is None else partial(whole.durable.beside, meant=endpoint.meant)
        application = whole.beside(
            endpoint, path_of(name), interceptors=interceptors, tasks=tasks, progressive=progressive
        )
        drain = Drain(whole.application, application)
        whole.application.inflight.enter(drain)
        return _Served(settings, endpoint, HTTPTransport(application, path=path_of(name), guard=self._guard), drain)

    def _end(self, served: _Served) -> None:
        self._gateway.application.inflight.calls.discard(served.drain)
        task = asyncio.get_running_loop().create_task(served.transport.application.stop())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Limited:
    """The gateway's limits, which are written in the gateway's names."""

    def __init__(self, limiter: Limiter, endpoint: Endpoint) -> None:
        self._limiter = limiter
        self._endpoint = endpoint

    async def __call__(self, context: Context, call_next: CallNext) -> Result:
        real = self._endpoint.known_as(context)
        if real is None:
            return await self._limiter(context, call_next)

        async def as_it_came(_: Context) -> Result:
            return await call_next(context)

        return await self._limiter(context.instead(replace(context.params, name=real)), as_it_came)


def path_of(name: str) -> str:
    """Where an endpoint is.

    path_of("travel")  # "/endpoints/travel/mcp"
    """
    return f"{PREFIX}{name}{_END}"
