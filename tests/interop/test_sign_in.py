"""Sign-in across implementations, with a provider nobody here wrote: official clients at our resource server, and our
client at an official one."""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest

from tests.auth.openid import Person, provider
from tests.auth.test_openid import behind
from tests.interop.running import MODULES, PYTHON, need, node, observe, python, serving
from trunkline import Client
from trunkline.auth.addresses import AddressRules
from trunkline.auth.fetching import Fetcher
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.metadata import find_server
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn

need(PYTHON, MODULES / "node_modules/oidc-provider")


CLIENTS = {"Python": partial(python, "sdk_sign_in.py"), "TypeScript": partial(node, "ts_sign_in.mjs")}


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_official_client_signs_in_and_steps_up(tmp_path, client: str, mode: str) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid) as made:
            seen = await asyncio.to_thread(observe, [*CLIENTS[client](), mode, made.url])
            assert json.loads(seen["who"])[:2] == [openid.issuer, "ada"]
            assert seen["write_file"] == "written"
            assert seen["resources"] == [made.url] * len(seen["resources"])
            assert "mcp" in seen["scopes"][0] and "files.write" in seen["scopes"][-1]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_server_that_knows_bearer_tokens_alone_lets_us_in_though_its_issuer_binds_tokens(
    tmp_path: Path, era: str
) -> None:
    with provider(tmp_path, "opaque") as openid, serving([*python("sdk_protected.py"), openid.issuer]) as url:
        offered = await find_server(Fetcher(AddressRules.around(openid.issuer)), openid.issuer)
        assert "ES256" in (offered.dpop_signing_alg_values_supported or ())
        person, store = Person(), MemoryStore()
        async with Client(url, auth=OAuth(SignIn(agent=person), store=store), era=era) as client:
            for _ in range(2):
                assert json.loads((await client.call("who")).text) == ["ada", ["mcp"], False]
        assert len(person.pages) == 1
        kept = await store.load(openid.issuer, url)
        assert kept is not None and kept.tokens is not None
        assert (kept.tokens.token_type, kept.proof_key) == ("Bearer", None)


async def test_a_server_that_issues_its_tokens_with_the_official_sdk_lets_us_in() -> None:
    with serving(python("fastmcp_issuer.py")) as url:
        person, store = Person(), MemoryStore()
        async with Client(url, auth=OAuth(SignIn(agent=person), store=store)) as client:
            assert (await client.call("scopes")).text == "mcp"
        assert len(person.pages) == 1
