"""The official SDK's client and httpx sign in with our credentials, at a resource server that checks every proof."""

import base64
import json
import site
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from aiohttp import web
from joserfc import jws, jwt
from joserfc.jwk import ECKey

from tests.auth.authority import Authority, Guarded, authority, guarded
from tests.auth.web import serving
from tests.interop import running
from trunkline import DPoPRules
from trunkline.auth.client_credentials import ClientCredentials
from trunkline.auth.doors import Headers
from trunkline.auth.given import StaticToken
from trunkline.auth.httpx_auth import httpx_auth
from trunkline.auth.oauth import OAuth
from trunkline.errors import ConfigError

# Each is several processes, one after the other.
pytestmark = pytest.mark.timeout(180)

WORKLOAD = ECKey.generate_key("P-256")
SCRIPT = Path(__file__).parent / "peers" / "sdk_client.py"
PEER = running.ROOT / "build/peers/bin/python"
BASIC = "Basic " + base64.b64encode(b"agent:s3cret").decode()
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class TokenDesk:
    """The token endpoint of an authority; it is as strict as the grants want it."""

    issuer: Authority
    forms: list[dict[str, str]] = field(default_factory=list)

    def open(self) -> None:
        """Serve it, and name it in the metadata."""
        url = self.issuer.issuer
        self.issuer.site.answers |= {"/token": self.token, "/exchange": self.exchange}
        members = {
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/jwks",
            "grant_types_supported": ["client_credentials", JWT_BEARER],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
            "dpop_signing_alg_values_supported": ["ES256"],
        }
        self.issuer.site.says("/.well-known/oauth-authorization-server", {"issuer": url, **members})

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Issue a token to who may have one."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        if form["resource"] != self.issuer.audience or not self._may(request, form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        said: dict[str, object] = {"sub": "spiffe://prod/jobs" if form["grant_type"] == JWT_BEARER else "agent"}
        kind = "Bearer"
        if (proof := request.headers.get("DPoP")) is not None:
            said["cnf"], kind = {"jkt": self._thumbprint(proof)}, "DPoP"
        token = self.issuer.mint(**said)
        return web.json_response({"access_token": token, "token_type": kind, "expires_in": 300})

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """The identity provider of an enterprise."""
        form = dict(await request.post())
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"agent:s3cret-idp").decode()
        assert (form["subject_token"], form["audience"]) == ("the-id-token", self.issuer.issuer)
        claims = {"aud": form["audience"], "resource": form["resource"], "client_id": "agent", "sub": "ada"}
        answer = {
            "access_token": jwt.encode({"alg": "ES256", "typ": "oauth-id-jag+jwt"}, claims, WORKLOAD),
            "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
            "token_type": "N_A",
        }
        return web.json_response(answer)

    def _may(self, request: web.Request, form: Mapping[str, str]) -> bool:
        if form["grant_type"] == "client_credentials":
            return request.headers.get("Authorization") == BASIC
        assertion = jwt.decode(form["assertion"], WORKLOAD)
        right = assertion.claims["aud"] == self.issuer.issuer
        if assertion.header.get("typ") == "oauth-id-jag+jwt":
            right = right and request.headers.get("Authorization") == BASIC
        return right

    def _thumbprint(self, proof: str) -> str:
        header = jws.extract_compact(proof.encode()).headers()
        key = ECKey.import_key(header["jwk"])
        claims = jwt.decode(proof, key).claims
        assert header["typ"] == "dpop+jwt" and "d" not in header["jwk"]
        assert (claims["htm"], claims["htu"]) == ("POST", f"{self.issuer.issuer}/token")
        return key.thumbprint()


@asynccontextmanager
async def desk(**options: object) -> AsyncIterator[tuple[TokenDesk, Guarded]]:
    async with authority() as issuer, guarded(issuer, **options) as server:  # type: ignore[arg-type]
        made = TokenDesk(issuer)
        made.open()
        yield made, server


def workload_token(issuer: str) -> str:
    claims = {"iss": "https://cluster.example.com", "sub": "spiffe://prod/jobs", "aud": issuer, "exp": time.time() + 60}
    return jwt.encode({"alg": "ES256"}, claims, WORKLOAD)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("grant", "dpop", "subject"),
    [
        ("client", "required", "agent"),
        ("client", "never", "agent"),
        ("workload", "offered", "spiffe://prod/jobs"),
        ("enterprise", "offered", "spiffe://prod/jobs"),
    ],
)
async def test_the_official_sdk_signs_in(grant: str, dpop: str, subject: str, mode: str, tmp_path: Path) -> None:
    running.need(PEER)
    rules = DPoPRules(mode="off") if dpop == "never" else DPoPRules(mode="required", nonces=True)
    async with desk(dpop=rules) as (tokens, server):
        (tmp_path / "token").write_text(workload_token(tokens.issuer.issuer))
        given = {
            "grant": grant,
            "dpop": dpop,
            "mode": mode,
            "url": server.url,
            "idp": tokens.issuer.issuer,
            "file": str(tmp_path / "token"),
        }
        seen = await _observe([str(PEER), str(SCRIPT), site.getsitepackages()[0], json.dumps(given)])

    assert seen["who"][:2] == [tokens.issuer.issuer, subject]
    assert "who" in seen["tools"]
    assert len(tokens.forms) == 1


