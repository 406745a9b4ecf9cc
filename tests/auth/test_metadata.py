"""Finding the authorization server: the order of the standard, and documents that are anything else."""

import pytest
from aiohttp import web

from tests.auth.web import Site, serving
from trunkline.auth.addresses import AddressRules
from trunkline.auth.fetching import Fetcher
from trunkline.auth.metadata import canonical, find_resource, find_server
from trunkline.errors import AddressRefused, InvalidAnswer, SignInError, TransportError

FETCHER = Fetcher(AddressRules.around("http://127.0.0.1/mcp"))


@pytest.mark.parametrize(
    ("path", "order"),
    [
        ("", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        ("/", ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]),
        (
            "/tenant/1",
            [
                "/.well-known/oauth-authorization-server/tenant/1",
                "/.well-known/openid-configuration/tenant/1",
                "/tenant/1/.well-known/openid-configuration",
            ],
        ),
    ],
)
async def test_an_authorization_server_is_looked_for_in_the_order_of_the_standard(path: str, order: list[str]) -> None:
    async with serving() as site:
        issuer = site.url + path
        with pytest.raises(SignInError, match="no metadata"):
            await find_server(FETCHER, issuer)
        assert site.asked == order
        for address in reversed(order):
            site.says(address, {"issuer": issuer})
            site.asked.clear()
            assert (await find_server(FETCHER, issuer)).issuer == issuer
            assert site.asked == order[: order.index(address) + 1]


async def test_a_resource_is_looked_for_at_its_path_and_then_at_the_root() -> None:
    async with serving() as site:
        assert await find_resource(FETCHER, f"{site.url}/a/mcp/", None) is None
        assert site.asked == ["/.well-known/oauth-protected-resource/a/mcp", "/.well-known/oauth-protected-resource"]
        site.asked.clear()
        assert await find_resource(FETCHER, site.url, None) is None
        assert site.asked == ["/.well-known/oauth-protected-resource"]
        site.says("/elsewhere", {"resource": f"{site.url}/mcp", "authorization_servers": ["https://idp.example.com"]})
        site.asked.clear()
        assert await find_resource(FETCHER, f"{site.url}/mcp", f"{site.url}/elsewhere") is not None
        assert site.asked == ["/elsewhere"]


@pytest.mark.parametrize(
    "issuer", ["idp.example.com", "", "https://idp.example.com?x=1", "https://idp.example.com#x", "x:y"]
)
async def test_what_cannot_be_an_issuer_is_not_asked(issuer: str) -> None:
    with pytest.raises(AddressRefused):
        await find_server(FETCHER, issuer)


WRONG = [
    b"",
    b"null",
    b"[]",
    b'"https://idp.example.com"',
    b"{",
    b'{"resource": 5, "authorization_servers": ["https://idp.example.com"]}',
    b'{"resource": "URL", "authorization_servers": "https://idp.example.com"}',
    b'{"resource": "URL", "authorization_servers": [null]}',
    b'{"resource": "URL", "authorization_servers": []}',
    b'{"resource": "URL"}',
    b'{"resource": "URL", "x": "\xff"}',
    b'{"resource": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
async def test_metadata_that_is_anything_else_is_said_to_be(body: bytes) -> None:
    async with serving() as site:
        pointer = _serves(site, body)
        with pytest.raises((InvalidAnswer, SignInError)) as failure:
            await find_resource(FETCHER, f"{site.url}/mcp", pointer)
        assert isinstance(failure.value, TransportError)
        assert len(str(failure.value)) < 500


def _serves(site: Site, body: bytes) -> str:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body.replace(b"URL", f"{site.url}/mcp".encode()), content_type="application/json")

    site.answers["/meta"] = answer
    return f"{site.url}/meta"


@pytest.mark.parametrize(
    ("server", "resource"),
    [
        ("HTTPS://MCP.Example.com/mcp", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com/", "https://mcp.example.com"),
        ("https://mcp.example.com", "https://mcp.example.com"),
        ("https://mcp.example.com:8443/a/", "https://mcp.example.com:8443/a"),
        ("https://mcp.example.com/mcp#x", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com/mcp?tenant=1", "https://mcp.example.com/mcp?tenant=1"),
    ],
)
def test_a_server_has_one_canonical_uri(server: str, resource: str) -> None:
    assert canonical(server) == resource
