"""An authorization server for tests: real sockets, an answer of choice, and a record of every token request."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.auth.web import Site, serving
from trunkline.auth.addresses import AddressRules
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.endpoint import Endpoint
from trunkline.auth.fetching import Fetcher

RESOURCE = "https://mcp.example.com/mcp"
TOKEN = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 900}


@dataclass
class Asked:
    """A token request: its form, each parameter once, and its headers."""

    form: dict[str, str]
    headers: dict[str, str]


@dataclass
class Issuer:
    """An authorization server that answers every token request alike."""

    site: Site
    requests: list[Asked] = field(default_factory=list)
    answer: dict[str, object] = field(default_factory=lambda: dict(TOKEN))
    status: int = 200
    listed: dict[str, object] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its identifier."""
        return self.site.url

    @property
    def token_endpoint(self) -> str:
        """Where tokens are asked for."""
        return f"{self.site.url}/token"

    def endpoint(self, **metadata: object) -> Endpoint:
        """It as a grant sees it."""
        made = ServerMetadata(issuer=self.url, token_endpoint=self.token_endpoint, **metadata)  # type: ignore[arg-type]
        return Endpoint(made, RESOURCE, Fetcher(AddressRules.around(self.url)))

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Note what was asked, and answer."""
        form = await request.post()
        assert len(form) == len(set(form)), "a parameter must not be there twice (RFC 6749, 3.2)"
        self.requests.append(Asked({name: str(value) for name, value in form.items()}, dict(request.headers)))
        return web.json_response(self.answer, status=self.status, headers={"Cache-Control": "no-store"})

    async def metadata(self, request: web.Request) -> web.StreamResponse:
        """What it says of itself."""
        return web.json_response({"issuer": self.url, "token_endpoint": self.token_endpoint, **self.listed})


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Run one."""
    async with serving() as site:
        issuer = Issuer(site)
        site.answers["/token"] = issuer.token
        site.answers["/.well-known/oauth-authorization-server"] = issuer.metadata
        yield issuer
