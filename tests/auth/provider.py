"""A small authorization server and an MCP endpoint that it protects: real HTTP, as right or wrong as a test wants."""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
from aiohttp import web

from tests.auth.web import Site, serving
from tests.client.raw import DISCOVERED, answer, initialized

OAUTH = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


@dataclass
class Asked:
    """One request to the authorization server."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]


@dataclass
class Granted:
    """A token, and what it allows."""

    scopes: frozenset[str]
    client: str
    bound: str | None = None
    live: bool = True


class Provider:
    """An authorization server: what it does can be changed between two requests."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.issuer = site.url
        self.metadata: dict[str, object] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
        }
        self.asked: list[Asked] = []
        self.clients: dict[str, dict[str, object]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.refreshes: dict[str, Granted] = {}
        self.tokens: dict[str, Granted] = {}
        self.lifetime: float | None = 3600
        self.with_refresh = True
        self.answers: dict[str, str] = {}
        """Added to the authorization response, or, with an empty value, taken from it."""
        self.refusals: dict[str, list[dict[str, str]]] = {}
        """By path: errors for the next requests."""
        self.nonce: str | None = None
        for path, handler in {
            "/authorize": self._authorize,
            "/token": self._token,
            "/register": self._register,
        }.items():
            site.answers[path] = handler
        site.answers[OAUTH] = self._metadata

    def calls(self, path: str) -> list[dict[str, str]]:
        """The parameters of the requests to one endpoint."""
        return [asked.params for asked in self.asked if asked.path == path]

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.metadata)

    async def _note(self, request: web.Request) -> dict[str, str]:
        body = await request.text()
        form = request.content_type == "application/x-www-form-urlencoded"
        params = dict(parse_qsl(body)) if form else dict(request.query)
        self.asked.append(Asked(request.path, params, dict(request.headers)))
        return params

    def _refused(self, path: str) -> web.StreamResponse | None:
        waiting = self.refusals.get(path)
        return web.json_response(waiting.pop(0), status=400) if waiting else None

    async def _register(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        if refused := self._refused("/register"):
            return refused
        wanted = await request.json()
        name = f"client-{len(self.clients) + 1}-of-{self.site.port}"
        self.clients[name] = wanted
        return web.json_response({**wanted, "client_id": name}, status=201)

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        asked = await self._note(request)
        back = {"state": asked["state"]}
        if waiting := self.refusals.get("/authorize"):
            back |= waiting.pop(0)
        else:
            code = secrets.token_urlsafe(8)
            self.codes[code] = asked
            back["code"] = code
        back = {name: value for name, value in {**back, **self.answers}.items() if value}
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(back)}")

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await self._note(request)
        if refused := self._refused("/token"):
            return refused
        proof = request.headers.get("DPoP")
        if self.nonce is not None and (proof is None or claims(proof).get("nonce") != self.nonce):
            return web.json_response({"error": "use_dpop_nonce"}, status=400, headers={"DPoP-Nonce": self.nonce})
        bound = None if proof is None or "dpop_signing_alg_values_supported" not in self.metadata else thumbprint(proof)
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form, bound)
        asked = self.codes.pop(form.get("code", ""), None)
        if asked is None or challenge_of(form["code_verifier"]) != asked["code_challenge"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if any(form.get(name) != asked.get(name) for name in ("redirect_uri", "resource")):
            return web.json_response({"error": "invalid_request"}, status=400)
        return self._issue(frozenset(asked.get("scope", "").split()), asked["client_id"], bound)

    def _refresh(self, form: dict[str, str], bound: str | None) -> web.StreamResponse:
        granted = self.refreshes.get(form["refresh_token"])
        if granted is None or not granted.live:
            # Used twice: somebody stole it, so nothing of it holds any more (OAuth 2.1, 4.3.1).
            for other in (*self.refreshes.values(), *self.tokens.values()):
                other.live = False
            return web.json_response({"error": "invalid_grant"}, status=400)
        granted.live = False
        return self._issue(granted.scopes, granted.client, bound)

    def _issue(self, scopes: frozenset[str], client: str, bound: str | None) -> web.StreamResponse:
        token, refresh = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        self.tokens[token] = Granted(scopes, client, bound)
        made: dict[str, object] = {"access_token": token, "token_type": "DPoP" if bound else "Bearer"}
        if self.lifetime is not None:
            made["expires_in"] = self.lifetime
        if self.with_refresh:
            self.refreshes[refresh] = Granted(scopes, client, bound)
            made["refresh_token"] = refresh
        return web.json_response(made)

    def revoke(self) -> None:
        """No access token holds any more; refresh tokens do."""
        for granted in self.tokens.values():
            granted.live = False


@dataclass
class Protected:
    """An MCP endpoint that takes tokens of one provider."""

    site: Site
    provider: Provider
    url: str = ""
    legacy: bool = False
    challenge: dict[str, str] = field(default_factory=dict)
    scheme: str = "Bearer"
    needs: dict[str, str] = field(default_factory=dict)
    """By tool: the scopes that it needs."""
    tools: list[dict[str, object]] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, method and `Authorization` of each request."""
    proofs: list[dict[str, object]] = field(default_factory=list)
    nonce: str | None = None
    pointer: bool = True
    called: list[str] = field(default_factory=list)

    def publish(self, path: str = "", **members: object) -> None:
        """Serve resource metadata."""
        self.site.says(
            RESOURCE + path, {"resource": self.url, "authorization_servers": [self.provider.issuer], **members}
        )

    def silent(self) -> None:
        """Have no resource metadata, and point to none."""
        self.pointer = False
        self.site.answers = {path: made for path, made in self.site.answers.items() if not path.startswith(RESOURCE)}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One MCP request."""
        message = await request.json() if request.method == "POST" else {}
        authorization = request.headers.get("Authorization", "")
        self.requests.append((request.method, message.get("method", ""), authorization))
        granted = self.provider.tokens.get(authorization.partition(" ")[2])
        if granted is None or not granted.live:
            return self._challenge(401, self.challenge)
        if granted.bound is not None:
            proof = claims(request.headers["DPoP"])
            self.proofs.append(proof)
            if self.nonce is not None and proof.get("nonce") != self.nonce:
                return self._challenge(401, {"error": "use_dpop_nonce"}, {"DPoP-Nonce": self.nonce})
        tool = message.get("params", {}).get("name", "")
        if not frozenset(self.needs.get(tool, "").split()) <= granted.scopes:
            return self._challenge(403, {"error": "insufficient_scope", "scope": self.needs[tool]})
        return self._answer(request, message, tool)

    def _challenge(
        self, status: int, params: dict[str, str], headers: dict[str, str] | None = None
    ) -> web.StreamResponse:
        said = {**params, **({"resource_metadata": f"{self.site.url}{RESOURCE}/mcp"} if self.pointer else {})}
        field = f"{self.scheme} " + ", ".join(f'{name}="{value}"' for name, value in said.items())
        return web.Response(status=status, headers={"WWW-Authenticate": field.strip(), **(headers or {})})

    def _answer(self, request: web.Request, message: dict[str, object], tool: str) -> web.StreamResponse:
        method = message.get("method", "")
        if request.method == "GET":
            return web.Response(status=405)
        if request.method == "DELETE" or "id" not in message:
            return web.Response(status=202)
        if self.legacy and method == "server/discover":
            return web.Response(status=404)
        if method == "tools/call":
            self.called.append(tool)
        results: dict[object, dict[str, object]] = {
            "server/discover": DISCOVERED,
            "initialize": initialized(tools={}),
            "tools/list": {"tools": self.tools, "ttlMs": 0, "cacheScope": "private"},
            "tools/call": {"content": [{"type": "text", "text": f"{tool} done"}]},
        }
        result = results[method]
        body = answer(message, result if self.legacy else {"resultType": "complete", **result})
        return web.json_response(body, headers={"Mcp-Session-Id": "s"} if self.legacy else None)


@asynccontextmanager
async def protected() -> AsyncIterator[Protected]:
    """A provider and an endpoint, each on a port of its own."""
    async with serving() as one, serving() as other:
        provider = Provider(one)
        server = Protected(other, provider, f"{other.url}/mcp")
        other.answers["/mcp"] = server.handle
        server.publish("/mcp")
        yield server


class Person:
    """Somebody who agrees to whatever they are asked, and comes back where they are sent."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.ready: list[str | None] = []
        self.redirect_uri = ""
        self.back: Callable[[str], str] = lambda address: address
        """Changes the address they come back with."""

    @asynccontextmanager
    async def visit(self, redirect_uri: str | None) -> AsyncIterator["Person"]:
        """Nothing listens: the address they end at is taken from the answer."""
        self.ready.append(redirect_uri)
        self.redirect_uri = redirect_uri or "http://127.0.0.1:9/callback"
        yield self

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """Open the page."""
        self.pages.append(url)
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
            return self.back(response.headers["Location"])


def parameters(address: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(address).query))


def claims(proof: str) -> dict[str, object]:
    """What a proof says; its signature is the business of other tests."""
    import json

    return json.loads(_decoded(proof.split(".")[1]))


def thumbprint(proof: str) -> str:
    """Which key a proof is of."""
    return hashlib.sha256(_decoded(proof.split(".")[0])).hexdigest()


def challenge_of(verifier: str) -> str:
    """RFC 7636, 4.2, written a second time."""
    return base64.b64encode(hashlib.sha256(verifier.encode()).digest(), b"-_").decode().rstrip("=")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
