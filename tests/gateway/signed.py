"""Upstreams that want the gateway to sign in: real HTTP, tokens of a small authorization server."""

import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from tests.auth.provider import Person, Protected, Provider, protected
from tests.client.raw import answer
from trunkline import Client
from trunkline.auth.doors import TokenStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.gateway.supervision import Backoff
from trunkline.portable.auth import Auth
from trunkline.portable.model import Entry

FAST = Backoff(base=0.02, cap=0.05, quick_failures=1000, start=20.0)
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("hello", "admin")]


@contextlib.asynccontextmanager
async def guarded() -> AsyncIterator[Protected]:
    """A protected endpoint that lists what it has."""
    async with protected() as server:
        server.site.answers["/mcp"] = lambda request: listing(server, request)
        yield server


async def listing(server: Protected, request: web.Request) -> web.StreamResponse:
    """As the endpoint answers, with tools in its list."""
    message = await request.json() if request.method == "POST" else {}
    try:
        response = await server.handle(request)
    except KeyError:
        error = {"code": -32601, "message": "there is no such method"}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=404)
    if response.status == 200 and message.get("method") == "tools/list":
        result = {"resultType": "complete", "tools": TOOLS, "ttlMs": 0, "cacheScope": "private"}
        return web.json_response(answer(message, result))
    return response


def entry(server: Protected, **auth: object) -> Entry:
    """The endpoint as a configuration has it."""
    return Entry("tracker", "http", url=server.url, auth=Auth(**auth))  # type: ignore[arg-type]


async def sign_in(server: Protected, store: TokenStore) -> None:
    """The operator signs in."""
    async with Client(server.url, auth=OAuth(SignIn(agent=Person()), store=store)) as client:
        await client.tools()


def machine(provider: Provider) -> None:
    """Have the authorization server give tokens to clients and workloads that prove who they are."""
    given = provider.site.answers["/token"]

    async def token(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if form.get("grant_type") not in ("client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"):
            return await given(request)
        await provider._note(request)
        return provider._issue(frozenset(str(form.get("scope", "")).split()), "robot", None)

    provider.with_refresh = False
    provider.site.answers["/token"] = token
