"""An issuer for tests that forges whatever they ask for, and a server that trusts it; real sockets between them."""

import base64
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.auth.web import Site
from tests.auth.web import serving as site
from trunkline import Context, ResourceServer, Server
from trunkline.auth.proofs import ProofKey
from trunkline.transports.serving import Binding, bind, serving

VERSION = "io.modelcontextprotocol/protocolVersion"


@dataclass
class Authority:
    """An issuer: its site, the keys it signs with, what it says of opaque tokens."""

    site: Site
    keys: dict[str, Any] = field(default_factory=lambda: {"k1": ECKey.generate_key("P-256", {"kid": "k1"})})
    active: dict[str, dict[str, object]] = field(default_factory=dict)
    cache_control: str = ""
    audience: str = ""

    @property
    def issuer(self) -> str:
        return self.site.url

    def publish(self) -> None:
        """Serve the metadata, the keys, the introspection endpoint."""
        metadata = {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "introspection_endpoint": f"{self.issuer}/introspect",
        }
        self.site.says("/.well-known/oauth-authorization-server", metadata)
        self.site.answers["/jwks"] = self._jwks
        self.site.answers["/introspect"] = self._introspect

    def mint(self, kid: str = "k1", header: dict[str, object] | None = None, **claims: object) -> str:
        """A signed access token for the server; what is None is left out."""
        now = time.time()
        said = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "ada",
            "client_id": "agent",
            "iat": int(now),
            "exp": int(now) + 300,
            "jti": uuid.uuid4().hex,
            "scope": "mcp",
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        key = self.keys[kid]
        alg = "RS256" if isinstance(key, RSAKey) else "ES256"
        return jwt.encode({"alg": alg, "typ": "at+jwt", "kid": kid, **(header or {})}, said, key)

    def bound(self, key: ProofKey, **claims: object) -> str:
        """A token that is bound to a key."""
        return self.mint(cnf={"jkt": key.thumbprint}, **claims)

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        listed = {"keys": [key.as_dict(private=False) for key in self.keys.values()]}
        headers = {"Cache-Control": self.cache_control} if self.cache_control else {}
        return web.json_response(listed, headers=headers)

    async def _introspect(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Basic " + base64.b64encode(b"rs:s3cret%2F").decode():
            return web.json_response({"error": "invalid_client"}, status=401)
        token = str((await request.post())["token"])
        return web.json_response(self.active.get(token, {"active": False}))


@dataclass
class Guarded:
    """A server that wants tokens of an authority, and a client of it that sends what it is told."""

    authority: Authority
    url: str
    http: aiohttp.ClientSession
    resource: ResourceServer
    server: Server

    async def post(
        self,
        body: object,
        token: str | None = None,
        *,
        proof: str | None = None,
        scheme: str | None = None,
        url: str | None = None,
        **headers: str,
    ) -> aiohttp.ClientResponse:
        """Send a message; a proof makes the scheme DPoP unless another is given."""
        sent = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if token is not None:
            sent["Authorization"] = f"{scheme or ('DPoP' if proof else 'Bearer')} {token}"
        if proof is not None:
            sent["DPoP"] = proof
        response = await self.http.post(url or self.url, data=json.dumps(body), headers=sent)
        await response.read()
        return response

    async def ask(
        self, method: str, params: dict[str, object], token: str | None = None, *, proof: str | None = None, **more: Any
    ) -> aiohttp.ClientResponse:
        """A modern request."""
        meta = {VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method}
        name = params.get("name", params.get("uri"))
        if name is not None:
            headers["Mcp_Name"] = str(name)
        return await self.post(body, token, proof=proof, **headers, **more)

    async def call(self, tool: str, token: str | None = None, **more: Any) -> aiohttp.ClientResponse:
        """Call a tool."""
        return await self.ask("tools/call", {"name": tool, "arguments": {}}, token, **more)

    async def enter(self, key: ProofKey, token: str, tool: str = "who", **claims: Any) -> aiohttp.ClientResponse:
        """Call a tool with a fresh proof."""
        return await self.call(tool, token, proof=key.proof("POST", self.url, token=token, **claims))


async def said(response: aiohttp.ClientResponse) -> object:
    """The text of a tool's answer."""
    return json.loads(await response.read())["result"]["content"][0]["text"]


def challenge(response: aiohttp.ClientResponse) -> str:
    """All challenges of an answer."""
    return ", ".join(response.headers.getall("WWW-Authenticate", []))


@contextlib.asynccontextmanager
async def authority() -> AsyncIterator[Authority]:
    """An issuer on a socket of its own."""
    async with site() as running:
        made = Authority(running)
        made.publish()
        yield made


@contextlib.asynccontextmanager
async def guarded(
    issuer: Authority,
    *,
    server: dict[str, Any] | None = None,
    audience: str | None = None,
    unstarted: Callable[[Server], None] = lambda server: None,
    **options: Any,
) -> AsyncIterator[Guarded]:
    """A server over a few things that anyone with the right token may use."""
    listener = bind(Binding(port=0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    issuer.audience = audience or url
    options = {"scopes": ["mcp"], **options}
    resource = ResourceServer(issuer.issuer, issuer.audience, **options)
    made = Server("guarded", auth=resource, **(server or {}))
    _furnish(made)
    unstarted(made)
    async with serving(made.app, listener), aiohttp.ClientSession() as http:
        yield Guarded(issuer, url, http, resource, made)


def _furnish(server: Server) -> None:
    @server.tool
    async def who(context: Context) -> str:
        one = context.principal
        return json.dumps([one.issuer, one.subject, one.client, sorted(one.scopes)])

    @server.tool
    async def read_file() -> str:
        return "read"

    @server.tool
    async def write_file() -> str:
        return "written"

    @server.tool
    async def secret_door() -> str:
        return "open"

    @server.prompt
    def review() -> str:
        return "Review this"

    @server.resource("files://{name}")
    async def file(name: str) -> str:
        return f"contents of {name}"

    @server.resource("files://index")
    async def index() -> str:
        return "index"
