"""End to end with an OpenID provider that nobody here wrote: sign in, refresh, revoke, rotate, restart, go away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from msgspec import structs

from tests.auth.authority import Guarded, _furnish, challenge, said
from tests.auth.openid import OpenID, Person, provider
from tests.interop.running import MODULES, need
from trunkline import Client, Introspection, ResourceServer, Scopes, Server
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.proofs import ProofKey
from trunkline.auth.signin import SignIn
from trunkline.auth.tokens import Kept, Tokens
from trunkline.errors import SignInNeeded
from trunkline.transports.serving import Binding, bind, serving

need(MODULES / "node_modules/oidc-provider")

RULES = Scopes(always=("mcp",), tools={"write_file": ("files.write",)})
ASKED = Introspection(client_id="gateway", client_secret="gateways-secret", keep=0)


@contextlib.asynccontextmanager
async def behind(openid: OpenID, **options: object) -> AsyncIterator[Guarded]:
    """A server that takes the provider's tokens."""
    listener = bind(Binding(port=0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    resource = ResourceServer(openid.issuer, url, scopes=RULES, **options)  # type: ignore[arg-type]
    server = Server("guarded", auth=resource)
    _furnish(server)
    async with serving(server.app, listener), aiohttp.ClientSession() as http:
        yield Guarded(None, url, http, resource, server)  # type: ignore[arg-type]


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("dpop", ["optional", "required", "off"])
async def test_our_client_signs_in_with_a_code_and_steps_up(tmp_path, era: str, dpop: str) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid, dpop=dpop) as made:
            person = Person()
            auth = OAuth(SignIn(agent=person), store=MemoryStore())
            async with Client(made.url, auth=auth, era=era) as client:
                who = json.loads((await client.call("who")).text)
                assert who[:2] == [openid.issuer, "ada"]
                assert len(person.pages) == 1
                assert (await client.call("write_file")).text == "written"
                assert len(person.pages) == 2
                assert "files.write" in person.pages[1]


async def kept_in(store: MemoryStore, openid: OpenID, made: Guarded) -> tuple[Kept, Tokens]:
    """What the client keeps."""
    kept = await store.load(openid.issuer, made.url)
    assert kept is not None
    assert kept.tokens is not None
    return kept, kept.tokens


async def its_person(client: Client) -> str:
    return str(json.loads((await client.call("who")).text)[1])


@pytest.mark.parametrize("dpop", ["optional", "off"])
async def test_a_token_that_ended_is_refreshed_and_nobody_is_asked_again(tmp_path, dpop: str) -> None:
    with provider(tmp_path, "opaque", lifetime=1) as openid:
        async with behind(openid, dpop=dpop, introspection=ASKED) as made:
            person, store = Person(), MemoryStore()
            async with Client(made.url, auth=OAuth(SignIn(agent=person), store=store)) as client:
                assert await its_person(client) == "ada"
                _, ended = await kept_in(store, openid, made)
                await asyncio.sleep(1.1)
                said = await openid.post("/token/introspection", {"token": ended.access_token}, "gateway")
                assert said["active"] is False
                assert await its_person(client) == "ada"
            kept, followed = await kept_in(store, openid, made)
            assert len(person.pages) == 1
            assert followed.token_type == ended.token_type == ("Bearer" if dpop == "off" else "DPoP")
            # Rotated: there is another refresh token, with which a process goes on whose person is not there.
            assert followed.refresh_token != ended.refresh_token
            await asyncio.sleep(1.1)
            alone = OAuth(SignIn(agent=person), store=store, interactive=False)
            async with Client(made.url, auth=alone) as client:
                assert await its_person(client) == "ada"
            # And the first one is good for nothing.
            await store.save(structs.replace(kept, tokens=ended))
            stale = OAuth(SignIn(agent=person), store=store, interactive=False)
            with pytest.raises(SignInNeeded):
                async with Client(made.url, auth=stale) as client:
                    await client.call("who")


async def test_a_machine_gets_in_and_stays_out_without_its_key(tmp_path) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid) as made:
            plain = (await openid.token(made.url))["access_token"]
            response = await made.call("who", plain)
            assert json.loads(str(await said(response)))[:3] == [openid.issuer, "robot", "robot"]
            key = ProofKey.make()
            answer = await openid.token(made.url, DPoP=key.proof("POST", f"{openid.issuer}/token"))
            assert answer["token_type"] == "DPoP"
            assert (await made.enter(key, answer["access_token"])).status == 200
            assert (await made.call("who", answer["access_token"])).status == 401
            assert (await made.enter(ProofKey.make(), answer["access_token"])).status == 401
            other = (await openid.token("https://other.example.com/mcp"))["access_token"]
            assert (await made.call("who", other)).status == 401
            assert (await made.call("write_file", plain)).status == 403


async def test_a_revoked_token_is_refused_where_the_issuer_is_asked(tmp_path) -> None:
    with provider(tmp_path, "opaque") as openid:
        async with behind(openid, introspection=ASKED) as made:
            key = ProofKey.make()
            proof = key.proof("POST", f"{openid.issuer}/token")
            plain = (await openid.token(made.url))["access_token"]
            bound = (await openid.token(made.url, DPoP=proof))["access_token"]
            assert (await made.call("who", plain)).status == 200
            assert (await made.enter(key, bound)).status == 200
            assert (await made.call("who", bound)).status == 401
            revoked = await openid.post("/token/revocation", {"token": plain}, "robot")
            assert revoked["status"] == 200
            response = await made.call("who", plain)
            assert response.status == 401
            assert 'error="invalid_token"' in challenge(response)


async def test_keys_are_rotated_and_the_provider_goes_away_and_comes_back(tmp_path) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid, keys_fresh=0.2) as made:
            before = (await openid.token(made.url))["access_token"]
            assert (await made.call("who", before)).status == 200
            openid.stop()
            # Nobody is locked out by an issuer that is away: the keys are known.
            made.resource._known.clear()
            assert (await made.call("who", before)).status == 200
            openid.change_keys()
            openid.start()
            after = (await openid.token(made.url))["access_token"]
            made.resource._keys._retry = made.resource._keys._fetched = -1e9  # time passes
            made.resource._keys._fetched = made.resource._keys._clock() - 60
            assert (await made.call("who", after)).status == 200
            made.resource._known.clear()
            assert (await made.call("who", before)).status == 401


async def test_a_provider_that_is_down_from_the_start_is_said_to_be(tmp_path) -> None:
    with provider(tmp_path) as openid:
        token = (await openid.token("http://127.0.0.1:1/mcp"))["access_token"]
        openid.stop()
        async with behind(openid) as made:
            response = await made.call("who", token)
            assert response.status == 503
            assert "Retry-After" in response.headers
            assert token not in await response.text()
