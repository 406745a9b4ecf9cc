"""Reaching the target of a command: one `Client` for a URL, a configuration, a Python server or a command line.

What it is for: every command reaches every kind of target in the same way.
What may live here: that connection. What may not: what is done with it.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping

from trunkline.assembly import logs
from trunkline.assembly.target import classify, load_server
from trunkline.auth.doors import Credentials
from trunkline.cli.asking import Terminal
from trunkline.client.client import Client
from trunkline.client.targets import TargetLike
from trunkline.errors import ConfigError, HttpFailure, SignInNeeded


@contextlib.asynccontextmanager
async def reach(arguments: argparse.Namespace, terminal: Terminal | None = None) -> AsyncIterator[Client]:
    """Connect to `arguments.target`; questions of the server go to `terminal`, where there is one.

    Raises `ConfigError` for a target or header that is none, `TransportError` when it cannot be reached.
    """
    # What an upstream does is told in one line each; its whole story is for `trunkline up`.
    logs.set_up("error")
    target = classify(arguments.target)
    async with contextlib.AsyncExitStack() as stack:
        where: TargetLike = target.value
        if target.kind == "server":
            where = load_server(target.value)
        elif target.kind == "config":
            from trunkline.assembly.gateway import running_gateway

            where = await stack.enter_async_context(running_gateway(target.value, tell=say))
        headers = _headers(arguments) if target.kind == "url" else None
        auth = await _signed_in(target.value) if headers is not None and not _authorized(headers) else None
        client = Client(
            where,
            headers=headers,
            auth=auth,
            timeout=arguments.timeout,
            elicit=terminal.elicit if terminal else None,
            open_url=terminal.open_url if terminal else None,
            sample=terminal.sample if terminal else None,
            roots=terminal.roots if terminal else None,
        )
        try:
            yield await stack.enter_async_context(client)
        except HttpFailure as error:
            if target.kind != "url" or error.status != 401 or _authorized(headers or {}):
                raise
            raise SignInNeeded(f"{target.value} wants you to sign in: trunkline login {target.value}") from None


async def _signed_in(url: str) -> Credentials | None:
    """The sign-in that is kept for a server, if there is one."""
    from trunkline.auth.keeping import system_store
    from trunkline.auth.metadata import covers

    store = system_store()
    if not any(covers(name.resource, url) for name in await store.list()):
        return None
    from trunkline.auth.oauth import OAuth
    from trunkline.auth.signin import SignIn

    return OAuth(SignIn(), store=store, interactive=False)


def _authorized(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def say(text: str) -> None:
    """Print a line for people beside the result, on stderr."""
    print(text, file=sys.stderr)


def _headers(arguments: argparse.Namespace) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in arguments.header:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header needs NAME:VALUE, as in --header 'X-Team: blue'; {name[:40]!r} has no colon")
        headers[name.strip()] = value.strip()
    if arguments.token_env:
        token = os.environ.get(arguments.token_env)
        if not token:
            raise ConfigError(f"The environment variable {arguments.token_env} of --token-env is not set")
        headers["Authorization"] = f"Bearer {token}"
    return headers
