"""Each server of a gateway alone under its own path: `/servers/NAME/mcp`.

What it is for: clients that want one server, with its names as they are, through the same gateway.
What may live here: which path is whose, and the life of what is served there. What may not: the gateway's own endpoint.
"""

import asyncio
import math
from functools import partial
from urllib.parse import quote

from trunkline.assembly.durable import renamed
from trunkline.assembly.gateway import Gateway
from trunkline.assembly.translating import Translated
from trunkline.engine.doors import Authenticator, RequestFacts
from trunkline.engine.principal import Principal
from trunkline.errors import Refused
from trunkline.gateway import ALONE, names
from trunkline.protocol.messages import error_message
from trunkline.runtime.application import Application
from trunkline.transports import described
from trunkline.transports.asgi import Receive, Scope, Send, respond
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

PREFIX = "/servers/"
_END = "/mcp"


def path_of(server: str) -> str:
    """The path a server has alone, as it stands in a URL.

    path_of("my files")  # "/servers/my%20files/mcp"
    """
    return f"{PREFIX}{quote(server, safe='')}{_END}"


class ServerPaths:
    """The ASGI application of all servers' own paths; everything else is 404.

    Parameters:
        gateway: whose servers they are, those it has at the time of a request; its limits and sign-in hold here too.
        guard: Host and Origin rules.
    """

    def __init__(self, gateway: Gateway, guard: Guard) -> None:
        self._gateway = gateway
        self._guard = guard
        self._served: dict[str, HTTPTransport] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        path: str = scope["path"].removeprefix(described.PLACE)
        name = path.removeprefix(PREFIX).removesuffix(_END)
        if path != PREFIX + name + _END or name not in self._gateway.federation.upstreams:
            refused = Refused(404, "Nothing is served at this path; a server alone is at /servers/NAME/mcp")
            await respond(send, refused.status, error_message(None, refused))
            return
        if path != scope["path"]:
            # The metadata that say how to sign in there (RFC 9728, section 3.1: the path of the endpoint follows).
            if not await described.describe(self._gateway.application.authenticator, self._guard, path, scope, send):
                await respond(send, 404)
            return
        transport = self._served.get(name)
        if transport is None:
            transport = self._served[name] = self._serve(name)
        # Both may change while we run.
        whole, alone = self._gateway.application, transport.application
        alone.authenticator = (
            None
            if whole.authenticator is None
            else _Authenticator(whole.authenticator, name, self._gateway.federation.prefix)
        )
        alone.call_timeout = whole.call_timeout
        await transport(scope, receive, send)

    async def aclose(self) -> None:
        """End everything that is served."""
        for transport in self._served.values():
            await transport.application.stop(drain=0)

    def _serve(self, name: str) -> HTTPTransport:
        limiter = self._gateway.limiter
        interceptors = () if limiter is None else (limiter.alone(name, partial(self._named, name)),)
        face = self._gateway.federation.single(name)
        durable = self._gateway.durable
        meant = renamed(partial(self._named, name))
        tasks = None if durable is None else partial(durable.beside, meant=meant, part=ALONE)
        application = self._gateway.beside(face, path_of(name), interceptors=interceptors, tasks=tasks)
        whole = self._gateway.application
        whole.inflight.enter(Drain(whole, application))
        return HTTPTransport(application, path=PREFIX + name + _END, guard=self._guard)

    def _named(self, server: str, tool: str) -> str:
        return _federated(server, tool, self._gateway.federation.prefix)


def _federated(server: str, tool: str, prefix: bool) -> str:
    """The name the whole gateway has for a tool."""
    if not prefix:
        return tool
    (label,) = names.labels([server]).values()
    return names.federated(label, [tool])[0]


class _Alone(Principal, frozen=True, kw_only=True):
    """A caller of one server alone: what it may call is written in the names the whole gateway has."""

    server: str
    prefix: bool

    def may_call(self, tool: str) -> bool:
        return self.tools is None or super().may_call(_federated(self.server, tool, self.prefix))


class _Authenticator:
    """Says who calls one server alone."""

    def __init__(self, whole: Authenticator, server: str, prefix: bool) -> None:
        self._whole = whole
        self._server = server
        self._prefix = prefix

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Ask the gateway's authenticator."""
        one = await self._whole.authenticate(facts)
        return _Alone(
            one.issuer,
            one.subject,
            one.client,
            one.scopes,
            one.tools,
            None if one.access is None else Translated(one.access, self._meant),
            server=self._server,
            prefix=self._prefix,
        )

    def _meant(self, kind: str, name: str) -> str:
        return name if kind == "resources" else _federated(self._server, name, self._prefix)


class Drain:
    """Stands among the gateway's calls for all of one path beside it: what drains or stops them does so with these."""

    def __init__(self, whole: Application, alone: Application) -> None:
        self._whole = whole
        self._alone = alone
        self._draining: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    def sweep(self, now: float) -> None:
        """They are swept for themselves."""

    def drain(self) -> None:
        """End streams; what still runs is waited for as long as there is time."""
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    def stop(self) -> None:
        """Stop what is left of them."""
        if self._draining is not None:
            self._draining.cancel()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop())

    async def _drain(self) -> None:
        await self._alone.inflight.drain(math.inf)
        self._whole.inflight.calls.discard(self)

    async def _stop(self) -> None:
        await self._alone.inflight.stop()
        self._whole.inflight.calls.discard(self)
