"""Serve an application to the right people.

What it is for: refuse a binding that would serve everybody by accident, in the words of the command line.
What may live here: what the command line adds to `transports.serving`. What may not: the HTTP server.
"""

from trunkline.assembly.configuration import Listen
from trunkline.errors import ConfigError
from trunkline.transports.guard import Guard
from trunkline.transports.serving import Binding, Drain, bind, is_loopback, run, serving, url_of

__all__ = ["Binding", "Drain", "bind", "check_binding", "guard_of", "is_loopback", "run", "serving", "url_of"]


def check_binding(binding: Binding, *, authenticated: bool) -> None:
    """Refuse to serve everybody by accident (DESIGN: Principals). Raises `ConfigError`."""
    if not (authenticated or binding.allow_remote or is_loopback(binding.host)):
        raise ConfigError(
            f"{binding.host} is reachable from other machines and nobody has to sign in: whoever connects could use "
            "every upstream. Give --tokens FILE or `tokens:` in trunkline.yaml, or say --allow-remote if something in "
            "front decides who may connect."
        )


def guard_of(listen: Listen) -> Guard:
    """What the endpoint accepts: hosts, origins, proxies. Raises `ConfigError` for what is none of them."""
    hosts = [] if is_loopback(listen.host) else [listen.host]
    return Guard(
        allowed_hosts=[*hosts, *listen.allowed_hosts],
        allowed_origins=listen.allowed_origins,
        public_url=listen.public_url,
        trusted_proxies=listen.trusted_proxies,
    )
