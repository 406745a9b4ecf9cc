"""trunkline: one tool for callers with an access token; by itself, for what reads tokens weighs on no other server."""

from bench.apps.ours import adding
from bench.signing import AUDIENCE, ISSUER, Known
from trunkline import ResourceServer, Scopes, Server
from trunkline.transports.http import HTTPTransport


def signed_in() -> HTTPTransport:
    """A coroutine function, for callers with an access token and a scope."""
    resource = ResourceServer(ISSUER, AUDIENCE, scopes=Scopes(always=("mcp",), tools={"delete_*": ("write",)}))
    resource._keys = Known()  # type: ignore[assignment]
    return adding(Server("bench", auth=resource)).app
