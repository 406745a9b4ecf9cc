"""Tokens that are bound to a key: when they are asked for, and that each request proves it."""

import pytest

from tests.auth.provider import Person, claims, protected
from tests.auth.test_signin import auth, use
from trunkline import Client
from trunkline.auth.keeping import MemoryStore
from trunkline.errors import SignInError

ALGORITHMS = {"dpop_signing_alg_values_supported": ["ES256"]}


@pytest.mark.parametrize(
    ("mode", "issuer", "scheme", "members", "bound"),
    [
        ("offered", True, "DPoP", {}, True),
        ("offered", True, "Bearer", ALGORITHMS, True),
        ("offered", True, "Bearer", {"dpop_bound_access_tokens_required": True}, True),
        ("offered", True, "Bearer", {}, False),
        ("offered", False, "DPoP", ALGORITHMS, False),
        ("required", True, "Bearer", {}, True),
        ("never", True, "DPoP", ALGORITHMS, False),
    ],
)
async def test_tokens_are_bound_where_both_sides_offer_it_or_it_is_required(
    mode: str, issuer: bool, scheme: str, members: dict[str, object], bound: bool
) -> None:
    async with protected() as server:
        server.provider.metadata |= ALGORITHMS if issuer else {}
        server.scheme = scheme
        server.publish("/mcp", **members)
        await use(server, auth(dpop=mode))
        (granted,) = server.provider.tokens.values()
        assert (granted.bound is not None) == bound
        assert len(server.proofs) == (2 if bound else 0)
        (registered,) = server.provider.clients.values()
        assert registered.get("dpop_bound_access_tokens", False) == bound


async def test_each_request_has_a_proof_of_its_own() -> None:
    async with protected() as server:
        server.provider.metadata |= ALGORITHMS
        server.scheme = "DPoP"
        store = MemoryStore()
        await use(server, auth(store=store), "one", "two")
        await use(server, auth(store=store), "three")
        assert {(proof["htm"], proof["htu"]) for proof in server.proofs} == {("POST", server.url)}
        assert len({proof["jti"] for proof in server.proofs}) == len(server.proofs) >= 5
        assert all(proof["ath"] for proof in server.proofs)
        assert all(sent.startswith("DPoP access-") for _, _, sent in server.requests if sent)


async def test_nonces_of_both_servers_are_followed_when_they_change() -> None:
    async with protected() as server:
        server.provider.metadata |= ALGORITHMS
        server.scheme, server.nonce, server.provider.nonce = "DPoP", "one", "first"
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await client.call("hello")
            server.nonce = "two"
            await client.call("hello")
            server.provider.nonce = "second"
            server.provider.revoke()
            await client.call("hello")
        proofs = [asked.headers["DPoP"] for asked in server.provider.asked if asked.path == "/token"]
        assert [claims(proof).get("nonce") for proof in proofs] == [None, "first", None, "second"]
        assert len({claims(proof)["jti"] for proof in proofs}) == 4
        assert (len(person.pages), server.called) == (1, ["hello"] * 3)


async def test_a_server_that_wants_another_nonce_each_time_is_given_up() -> None:
    async with protected() as server:
        server.provider.metadata |= ALGORITHMS
        server.scheme = "DPoP"
        number = 0

        async def token(request: object) -> object:
            from aiohttp import web

            nonlocal number
            number += 1
            return web.json_response({"error": "use_dpop_nonce"}, status=400, headers={"DPoP-Nonce": str(number)})

        server.provider.site.answers["/token"] = token  # type: ignore[assignment]
        with pytest.raises(SignInError, match="again and again"):
            await use(server, auth())
        assert number == 3


async def test_a_bound_token_is_refreshed_with_its_own_key() -> None:
    async with protected() as server:
        server.provider.metadata |= ALGORITHMS
        server.scheme = "DPoP"
        store = MemoryStore()
        await use(server, auth(store=store))
        server.provider.revoke()
        await use(server, auth(store=store, interactive=False))
        assert len({granted.bound for granted in server.provider.tokens.values()}) == 1
        assert len(server.provider.tokens) == 2


async def test_a_token_that_is_not_bound_is_not_taken_where_that_is_required() -> None:
    async with protected() as server:
        with pytest.raises(SignInError, match="not bound"):
            await use(server, auth(dpop="required"))
        assert server.called == []
