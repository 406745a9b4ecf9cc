"""Hosts, origins, CORS, proxies, and mounting in other applications."""

from collections.abc import Mapping

import aiohttp
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.transports.fixture import Stage, application_of, call
from tests.transports.test_duplex import words
from tests.transports.web import Web, served
from trunkline.engine.doors import RequestFacts
from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.errors import ConfigError
from trunkline.transports.asgi import ASGIApp
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport

ECHO = call(1, "echo", {"text": "x"}, modern=True)
HEADERS = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "echo"}


async def status(
    app: ASGIApp, headers: Mapping[str, str], method: str = "POST", path: str = "/mcp"
) -> aiohttp.ClientResponse:
    async with served(app) as port, aiohttp.ClientSession() as http:
        web = Web(port, http, path)
        response = await web.request(method, ECHO if method == "POST" else None, **HEADERS, **headers)
        await response.read()
        return response


def app_of(**options: object) -> HTTPTransport:
    return HTTPTransport(application_of(Stage()), guard=Guard(**options))  # type: ignore[arg-type]


class TestHost:
    @pytest.mark.parametrize(
        "host", ["evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com", "a@localhost:1:2x", "é"]
    )
    async def test_a_foreign_one_is_refused(self, host: str) -> None:
        response = await status(app_of(), {"Host": host})
        assert 400 <= response.status < 500

    @pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:9", "LOCALHOST", "[::1]", "[::1]:8000"])
    async def test_loopback_is_served(self, host: str) -> None:
        assert (await status(app_of(), {"Host": host})).status == 200

    @pytest.mark.parametrize("host", ["mcp.example.com", "mcp.example.com:443", "MCP.example.com"])
    async def test_allowed_ones_are_served(self, host: str) -> None:
        assert (await status(app_of(allowed_hosts=["mcp.example.com"]), {"Host": host})).status == 200
        assert (await status(app_of(allowed_hosts=["*"]), {"Host": host})).status == 200

    async def test_the_public_one_is_served(self) -> None:
        app = app_of(public_url="https://mcp.example.com/base")
        assert (await status(app, {"Host": "mcp.example.com"})).status == 200
        assert (await status(app, {"Host": "other.example.com"})).status == 421


class TestOrigin:
    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example.com",
            "null",
            "http://localhost.evil.com",
            "http://localhost:80@evil.example.com",
            "localhost",
            "file://localhost",
            "http://[",
            "é",
            "",
        ],
    )
    async def test_a_foreign_one_is_403(self, origin: str) -> None:
        response = await status(app_of(), {"Origin": origin})
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers

    @pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1", "https://[::1]:5"])
    async def test_loopback_pages_may_call_and_see_the_headers_they_need(self, origin: str) -> None:
        response = await status(app_of(), {"Origin": origin})
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert "Mcp-Session-Id" in response.headers["Access-Control-Expose-Headers"]
        assert response.headers["Vary"] == "Origin"

    async def test_allowed_ones_may_call(self) -> None:
        app = app_of(allowed_origins=["https://app.example.com"])
        assert (await status(app, {"Origin": "https://app.example.com"})).status == 200
        assert (await status(app, {"Origin": "http://app.example.com"})).status == 403

    async def test_a_preflight_is_answered(self) -> None:
        wanted = {"Origin": "http://localhost:1", "Access_Control_Request_Headers": "mcp-method, content-type"}
        response = await status(app_of(), wanted, "OPTIONS")
        assert response.status == 204
        assert "DELETE" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "mcp-method, content-type"
        assert (await status(app_of(), {"Origin": "https://evil.example"}, "OPTIONS")).status == 403


class Witness:
    """An authenticator that remembers what it saw."""

    async def authenticate(self, facts: RequestFacts) -> Principal:
        self.facts = facts
        return ANONYMOUS


class TestExternalURL:
    async def seen(self, headers: Mapping[str, str], **options: object) -> str:
        witness = Witness()
        app = HTTPTransport(application_of(Stage(), authenticator=witness), guard=Guard(**options))  # type: ignore[arg-type]
        assert (await status(app, headers)).status == 200
        assert witness.facts.body == ECHO
        return witness.facts.url

    async def test_it_is_what_the_client_wrote(self) -> None:
        assert await self.seen({"Host": "localhost:123"}) == "http://localhost:123/mcp"

    async def test_public_url_comes_first(self) -> None:
        headers = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "gopher"}
        assert await self.seen(headers, public_url="https://a.example/x/") == "https://a.example/x/mcp"

    async def test_forwarded_headers_are_believed_from_trusted_proxies_alone(self) -> None:
        headers = {"Host": "localhost:1", "X_Forwarded_Host": "a.example, b.example", "X_Forwarded_Proto": "https"}
        assert await self.seen(headers, trusted_proxies=["127.0.0.0/8"]) == "https://a.example/mcp"
        assert await self.seen(headers, trusted_proxies=["10.0.0.0/8"]) == "http://localhost:1/mcp"

    @pytest.mark.parametrize(
        "options", [{"public_url": "ftp://x"}, {"public_url": "x"}, {"trusted_proxies": ["everyone"]}]
    )
    def test_nonsense_is_a_configuration_error(self, options: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            Guard(**options)  # type: ignore[arg-type]


class TestMounting:
    @pytest.mark.parametrize("path", ["/api", "/api/", "/api/mcp"])
    async def test_in_starlette_the_mount_point_serves(self, path: str) -> None:
        host = Starlette(routes=[Mount("/api", app=app_of())])
        assert (await status(host, {}, path=path)).status == 200

    async def test_in_fastapi_beside_its_own_routes(self) -> None:
        host = FastAPI()
        host.mount("/tools", app_of())

        @host.get("/hello")
        def hello() -> str:
            return "world"

        async with served(host) as port, aiohttp.ClientSession() as http:
            web = Web(port, http, "/tools/mcp")
            response = await web.post(ECHO, **HEADERS)
            assert words(await response.json()) == "x"
            async with http.get(f"http://127.0.0.1:{port}/hello") as greeting:
                assert await greeting.json() == "world"
            await web.begin()
            response = await web.post(call(3, "echo", {"text": "legacy"}))
            assert words(await response.json()) == "legacy"

    async def test_another_application_beside_it(self) -> None:
        app = HTTPTransport(application_of(Stage()), beside=FastAPI())
        assert (await status(app, {}, "GET", "/openapi.json")).status == 200
        assert (await status(app, {})).status == 200
