"""An ASGI application on a socket.

What it is for: bind, run until a signal, drain; for servers and the gateway alike.
What may live here: the HTTP server's settings. What may not: what is served, who may be served.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import Struct

from trunkline.errors import ConfigError
from trunkline.transports.asgi import ASGIApp

if TYPE_CHECKING:
    from trunkline.transports.draining import HTTPServer

T = TypeVar("T")
Shared = Literal["begun", "joined"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Binding(Struct, frozen=True):
    """Where to listen.

    Parameters:
        host, port: the address; port 0 takes a free one.
        allow_remote: bind beyond loopback although nobody signs in.
    """

    host: str = "127.0.0.1"
    port: int = 8808
    allow_remote: bool = False


class Drain(Struct, frozen=True):
    """How a server ends.

    Parameters:
        delay: seconds in which it still takes new requests, while `/readyz` says that it should get none.
        timeout: seconds calls then get to finish.

        Drain(delay=5, timeout=30)
    """

    delay: float = 0.0
    timeout: float = 10.0


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
async def serving(
    app: ASGIApp, listener: socket.socket, drain: Drain | None = None, *, shared: Shared | None = None
) -> AsyncIterator["HTTPServer"]:
    """Serve `app` on a bound socket while the block runs; the server's `ended` is done when a signal ended it.

    A socket may be `shared` with other processes; one that has `joined` them serves once its application is ready.

    SIGTERM and SIGINT end it as `drain` says; a second one at once, and a third one ends the process.
    """
    # Imported here: who only wants to know where to listen needs no HTTP server.
    from trunkline.transports.draining import HTTPServer

    server = HTTPServer(app, drain or Drain(), shared=shared)
    with on_signals(server.leave):
        try:
            await server.begin(listener)
            yield server
        finally:
            server.should_exit = True
            await asyncio.gather(server.ended, return_exceptions=True)


@contextlib.contextmanager
def on_signals(leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` for the first and the second SIGTERM or SIGINT while the block runs; a third ends the process."""
    loop = asyncio.get_running_loop()
    told: list[signal.Signals] = []

    def tell(number: signal.Signals) -> None:
        told.append(number)
        if len(told) > 1:
            release()
        leave()

    def release() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, tell, number)
    try:
        yield
    finally:
        release()


def run(main: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine function on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())
