"""The gateway at an upstream that is protected by an OpenID provider nobody here wrote."""

import json

import pytest

from tests.auth.openid import Person, provider
from tests.auth.test_openid import behind
from tests.gateway.callers import ALICE, Caller, gateway, until
from tests.gateway.signed import FAST
from tests.interop.running import MODULES, need
from trunkline import Client
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.gateway import Federation
from trunkline.gateway.credentials import Accounts
from trunkline.portable.auth import Auth
from trunkline.portable.model import Entry

need(MODULES / "node_modules/oidc-provider")


async def who(federation: Federation) -> list[object]:
    async with gateway(federation) as engine:
        await until(lambda: federation.statuses()[0].tools is not None)
        result = await Caller(engine, principal=ALICE).call("tracker__who")
        said: list[object] = json.loads(result["content"][0]["text"])
        return said


@pytest.mark.parametrize("dpop", ["optional", "required"])
async def test_what_the_operator_signed_in_to_serves_callers_also_with_bound_tokens(tmp_path, dpop: str) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid, dpop=dpop) as made:
            store = MemoryStore()
            async with Client(made.url, auth=OAuth(SignIn(agent=Person()), store=store)) as client:
                await client.tools()
            entry = Entry("tracker", "http", url=made.url, auth=Auth())
            said = await who(Federation([entry], accounts=Accounts(store), backoff=FAST))
            assert said[:2] == [openid.issuer, "ada"]


async def test_the_gateway_proves_who_it_is_with_its_own_secret(tmp_path) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid) as made:
            auth = Auth(
                grant="client-credentials",
                client_id="robot",
                client_secret="robots-secret",
                issuer=openid.issuer,
                scopes=("mcp",),
            )
            entry = Entry("tracker", "http", url=made.url, auth=auth)
            said = await who(Federation([entry], accounts=Accounts(), backoff=FAST))
            assert said[:3] == [openid.issuer, "robot", "robot"]
