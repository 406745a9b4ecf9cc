"""Where clients look for how to sign in (RFC 9728)."""

import contextlib
import json

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.auth.authority import authority, challenge, guarded
from trunkline import DPoPRules, ResourceServer, Scopes, Server
from trunkline.transports.serving import Binding, bind, serving

PLACE = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize("place", [f"{PLACE}/mcp", PLACE])
async def test_metadata_are_at_the_path_and_at_the_root(place: str) -> None:
    async with (
        authority() as issuer,
        guarded(issuer, name="Files", scopes=Scopes(always=("mcp",), tools={"*": ("x",)})) as made,
        made.http.get(made.url.removesuffix("/mcp") + place, headers={"Origin": "https://web.example"}) as response,
    ):
        assert response.status == 200
        assert response.content_type == "application/json"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        document = await response.json()
    assert document.pop("dpop_signing_alg_values_supported")[0] == "ES256"
    assert document == {
        "resource": made.url,
        "authorization_servers": [issuer.issuer],
        "scopes_supported": ["mcp"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Files",
        "dpop_bound_access_tokens_required": False,
    }


async def test_metadata_say_whether_keys_are_required_or_unknown() -> None:
    for mode, said in (("required", True), ("off", None)):
        async with authority() as issuer, guarded(issuer, dpop=mode, scopes=()) as made:
            response = await made.http.get(made.url.removesuffix("/mcp") + PLACE)
            document = await response.json()
        assert document.get("dpop_bound_access_tokens_required") is said
        assert ("dpop_signing_alg_values_supported" in document) is (said is True)
        assert "scopes_supported" not in document


async def test_other_methods_and_hosts_get_no_metadata() -> None:
    async with authority() as issuer, guarded(issuer) as made:
        where = made.url.removesuffix("/mcp") + PLACE
        async with made.http.post(where) as response:
            assert response.status == 405
            assert "GET" in response.headers["Allow"]
        async with made.http.head(where) as response:
            assert response.status == 200
            assert await response.read() == b""
        async with made.http.options(where) as response:
            assert response.status == 204
        async with made.http.get(where, headers={"Host": "evil.example.com"}) as response:
            assert response.status == 421
        async with made.http.get(f"{where}/other") as response:
            assert response.status == 404


async def test_a_server_without_sign_in_has_none() -> None:
    listener = bind(Binding(port=0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with authority() as issuer, guarded(issuer) as made, serving(Server("open").app, listener):
        response = await made.http.get(url + PLACE)
        assert response.status == 404


async def test_the_audience_is_the_public_url() -> None:
    async with authority() as issuer, guarded(issuer, audience="https://mcp.example.com/base/mcp") as made:
        response = await made.call("who")
        assert f'resource_metadata="https://mcp.example.com/base{PLACE}/mcp"' in challenge(response)
        async with made.http.get(made.url.removesuffix("/mcp") + PLACE + "/mcp") as answer:
            assert (await answer.json())["resource"] == "https://mcp.example.com/base/mcp"


async def test_a_name_that_is_no_address_is_an_audience_too() -> None:
    async with authority() as issuer, guarded(issuer, audience="api://files") as made:
        assert (await made.call("who", issuer.mint())).status == 200
        assert (await made.call("who", issuer.mint(aud=made.url))).status == 401
        async with made.http.get(made.url.removesuffix("/mcp") + PLACE + "/mcp") as answer:
            assert (await answer.json())["resource"] == made.url


async def test_a_mounted_server_points_to_metadata_that_are_there() -> None:
    async with authority() as issuer, guarded(issuer) as made:
        listener = bind(Binding(port=0))
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = Server("weather", auth=ResourceServer(issuer.issuer, f"{base}/weather/mcp", dpop=DPoPRules()))
        host = Starlette(routes=[Mount("/weather", app=server.app)], lifespan=server.lifespan)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(serving(host, listener))
            for path in ("/weather/mcp", "/weather/"):
                answer = await made.ask("tools/list", {}, url=base + path)
                pointer = challenge(answer).partition('resource_metadata="')[2].partition('"')[0]
                async with made.http.get(pointer) as response:
                    assert response.status == 200, pointer
                    assert json.loads(await response.read())["resource"] == base + path
