"""Reaching the target of a command: one `Client` for a URL, a configuration, a Python server or a command line.

What it is for: every command reaches every kind of target in the same way.
What may live here: that connection. What may not: what is done with it.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator

from trunkline.assembly.target import classify, load_server
from trunkline.cli.asking import Terminal
from trunkline.client.client import Client
from trunkline.errors import ConfigError


@contextlib.asynccontextmanager
async def reach(arguments: argparse.Namespace, terminal: Terminal | None = None) -> AsyncIterator[Client]:
    """Connect to `arguments.target`; questions of the server go to `terminal`, where there is one.

    Raises `ConfigError` for a target or header that is none, `TransportError` when it cannot be reached.
    """
    target = classify(arguments.target)
    async with contextlib.AsyncExitStack() as stack:
        where: object = target.value
        if target.kind == "server":
            where = load_server(target.value)
        elif target.kind == "config":
            from trunkline.assembly.gateway import gateway_for_one

            where = await stack.enter_async_context(gateway_for_one(target.value))
        headers = _headers(arguments) if target.kind == "url" else None
        client = Client(
            where,  # type: ignore[arg-type]
            headers=headers,
            timeout=arguments.timeout,
            elicit=terminal.elicit if terminal else None,
            open_url=terminal.open_url if terminal else None,
            sample=terminal.sample if terminal else None,
            roots=terminal.roots if terminal else None,
            on_stderr=None,
        )
        yield await stack.enter_async_context(client)


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