async def _observe(command: list[str]) -> dict[str, Any]:
    import asyncio

    return await asyncio.to_thread(running.observe, command)


@pytest.mark.parametrize("library", [httpx2, httpx])
async def test_both_libraries_sign_in_and_send_the_body_again(library: Any) -> None:
    async with desk(dpop=DPoPRules(mode="required", nonces=True)) as (tokens, server):
        auth = httpx_auth(OAuth(ClientCredentials("agent", "s3cret"), dpop="required"))
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()

        async def parts() -> AsyncIterator[bytes]:
            yield body[:10]
            yield body[10:]

        async with library.AsyncClient(auth=auth, headers={**headers, "Authorization": "Bearer stale"}) as client:
            first = await client.post(server.url, content=parts())
            second = await client.post(server.url, content=body)
    assert (first.status_code, second.status_code) == (200, 200)
    assert len(tokens.forms) == 1


class Noted:
    """Credentials that note what they are asked."""

    def __init__(self, again: bool) -> None:
        self.again = again
        self.asked: list[tuple[object, ...]] = []

    async def headers(self, method: str, url: str) -> Headers:
        self.asked.append(("headers", method, url))
        return (("Authorization", "Bearer x"),)

    def seen(self, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> None:
        self.asked.append(("seen", status, headers.get("DPoP-Nonce")))

    async def challenged(self, method: str, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> bool:
        self.asked.append(("challenged", status))
        return self.again


async def test_challenges_have_an_end() -> None:
    async with serving() as server:
        server.says("/mcp", {}, status=401, headers={"DPoP-Nonce": "n"})
        noted, stopped = Noted(again=True), Noted(again=False)
        async with httpx2.AsyncClient(auth=httpx_auth(noted)) as client:
            assert (await client.get(f"{server.url}/mcp")).status_code == 401
        async with httpx2.AsyncClient(auth=httpx_auth(stopped)) as client:
            assert (await client.get(f"{server.url}/mcp")).status_code == 401
    steps = [one[0] for one in noted.asked]
    # No token is asked for that nothing would be sent with.
    assert 2 < steps.count("headers") < 10 and steps.count("challenged") == steps.count("headers") - 1
    assert [one[0] for one in stopped.asked] == ["headers", "seen", "challenged"]
    assert stopped.asked[1] == ("seen", 401, "n")


async def test_a_token_that_is_no_more_is_not_sent_again() -> None:
    sent: list[str | None] = []

    async def note(request: web.Request) -> web.StreamResponse:
        sent.extend((request.headers.get("Authorization"), request.headers.get("DPoP")))
        return web.json_response({})

    class Fewer(Noted):
        async def headers(self, method: str, url: str) -> Headers:
            return ()

    async with serving() as server:
        server.answers["/mcp"] = note
        stale = {"Authorization": "DPoP stale", "DPoP": "stale"}
        async with httpx2.AsyncClient(auth=httpx_auth(Fewer(again=False)), headers=stale) as client:
            await client.get(f"{server.url}/mcp")
    assert sent == [None, None]


async def test_whoever_a_redirect_leads_to_can_challenge_nobody() -> None:
    """Its challenge would name an authorization server, and its nonce would be sent to the right one."""
    async with serving() as server, serving() as evil:
        evil.says("/mcp", {}, status=401, headers={"DPoP-Nonce": "evil", "WWW-Authenticate": "Bearer"})

        async def away(_: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{evil.url}/mcp"})

        server.answers["/mcp"] = away
        noted = Noted(again=True)
        async with httpx2.AsyncClient(auth=httpx_auth(noted), follow_redirects=True) as client:
            assert (await client.get(f"{server.url}/mcp")).status_code == 401
    assert noted.asked == [("headers", "GET", f"{server.url}/mcp")]
    assert len(evil.asked) == 1


def test_a_client_that_cannot_wait_is_told() -> None:
    with httpx2.Client(auth=httpx_auth(StaticToken("x"))) as client, pytest.raises(ConfigError, match="AsyncClient"):
        client.get("http://127.0.0.1:9/")


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"install trunkline\[httpx\]"):
        httpx_auth(StaticToken("x"))


def test_nothing_secret_is_in_a_repr() -> None:
    assert "s3cret" not in repr(httpx_auth(ClientCredentials("agent", "s3cret")))
