"""The gateway signs in to its upstreams, with grants of its own: never with what its caller showed."""

import asyncio
import base64
import json
import logging
import time

import pytest

from tests.auth.provider import Protected
from tests.gateway.callers import ALICE, Caller, gateway, until
from tests.gateway.signed import FAST, entry, guarded, machine, sign_in
from trunkline.auth.keeping import FileStore, MemoryStore
from trunkline.errors import UpstreamUnavailable
from trunkline.gateway import Federation
from trunkline.gateway.credentials import Accounts
from trunkline.portable.model import Entry


def federated(one: Entry, store: MemoryStore | FileStore) -> Federation:
    return Federation([one], accounts=Accounts(store), backoff=FAST)


def sent(server: Protected) -> set[str]:
    return {authorization for _, _, authorization in server.requests}


async def ready(federation: Federation) -> None:
    await until(lambda: federation.statuses()[0].tools is not None)


async def test_the_operator_signs_in_once_and_every_caller_is_served() -> None:
    async with guarded() as server:
        store = MemoryStore()
        await sign_in(server, store)
        server.requests.clear()
        federation = federated(entry(server), store)
        async with gateway(federation) as engine:
            await ready(federation)
            for caller in (Caller(engine), Caller(engine, "2025-06-18", principal=ALICE)):
                result = await caller.call("tracker__hello")
                assert result["content"][0]["text"] == "hello done"
        (token,) = server.provider.tokens
        assert sent(server) == {f"Bearer {token}"}


async def test_an_upstream_nobody_is_signed_in_to_says_what_to_do_and_is_there_once_somebody_is() -> None:
    async with guarded() as server:
        store = MemoryStore()
        federation = federated(entry(server), store)
        async with gateway(federation) as engine:
            await until(lambda: federation.statuses()[0].error)
            assert "trunkline login tracker" in str(federation.statuses()[0].error)
            with pytest.raises(UpstreamUnavailable, match=r"nobody is signed in to it.*trunkline login tracker"):
                await Caller(engine).call("tracker__hello")
            await sign_in(server, store)
            await ready(federation)
            assert (await Caller(engine).call("tracker__hello"))["content"][0]["text"] == "hello done"


async def test_tokens_that_end_are_refreshed_once_however_many_call(tmp_path) -> None:
    async with guarded() as server:
        store = FileStore(tmp_path)
        await sign_in(server, store)
        one, other = federated(entry(server), FileStore(tmp_path)), federated(entry(server), FileStore(tmp_path))
        async with gateway(one) as engine, gateway(other) as replica:
            await ready(one)
            await ready(other)
            server.provider.revoke()
            callers = [Caller(each) for each in (engine, replica) for _ in range(10)]
            await asyncio.gather(*(caller.call("tracker__hello") for caller in callers))
        grants = [form["grant_type"] for form in server.provider.calls("/token")]
        assert grants == ["authorization_code", "refresh_token"]


async def test_a_refused_refresh_ends_in_what_to_do_and_shows_no_token(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with guarded() as server:
        store = MemoryStore()
        await sign_in(server, store)
        federation = federated(entry(server), store)
        async with gateway(federation) as engine:
            await ready(federation)
            for granted in (*server.provider.tokens.values(), *server.provider.refreshes.values()):
                granted.live = False
            with pytest.raises(UpstreamUnavailable, match=r"nobody is signed in.*trunkline login tracker") as refused:
                await Caller(engine).call("tracker__hello")
            assert refused.value.data["dev.trunkline/retry"] is False
            await until(lambda: federation.statuses()[0].state != "ready")
            assert "trunkline login tracker" in str(federation.statuses()[0].error)
            with pytest.raises(UpstreamUnavailable, match="trunkline login tracker"):
                await Caller(engine).call("tracker__hello")
            shown = caplog.text + repr(federation.statuses()) + str(refused.value) + repr(federation._upstreams)
        for secret in (*server.provider.tokens, *server.provider.refreshes):
            assert secret not in shown


async def test_more_scopes_than_were_granted_are_for_the_operator_to_get() -> None:
    async with guarded() as server:
        store = MemoryStore()
        await sign_in(server, store)
        server.needs["admin"] = "root"
        federation = federated(entry(server), store)
        async with gateway(federation) as engine:
            await ready(federation)
            with pytest.raises(UpstreamUnavailable, match="trunkline login tracker --scope root"):
                await Caller(engine).call("tracker__admin")
            # Nobody else is disturbed.
            assert (await Caller(engine).call("tracker__hello"))["content"][0]["text"] == "hello done"


async def test_client_credentials_are_proved_to_their_issuer_alone() -> None:
    async with guarded() as server:
        machine(server.provider)
        given = {"grant": "client-credentials", "client_id": "robot", "client_secret": "s3cret-of-robot"}
        mine = entry(server, **given, issuer=server.provider.issuer, scopes=("read",))
        federation = federated(mine, MemoryStore())
        async with gateway(federation) as engine:
            await ready(federation)
            await Caller(engine).call("tracker__hello")
            assert "s3cret-of-robot" not in repr(mine) + repr(federation._upstreams["tracker"]._connecting._credentials)
        (asked,) = [one for one in server.provider.asked if one.path == "/token"]
        assert (asked.params["scope"], asked.params["resource"]) == ("read", server.url)
        assert base64.b64decode(asked.headers["Authorization"].split()[1]) == b"robot:s3cret-of-robot"
    async with guarded() as server:
        machine(server.provider)
        federation = federated(entry(server, **given, issuer="https://id.example.com"), MemoryStore())
        async with gateway(federation):
            await until(lambda: federation.statuses()[0].error)
            assert "known to https://id.example.com" in str(federation.statuses()[0].error)
        assert server.provider.calls("/token") == []


async def test_a_workload_shows_the_newest_token_of_its_file(tmp_path) -> None:
    async with guarded() as server:
        machine(server.provider)
        file = tmp_path / "token"
        file.write_text(workload(server.provider.issuer, "one"))
        federation = federated(entry(server, grant="workload-identity", token_file=str(file)), MemoryStore())
        async with gateway(federation) as engine:
            await ready(federation)
            file.write_text(workload(server.provider.issuer, "two"))
            server.provider.revoke()
            await Caller(engine).call("tracker__hello")
        shown = [form["assertion"] for form in server.provider.calls("/token")]
        assert shown == [workload(server.provider.issuer, name) for name in ("one", "two")]


def workload(audience: str, subject: str) -> str:
    """What looks like a signed token; whether it is one is for the authorization server to find out."""
    claims = {"aud": audience, "sub": subject, "exp": int(time.time() / 1e6 + 1) * 10**6}
    parts = ({"alg": "ES256"}, claims)
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts), "c2ln"]
    )
