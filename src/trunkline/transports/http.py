"""The HTTP endpoint: one ASGI application for both eras.

What it is for: path and method, guard, body, authentication, and the choice of era for each request.
What may live here: what every HTTP request passes before `modern` or `legacy` answers it.
What may not: the answers.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic

from msgspec import UNSET, Struct

from trunkline.engine.doors import RequestFacts
from trunkline.engine.principal import ANONYMOUS
from trunkline.errors import InvalidRequest, ProtocolError, Refused
from trunkline.protocol import messages
from trunkline.protocol.headers import accepts_both, read
from trunkline.protocol.messages import Params
from trunkline.protocol.revisions import MODERN, REVISIONS
from trunkline.runtime.application import Application
from trunkline.transports import described, modern, probes
from trunkline.transports.asgi import ASGIApp, Headers, Receive, Scope, Send, error_headers, read_body, respond
from trunkline.transports.batches import is_batch
from trunkline.transports.guard import Guard, quoted
from trunkline.transports.legacy import Legacy
from trunkline.transports.sessions import SessionLimits

logger = logging.getLogger("trunkline.transports")

_MODERN = frozenset(name.encode() for name in MODERN)
_CLOSE = (("Connection", "close"),)
_ALLOW = (("Allow", "POST, GET, DELETE, OPTIONS"),)


class Limits(Struct, frozen=True):
    """Bounds of what the endpoint takes in.

    body: bytes of one request body.
    upload: seconds a request body may take to arrive.
    """

    body: int = 4 * 1024 * 1024
    upload: float = 30.0


class Arrival:
    """A request body on its way; a client that stalls is not waited for."""

    __slots__ = ("born", "limit", "stalled", "task")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.born = monotonic()
        self.stalled = False
        self.task = asyncio.current_task()

    def sweep(self, now: float) -> None:
        """Give up on a body that takes too long."""
        if now - self.born > self.limit:
            self.stop()

    def drain(self) -> None:
        """A request that has begun to arrive is still served."""

    def stop(self) -> None:
        """Stop waiting."""
        if self.task is not None and not self.stalled:
            self.stalled = True
            self.task.cancel()


class HTTPTransport:
    """The ASGI application of one `Application`.

    Parameters:
        application: what is served.
        path: the MCP endpoint; where the app is mounted under a prefix, the mount point itself serves as well.
        guard: Host and Origin rules; by default loopback only.
        limits: bounds of requests.
        sessions: bounds of legacy sessions.
        beside: an ASGI application for every other path; without one they are 404.

    Beside the endpoint are `/livez` and `/readyz`, under the mount point where there is one.
    """

    def __init__(
        self,
        application: Application,
        *,
        path: str = "/mcp",
        guard: Guard | None = None,
        limits: Limits | None = None,
        sessions: SessionLimits | None = None,
        beside: ASGIApp | None = None,
    ) -> None:
        self.application = application
        self.path = path
        self._guard = guard or Guard()
        self._limits = limits or Limits()
        self._beside = beside
        self._legacy = Legacy(application, sessions or SessionLimits())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        if scope["path"] != self.path and not self._is_mount_point(scope):
            await self._elsewhere(scope, receive, send)
            return
        extra: Headers = []
        try:
            headers = read(scope["headers"])
            extra = self._guard.check(scope, headers)
            if scope["method"] == "POST":
                await self._post(scope, headers, receive, send, extra)
            else:
                await self._not_post(scope, headers, receive, send, extra)
        except ProtocolError as error:
            await _refuse(send, error, extra)

    async def _post(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send, extra: Headers
    ) -> None:
        refusal = _media_types(headers.get(b"content-type", b""), headers.get(b"accept", b""))
        if refusal is not None:
            raise Refused(*refusal)
        arrival = Arrival(self._limits.upload)
        body = await self._body(arrival, headers, receive)
        if body is None:
            return
        principal = ANONYMOUS
        if self.application.authenticator is not None:
            url = self._guard.external_url(scope, headers)
            facts = RequestFacts("POST", url, headers, body, quoted(_below_mount(scope)), extra)
            principal = await self.application.authenticator.authenticate(facts)
        if not self.application.started:
            await self.application.start()
        try:
            message = messages.decode(body)
        except InvalidRequest:
            if not is_batch(body):
                raise
            await self._legacy.batch(body, headers, principal, receive, send, extra)
            return
        # The first half says what `is_modern` would say of nearly every modern request, without the call.
        plainly = headers.get(b"mcp-protocol-version") in _MODERN and message.method != "initialize"
        if plainly or messages.is_modern(headers, message):
            await modern.serve(self.application, message, headers, principal, receive, send, extra, arrival.task)
            return
        try:
            await self._legacy.post(message, headers, principal, receive, send, extra)
        except ProtocolError as error:
            raise error if message.method is UNSET else messages.identified(error, message.id) from None

    async def _body(self, arrival: Arrival, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        self.application.inflight.enter(arrival)
        try:
            return await read_body(receive, headers.get(b"content-length"), self._limits.body)
        except asyncio.CancelledError:
            if not arrival.stalled or arrival.task is None:
                raise
            arrival.task.uncancel()
            raise Refused(408, f"The body did not arrive within {self._limits.upload:g} seconds", _CLOSE) from None
        finally:
            self.application.inflight.calls.discard(arrival)

    async def _not_post(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send, extra: Headers
    ) -> None:
        if scope["method"] == "OPTIONS" and b"origin" in headers:
            await respond(send, 204, headers=[*extra, *self._guard.preflight(headers)])
            return
        version = REVISIONS.get(headers.get(b"mcp-protocol-version", b"").decode("latin-1"))
        if scope["method"] not in ("GET", "DELETE") or (version is not None and version.era == "modern"):
            raise Refused(405, "The MCP endpoint takes POST, and in legacy sessions GET and DELETE", _ALLOW)
        principal = ANONYMOUS
        if self.application.authenticator is not None:
            url = self._guard.external_url(scope, headers)
            facts = RequestFacts(scope["method"], url, headers, b"", quoted(_below_mount(scope)), extra)
            principal = await self.application.authenticator.authenticate(facts)
            self.application.engine.permit(principal, "", Params())
        if not self.application.started:
            await self.application.start()
        if scope["method"] == "GET":
            await self._legacy.get(headers, principal, receive, send, extra)
        else:
            await self._legacy.delete(headers, principal, send, extra)

    def _is_mount_point(self, scope: Scope) -> bool:
        return bool(scope.get("root_path")) and _below_mount(scope) in ("", "/", self.path)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = _below_mount(scope)
        if below in (probes.LIVE, probes.READY):
            await self._probe(scope, send)
            return
        if below.startswith(described.PLACE) and await self._describe(below, scope, send):
            return
        if self._beside is not None:
            await self._beside(scope, receive, send)
            return
        await _refuse(send, Refused(404, f"Nothing is served at this path; the MCP endpoint is {self.path}"), [])

    async def _describe(self, below: str, scope: Scope, send: Send) -> bool:
        """Say how to sign in, at this endpoint and at the root; False for the place of another endpoint's metadata."""
        endpoint = below.removeprefix(described.PLACE)
        if endpoint not in ("", "/", self.path):
            return False
        if endpoint != self.path and not scope.get("root_path"):
            # What stands at the root describes the endpoint, which is the only one.
            endpoint = self.path
        return await described.describe(self.application.authenticator, self._guard, endpoint, scope, send)

    async def _probe(self, scope: Scope, send: Send) -> None:
        if self.application.phase == "starting" and not self.application.started:
            # A host that runs no lifespan starts us with the first request, which a balancer sends to nobody unready.
            try:
                await self.application.start()
            except Exception:
                logger.exception("the server does not start")
        await probes.probe(self.application, scope, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": 1000})
            return
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                try:
                    await self.application.start()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif event["type"] == "lifespan.shutdown":
                await self.application.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _below_mount(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


@lru_cache(maxsize=256)
def _media_types(content_type: bytes, accept: bytes) -> tuple[int, str] | None:
    """What is wrong with these two headers; clients send the same ones over and over."""
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        return 415, "The body must be application/json"
    if not accepts_both(accept):
        return 406, "The Accept header must list application/json and text/event-stream"
    return None


async def _refuse(send: Send, error: ProtocolError, extra: Headers) -> None:
    fields = [*extra, *error_headers(error)]
    await respond(send, error.status, messages.error_message(error.request_id, error), fields)
