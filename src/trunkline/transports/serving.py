"""An ASGI application on a socket.

What it is for: bind, run until a signal, drain; for servers and the gateway alike.
What may live here: the HTTP server's settings. What may not: what is served, who may be served.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from ipaddress import ip_address
from typing import TypeVar

from msgspec import Struct

from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.transports.asgi import ASGIApp

T = TypeVar("T")

DRAIN = 10
"""Seconds calls get to finish when the server stops."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ask for a graceful end; a second one of the first kind does not wait for calls."""


class Binding(Struct, frozen=True):
    """Where to listen.

    Parameters:
        host, port: the address; port 0 takes a free one.
        allow_remote: bind beyond loopback although nobody signs in.
    """

    host: str = "127.0.0.1"
    port: int = 8808
    allow_remote: bool = False


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind(binding: Binding) -> socket.socket:
    """Open the listening socket. Raises `ConfigError` that says what to do when the port is taken."""
    family = socket.AF_INET6 if ":" in binding.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, answers take 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((binding.host.strip("[]"), binding.port))
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(
            f"Cannot listen on {binding.host}:{binding.port}: {reason}. Choose another port, or 0 for a free one."
        ) from None
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket, path: str) -> str:
    """The URL of an endpoint on a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Serve `app` on a bound socket while the block runs; the task ends when a signal asked the server to stop.

    Open streams then end as their protocol says, and calls get `DRAIN` seconds.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        http="httptools",
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=DRAIN,
        # The Date header is the server's business; its name and version are nobody's.
        server_header=False,
        # Which proxies may speak for a client is the guard's to say.
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    # uvicorn would send itself the signal again once it has drained, and so skip what is closed after it.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    close_connections = server.shutdown

    async def shutdown(sockets: list[socket.socket] | None = None) -> None:
        # uvicorn waits for its connections before it tells the application to stop, so streams would never end.
        application = getattr(app, "application", None)
        if not isinstance(application, Application):
            await close_connections(sockets)
            return
        draining = asyncio.create_task(application.inflight.drain(DRAIN))
        await close_connections(sockets)
        draining.cancel()

    server.shutdown = shutdown  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, server.handle_exit, number, None)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        if task.done() and not server.started:
            raise ConfigError("The server could not start; the log says why")
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def run(main: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine function on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
