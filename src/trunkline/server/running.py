"""A server as a program of its own.

What it is for: `Server.run`: stdio for a client that launches it, HTTP for everyone else.
What may live here: the choice, and what is refused.
What may not: transports themselves.
"""

import sys

from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport
from trunkline.transports.serving import Binding, Drain, bind, is_loopback, run, serving, url_of


def run_http(app: HTTPTransport, binding: Binding, drain: Drain) -> None:
    """Serve until a signal. Raises `ConfigError` for an address that anyone could call without signing in."""
    if not (app.application.authenticator or binding.allow_remote or is_loopback(binding.host)):
        raise ConfigError(
            f"{binding.host} is reachable from other machines and nobody has to sign in. Give the server an "
            "authenticator (`auth=`), or say allow_remote=True if something in front decides who may connect."
        )
    run(lambda: _serve(app, binding, drain))


def run_stdio(application: Application) -> None:
    """Serve the client that launched this process until it closes our standard input."""
    # Imported here: an HTTP server needs nothing of it.
    from trunkline.transports.stdio import serve_stdio

    run(lambda: serve_stdio(application))


async def _serve(app: HTTPTransport, binding: Binding, drain: Drain) -> None:
    listener = bind(binding)
    sys.stderr.write(f"Serving {url_of(listener, app.path)}\n")
    sys.stderr.flush()
    async with serving(app, listener, drain) as server:
        await server.ended
