"""uvicorn, ending in the order clients and balancers need.

What it is for: a server that is told to stop says so, goes on until balancers have noticed, then lets calls finish.
What may live here: the order and the clock of that. What may not: sockets, signals, what clients are told.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.runtime.inflight import GRACE
from trunkline.transports.accepting import Acceptor, turn_away
from trunkline.transports.asgi import ASGIApp
from trunkline.transports.serving import Drain, Shared

logger = logging.getLogger("trunkline.transports")

KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than balancers keep theirs, so that it is they who close.

A server that closes first does so now and then under a request that is on its way (RFC 9112, 9.6); most balancers and
clients give up idle connections after 60 seconds.
"""

LINGER = 5.0
"""Seconds a server whose place another has taken keeps its connections at least: those in use end with an answer."""

ARRIVING = 0.25
"""Seconds in which connections that the system has made are still taken, before the address is closed."""

_LATE = 1.0
"""Seconds in which requests are still taken on connections that are kept, once the address is closed."""

_CLOSE = (b"connection", b"close")
_POLL = 0.02


class HTTPServer(uvicorn.Server):
    """Serves `app` until it is told to leave.

    Parameters:
        app: what is served.
        drain: how it ends.
        shared: other processes serve the socket too, from the beginning or already (`joined`); one that joins them
            takes no connections before its application is ready.

        server = HTTPServer(app, Drain(delay=5))
        await server.begin(listener)
        await server.ended
    """

    ended: asyncio.Task[None]

    def __init__(self, app: ASGIApp, drain: Drain, *, shared: Shared | None = None) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_keep_alive=KEEP_ALIVE,
            # The Date header is the server's business; its name and version are nobody's.
            server_header=False,
            # Which proxies may speak for a client is the guard's to say.
            proxy_headers=False,
        )
        super().__init__(config)
        application = getattr(app, "application", None)
        self._application = application if isinstance(application, Application) else None
        self._drain = drain
        self._shared = shared
        self._acceptors: list[Acceptor] = []
        self.servers = []
        self._leaving = self._hurry = False

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Signals are `serving`'s; uvicorn would send itself the last one again, and skip what is closed after it."""
        return contextlib.nullcontext()

    async def begin(self, listener: socket.socket) -> None:
        """Start the application and take requests. Raises `ConfigError` when it does not start."""
        self.ended = asyncio.create_task(self.serve(sockets=[listener]))
        while not self.started:
            if self.ended.done():
                raise ConfigError("The server could not start; the log says why")
            await asyncio.sleep(0.01)

    def leave(self) -> None:
        """Stop in good order; said again, stop at once."""
        if self._leaving:
            self._hurry = self.should_exit = True
            return
        self._leaving = True
        if self._application is not None:
            self._application.leave()
        self._close_connections_after_answers()
        logger.info("stopping", extra={"delay": self._drain.delay, "timeout": self._drain.timeout})
        asyncio.get_running_loop().call_later(self._drain.delay, self._exit)

    def retire(self) -> None:
        """Stop without being missed: others serve the socket, so that balancers need not notice."""
        self._take_no_more()
        self._close_connections_after_answers()
        logger.info("retiring")
        asyncio.get_running_loop().call_later(max(self._drain.delay, LINGER), self._exit)

    async def ready(self) -> bool:
        """Wait until requests should come; False when it is told to stop before that."""
        while self._application is not None and self._application.phase == "starting":
            if self._leaving or self.should_exit:
                return False
            await asyncio.sleep(_POLL)
        return not self._leaving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and take connections from then on; where others take them too, once it is ready."""
        if self._shared is None or not sockets:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        self.should_exit = self.should_exit or self.lifespan.should_exit
        if self._shared == "joined":
            await self.ready()
        self._acceptors = [Acceptor(one, self._protocol, self._held) for one in sockets if not self.should_exit]
        self.started = not self.lifespan.should_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let calls finish, stop what is left, and end the application."""
        if self._application is not None:
            self._application.leave()
        deadline = asyncio.get_running_loop().time() + self._drain.timeout
        # Where time is given to be noticed, somebody sends requests until then.
        missed = self._drain.delay > 0
        if missed:
            await self._take_last(sockets or [])
        self._take_no_more()
        for listener in sockets or ():
            listener.close()
        if missed:
            await self._wait(min(_LATE, self._drain.timeout / 4), self._idle)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._over(deadline - asyncio.get_running_loop().time(), lambda: self._hurry):
            await self._stop_calls()
        for task in list(self.server_state.tasks):
            task.cancel()
        await self.lifespan.shutdown()

    async def _take_last(self, listeners: list[socket.socket]) -> None:
        """Take the connections that wait already: a balancer that looks for nothing else sends until it is refused."""
        if self._shared is None:
            for listener in listeners:
                turn_away(listener)
        await self._wait(min(ARRIVING, self._drain.timeout / 4), lambda: True)

    async def _wait(self, seconds: float, needed: Callable[[], bool]) -> None:
        """Go on for so long, as long as that is needed and nobody is in a hurry."""
        deadline = asyncio.get_running_loop().time() + seconds
        while needed() and not self._hurry and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL)

    def _idle(self) -> bool:
        """Whether a connection is kept on which nothing is under way: a request may be on its way to us."""
        return any(
            isinstance(one, HttpToolsProtocol) and (one.cycle is None or one.cycle.response_complete)
            for one in self.server_state.connections
        )

    def _protocol(self) -> asyncio.Protocol:
        """A connection's protocol, as uvicorn makes it."""
        return HttpToolsProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _held(self) -> int:
        return len(self.server_state.connections)

    def _take_no_more(self) -> None:
        for server in self.servers:
            server.close()
        for acceptor in self._acceptors:
            acceptor.close()

    def _exit(self) -> None:
        self.should_exit = True

    def _close_connections_after_answers(self) -> None:
        """Say `Connection: close` in every answer that has not begun, so that no client is surprised by the end."""
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            if isinstance(connection, HttpToolsProtocol) and connection.cycle and not connection.cycle.response_started:
                connection.cycle.keep_alive = False

    async def _over(self, seconds: float, hurry: Callable[[], bool]) -> bool:
        """Wait until nothing is under way; False when that takes longer, or somebody is in a hurry."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._busy():
            if hurry() or loop.time() >= deadline:
                return False
            if self._application is not None:
                # Each time anew: a request that had only begun to arrive may open a stream.
                await self._application.inflight.drain(0)
            await asyncio.sleep(_POLL)
        return True

    def _busy(self) -> bool:
        calls = self._application is not None and self._application.inflight.calls
        return bool(calls or self.server_state.connections or self.server_state.tasks)

    async def _stop_calls(self) -> None:
        if self._application is not None:
            logger.warning("calls were interrupted", extra={"calls": len(self._application.inflight.calls)})
            await self._application.inflight.stop()
        if not await self._over(GRACE, lambda: False):
            logger.warning("connections were cut", extra={"connections": len(self.server_state.connections)})
