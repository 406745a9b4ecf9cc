"""Serve an application to the right people.

What it is for: refuse a binding that would serve everybody by accident, in the words of the command line.
What may live here: what the command line adds to `transports.serving`. What may not: the HTTP server.
"""

from trunkline.assembly.auth_settings import AuthSettings
from trunkline.assembly.configuration import Listen
from trunkline.errors import ConfigError
from trunkline.transports.guard import Guard, public_url_of
from trunkline.transports.serving import Binding, Drain, bind, is_loopback, run, serving, url_of

__all__ = ["Binding", "Drain", "bind", "check_binding", "guard_of", "is_loopback", "run", "serving", "url_of"]


def check_binding(binding: Binding, *, authenticated: bool) -> None:
    """Refuse to serve everybody by accident (DESIGN: Principals). Raises `ConfigError`."""
    if not (authenticated or binding.allow_remote or is_loopback(binding.host)):
        raise ConfigError(
            f"{binding.host} is reachable from other machines and nobody has to sign in: whoever connects could use "
            "every upstream. Give --tokens FILE, or `auth:` or `tokens:` in trunkline.yaml, or say --allow-remote if "
            "something in front decides who may connect."
        )


def guard_of(listen: Listen, auth: AuthSettings | None = None) -> Guard:
    """What the endpoint accepts: hosts, origins, proxies. Raises `ConfigError` for what is none of them.

    Parameters:
        auth: where nothing else says so, the audience of its tokens is the URL that clients use.
    """
    hosts = [] if is_loopback(listen.host) else [listen.host]
    return Guard(
        allowed_hosts=[*hosts, *listen.allowed_hosts],
        allowed_origins=listen.allowed_origins,
        public_url=listen.public_url or _named(listen, auth),
        trusted_proxies=listen.trusted_proxies,
    )


def _named(listen: Listen, auth: AuthSettings | None) -> str | None:
    if auth is None or listen.trusted_proxies:
        return None
    audiences = (auth.audience,) if isinstance(auth.audience, str) else auth.audience
    return next((url for one in audiences if (url := public_url_of(one, listen.path)) is not None), None)
