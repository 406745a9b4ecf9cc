"""Tokens that are useless when stolen: every way a proof can be wrong, and every way around having one."""

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from tests.auth.authority import Authority, Guarded, authority, challenge, guarded, said
from trunkline import ConfigError, DPoPRules
from trunkline.auth.dpop import ProofRefused, _read_signer, _same_target
from trunkline.auth.proofs import ProofKey, token_hash
from trunkline.auth.replay import LocalWindow, SharedWindow
from trunkline.engine.sealed import Keys
from trunkline.errors import Overloaded
from trunkline.storage.schema import upgrade
from trunkline.transports.stored import Stored


@asynccontextmanager
async def door(**options: object) -> AsyncIterator[tuple[Authority, Guarded, ProofKey]]:
    async with authority() as issuer, guarded(issuer, **options) as made:  # type: ignore[arg-type]
        yield issuer, made, ProofKey.make()


def forge(signer: object, url: str, token: str, header: dict[str, object] | None = None, **claims: object) -> str:
    """A proof with whatever in it; what is None is left out."""
    said: dict[str, object] = {
        "jti": str(time.perf_counter_ns()), "htm": "POST", "htu": url, "iat": int(time.time()),
        "ath": token_hash(token), **claims,
    }  # fmt: skip
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": signer.as_dict(private=False), **(header or {})}  # type: ignore[attr-defined]
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode({name: value for name, value in head.items() if value is not None}, said, signer, [head["alg"]])  # type: ignore[arg-type, list-item]


async def test_a_bound_token_with_its_proof_gets_in() -> None:
    async with door() as (issuer, made, key):
        response = await made.enter(key, issuer.bound(key))
        assert response.status == 200
        assert json.loads(str(await said(response)))[1] == "ada"


async def test_a_stolen_token_is_no_bearer_token() -> None:
    """RFC 9449, section 7.2."""
    async with door() as (issuer, made, key):
        response = await made.call("who", issuer.bound(key))
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')
        proof = key.proof("POST", made.url, token=(token := issuer.bound(key)))
        assert (await made.call("who", token, proof=proof, scheme="Bearer")).status == 401


async def test_a_proof_makes_no_bound_token_of_a_bearer_token() -> None:
    async with door() as (issuer, made, key):
        response = await made.enter(key, issuer.mint())
        assert response.status == 401
        assert 'DPoP error="invalid_token"' in challenge(response)


async def test_a_token_without_its_proof_is_refused() -> None:
    async with door() as (issuer, made, key):
        response = await made.call("who", issuer.bound(key), scheme="DPoP")
        assert response.status == 401
        assert 'DPoP error="invalid_dpop_proof"' in challenge(response)
        assert "algs=" in challenge(response) and "resource_metadata=" in challenge(response)


async def test_a_proof_is_good_once_whatever_is_sent_with_it() -> None:
    async with door() as (issuer, made, key):
        token = issuer.bound(key)
        proof = key.proof("POST", made.url, token=token)
        assert (await made.call("read_file", token, proof=proof)).status == 200
        replayed = await made.call("write_file", token, proof=proof)
        assert replayed.status == 401
        assert 'error="invalid_dpop_proof"' in challenge(replayed)
        assert (await made.call("read_file", token, proof=proof)).status == 401
        assert (await made.enter(key, token)).status == 200


async def test_another_key_is_no_help() -> None:
    async with door() as (issuer, made, key):
        thief = ProofKey.make()
        assert (await made.enter(thief, issuer.bound(key))).status == 401


async def test_a_token_bound_to_more_than_a_key_is_not_half_checked() -> None:
    async with door() as (issuer, made, key):
        token = issuer.mint(cnf={"jkt": key.thumbprint, "x5t#S256": "abc"})
        assert (await made.enter(key, token)).status == 401


async def test_a_proof_names_the_key_it_is_signed_with() -> None:
    async with door() as (issuer, made, key):
        token, thief = issuer.bound(key), ECKey.generate_key("P-256")
        forged = forge(thief, made.url, token, {"jwk": key.public_jwk})
        assert (await made.call("who", token, proof=forged)).status == 401


BAD = {
    "another method": {"htm": "GET"},
    "a method in other letters": {"htm": "post"},
    "no method": {"htm": None},
    "another host": {"htu": "http://other.example.com/mcp"},
    "another path": {"htu": "/other"},
    "a query": {"htu": "?a=1"},
    "a fragment": {"htu": "#a"},
    "user info": {"htu": "user@"},
    "no URL": {"htu": None},
    "too old": {"iat": int(time.time()) - 3600},
    "from the future": {"iat": int(time.time()) + 3600},
    "no time": {"iat": None},
    "a time that is none": {"iat": "now"},
    "no id": {"jti": None},
    "an empty id": {"jti": ""},
    "an endless id": {"jti": "x" * 300},
    "an id that is no text": {"jti": 7},
    "another token": {"ath": token_hash("other")},
    "no token": {"ath": None},
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_proof_of_something_else_is_refused(kind: str) -> None:
    async with door() as (issuer, made, _):
        signer = ECKey.generate_key("P-256")
        token = issuer.mint(cnf={"jkt": signer.thumbprint()})
        claims = dict(BAD[kind])
        if claims.get("htu") in ("/other", "?a=1", "#a"):
            claims["htu"] = made.url + str(claims["htu"])
        if claims.get("htu") == "user@":
            claims["htu"] = made.url.replace("//", "//user@")
        response = await made.call("who", token, proof=forge(signer, made.url, token, **claims))
        assert response.status == 401
        assert 'error="invalid_dpop_proof"' in challenge(response)
        assert (await made.call("who", token, proof=forge(signer, made.url, token))).status == 200


async def test_a_proof_is_signed_with_a_public_key_and_nothing_else() -> None:
    async with door() as (issuer, made, _):
        ec, secret = ECKey.generate_key("P-256"), OctKey.generate_key(256)
        token = issuer.mint(cnf={"jkt": ec.thumbprint()})
        good = forge(ec, made.url, token)
        bad = [
            forge(secret, made.url, token, {"alg": "HS256", "jwk": secret.as_dict(private=True)}),
            forge(ec, made.url, token, {"jwk": ec.as_dict(private=True)}),
            forge(ec, made.url, token, {"jwk": None}),
            forge(ec, made.url, token, {"typ": "JWT"}),
            forge(ec, made.url, token, {"typ": None}),
            good.rpartition(".")[0] + ".",
            good.rpartition(".")[0] + ".AAAA",
            good + ".x",
            good + "," + forge(ec, made.url, token),
            "nonsense",
            "a.b.c",
            good.replace(".", ".AAAA", 1),
        ]
        none = forge(ec, made.url, token).split(".")
        none[0] = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6Im5vbmUiLCJqd2siOnt9fQ"
        for proof in (*bad, ".".join(none)):
            response = await made.call("who", token, proof=proof)
            assert response.status == 401, proof
            assert 'error="invalid_dpop_proof"' in challenge(response)
        assert (await made.call("who", token, proof=good)).status == 200


async def test_two_proofs_are_none() -> None:
    async with door() as (issuer, made, key):
        token = issuer.bound(key)
        one, two = (key.proof("POST", made.url, token=token) for _ in range(2))
        headers = [("Authorization", f"DPoP {token}"), ("DPoP", one), ("DPoP", two),
                   ("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]  # fmt: skip
        async with made.http.post(made.url, data="{}", headers=headers) as response:
            assert response.status == 400


@pytest.mark.parametrize("make", [
    lambda: (RSAKey.generate_key(2048), "RS256"), lambda: (RSAKey.generate_key(2048), "PS256"),
    lambda: (ECKey.generate_key("P-384"), "ES384"), lambda: (OKPKey.generate_key("Ed25519"), "Ed25519"),
])  # fmt: skip
async def test_every_algorithm_with_a_public_key_will_do(make) -> None:
    signer, alg = make()
    async with door() as (issuer, made, _):
        token = issuer.mint(cnf={"jkt": signer.thumbprint()})
        proof = forge(signer, made.url, token, {"alg": alg})
        assert (await made.call("who", token, proof=proof)).status == 200


@pytest.mark.parametrize("jwk", [{"n": "w" * 3000, "e": "AQAB"}, {"n": "w" * 342, "e": "w" * 342}])
async def test_a_key_that_would_cost_minutes_is_not_used(jwk: dict[str, str]) -> None:
    """Whoever sends a proof chooses its key: one of 18,000 bits, or with a huge exponent, keeps a processor busy."""
    async with door() as (issuer, made, key):
        head = json.dumps({"typ": "dpop+jwt", "alg": "RS256", "jwk": {"kty": "RSA", **jwk}})
        with pytest.raises(ProofRefused, match="signed with one of"):
            _read_signer(base64.urlsafe_b64encode(head.encode()).decode().rstrip("="))
        assert (await made.enter(key, issuer.bound(key))).status == 200


@pytest.mark.parametrize(
    ("claimed", "same"),
    [
        ("https://mcp.example.com/mcp", True),
        ("HTTPS://MCP.example.com/mcp", True),
        ("https://mcp.example.com:443/mcp", True),
        ("https://mcp.example.com/mcp/", True),
        ("https://mcp.example.com/%6Dcp", True),
        ("https://mcp.example.com:8443/mcp", False),
        ("https://mcp.example.com/MCP", False),
        ("https://mcp.example.com/mcp//", False),
        ("https://mcp.example.com/%2Fmcp", False),
        ("http://mcp.example.com/mcp", False),
        ("https://mcp.example.com", False),
        ("/mcp", False),
        ("", False),
        ("https://[::1/mcp", False),
        ("https://mcp.example.com/mcp?", False),
    ],
)
def test_a_url_may_be_written_in_several_ways(claimed: str, same: bool) -> None:
    assert _same_target(claimed, "https://mcp.example.com/mcp") is same


class TestNonces:
    async def test_a_nonce_is_asked_for_and_then_taken(self) -> None:
        async with door(dpop=DPoPRules(nonces=True)) as (issuer, made, key):
            token = issuer.bound(key)
            asked = await made.enter(key, token)
            assert asked.status == 401
            assert 'DPoP error="use_dpop_nonce"' in challenge(asked)
            nonce = asked.headers["DPoP-Nonce"]
            assert (await made.enter(key, token, nonce=nonce)).status == 200
            assert (await made.enter(key, token, nonce=nonce)).status == 200

    async def test_a_proof_of_tomorrow_cannot_be_made_today(self) -> None:
        async with door(dpop=DPoPRules(nonces=True)) as (issuer, made, key):
            token = issuer.bound(key)
            for nonce in ("guess", "", Keys().seal("dpop-nonce", made.url.encode(), b"%d" % time.time())):
                response = await made.enter(key, token, nonce=nonce)
                assert response.status == 401
                assert 'error="use_dpop_nonce"' in challenge(response)

    async def test_a_nonce_ends_and_the_next_one_comes_before(self) -> None:
        async with door(dpop=DPoPRules(nonces=True)) as (issuer, made, key):
            token = issuer.bound(key)
            ring, bound = made.server.engine.keys, made.url.encode()
            old = ring.seal("dpop-nonce", bound, b"%d" % (time.time() - 301))
            aging = ring.seal("dpop-nonce", bound, b"%d" % (time.time() - 200))
            fresh = ring.seal("dpop-nonce", bound, b"%d" % time.time())
            foreign = ring.seal("dpop-nonce", b"http://other/mcp", b"%d" % time.time())
            assert (await made.enter(key, token, nonce=old)).status == 401
            assert (await made.enter(key, token, nonce=foreign)).status == 401
            response = await made.enter(key, token, nonce=aging)
            assert response.status == 200
            assert (await made.enter(key, token, nonce=response.headers["DPoP-Nonce"])).status == 200
            assert "DPoP-Nonce" not in (await made.enter(key, token, nonce=fresh)).headers

    async def test_replicas_with_the_same_keys_know_each_others_nonces(self) -> None:
        ring = Keys([b"k" * 32])
        server = {"keys": ring}
        async with authority() as issuer:
            async with guarded(issuer, audience="https://a/mcp", server=server, dpop=DPoPRules(nonces=True)) as one:
                key = ProofKey.make()
                token = issuer.bound(key)
                proof = key.proof("POST", "https://a/mcp", token=token)
                nonce = (await one.call("who", token, proof=proof, Host="a")).headers["DPoP-Nonce"]
            async with guarded(issuer, audience="https://a/mcp", server=server, dpop=DPoPRules(nonces=True)) as two:
                proof = key.proof("POST", "https://a/mcp", token=token, nonce=nonce)
                assert (await two.call("who", token, proof=proof, Host="a")).status == 200

    async def test_a_nonce_keeps_no_proof_from_being_replayed(self) -> None:
        async with door(dpop=DPoPRules(nonces=True)) as (issuer, made, key):
            token = issuer.bound(key)
            nonce = (await made.enter(key, token)).headers["DPoP-Nonce"]
            proof = key.proof("POST", made.url, token=token, nonce=nonce)
            assert (await made.call("who", token, proof=proof)).status == 200
            assert (await made.call("who", token, proof=proof)).status == 401


class TestModes:
    async def test_where_keys_are_required_a_bearer_token_is_refused(self) -> None:
        async with door(dpop="required") as (issuer, made, key):
            assert challenge(await made.call("who")).startswith("DPoP ")
            response = await made.call("who", issuer.mint())
            assert response.status == 401
            assert "Bearer" not in challenge(response)
            assert (await made.enter(key, issuer.bound(key))).status == 200

    async def test_where_keys_are_not_known_a_bound_token_is_refused(self) -> None:
        async with door(dpop="off") as (issuer, made, key):
            assert "DPoP" not in challenge(await made.call("who"))
            assert (await made.enter(key, issuer.bound(key))).status == 401
            assert (await made.call("who", issuer.bound(key))).status == 401
            assert (await made.call("who", issuer.mint())).status == 200

    async def test_some_tools_take_a_bound_token(self) -> None:
        async with door(dpop=DPoPRules(tools=("write_*",))) as (issuer, made, key):
            assert (await made.call("read_file", issuer.mint())).status == 200
            refused = await made.call("write_file", issuer.mint())
            assert refused.status == 401
            assert refused.headers["WWW-Authenticate"].startswith('DPoP error="invalid_token"')
            assert (await made.enter(key, issuer.bound(key), "write_file")).status == 200

    @pytest.mark.parametrize("options", [{"window": 301}, {"window": 0}, {"mode": "off", "tools": ("a",)}])
    def test_what_cannot_work_is_said_at_once(self, options: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            DPoPRules(**options)  # type: ignore[arg-type]


async def test_streams_and_sessions_take_a_proof_for_each_request() -> None:
    """GET and DELETE of older revisions: a proof of the POST opens neither."""
    async with door() as (issuer, made, key):
        token = issuer.bound(key)
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        begun = await made.post(body, token, proof=key.proof("POST", made.url, token=token))
        assert begun.status == 200
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"], "Accept": "text/event-stream"}

        def signed(method: str) -> dict[str, str]:
            proof = key.proof(method, made.url, token=token)
            return {**session, "Authorization": f"DPoP {token}", "DPoP": proof}

        async with made.http.get(made.url, headers=signed("POST")) as response:
            assert response.status == 401
        async with made.http.get(made.url, headers=signed("GET")) as response:
            assert response.status == 200
        async with made.http.delete(made.url, headers=signed("GET")) as response:
            assert response.status == 401
        async with made.http.delete(made.url, headers={**session, "Authorization": f"Bearer {token}"}) as response:
            assert response.status == 401
        async with made.http.delete(made.url, headers=signed("DELETE")) as response:
            assert response.status == 204


async def test_a_session_is_of_no_use_to_another_caller() -> None:
    async with door() as (issuer, made, key):
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        begun = await made.post(body, issuer.mint())
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        assert (await made.post(listing, issuer.mint(sub="eve"), **session)).status == 404
        # A refreshed token, and one that is bound to a key, are the same person's.
        assert (await made.post(listing, issuer.mint(), **session)).status == 200
        bound = issuer.bound(key)
        proof = key.proof("POST", made.url, token=bound)
        assert (await made.post(listing, bound, proof=proof, **session)).status == 200


async def test_behind_a_proxy_a_proof_is_for_the_outer_url() -> None:
    outer = "https://mcp.example.com/mcp"
    async with door(audience=outer) as (issuer, made, key):
        token = issuer.bound(key)
        inside = key.proof("POST", made.url, token=token)
        assert (await made.call("who", token, proof=inside)).status == 401
        outside = key.proof("POST", outer, token=token)
        assert (await made.call("who", token, proof=outside)).status == 200


async def test_only_a_trusted_proxy_says_what_the_outer_url_is() -> None:
    outer = "https://mcp.example.com/mcp"
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example.com"}
    for trusted, status in ((["127.0.0.1"], 200), (["10.0.0.0/8"], 401)):
        async with door(audience=outer, server={"trusted_proxies": trusted}) as (issuer, made, key):
            token = issuer.bound(key)
            proof = key.proof("POST", outer, token=token)
            assert (await made.call("who", token, proof=proof, **forwarded)).status == status


class TestWindow:
    async def test_what_was_seen_is_known_until_it_could_not_be_used_any_more(self) -> None:
        window, now = LocalWindow(), 1_800_000_000.0
        assert await window.first("key", "a", now + 300, now)
        assert not await window.first("key", "a", now + 300, now + 299)
        assert await window.first("other key", "a", now + 300, now)
        assert await window.first("key", "b", now + 300, now)

    async def test_it_does_not_grow(self) -> None:
        window = LocalWindow()
        for second in range(100_000):
            assert await window.first("key", str(second), second + 300.0, float(second))
        assert window._count < 350
        assert len(window._slots) < 40

    async def test_when_it_is_full_nothing_is_forgotten(self) -> None:
        window = LocalWindow(most=10)
        for number in range(10):
            assert await window.first("key", str(number), 300.0, 0.0)
        with pytest.raises(Overloaded):
            await window.first("key", "one more", 300.0, 0.0)
        assert not await window.first("key", "0", 300.0, 0.0)
        assert await window.first("key", "later", 700.0, 400.0)

    @pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
    async def test_a_shared_one_holds_over_all_replicas(self, kind: str, request, tmp_path) -> None:
        url = f"sqlite:///{tmp_path / 'x.db'}"
        if kind == "postgresql":
            database = request.getfixturevalue("postgresql")
            database.execute("CREATE DATABASE proofs")
            url = database.url("proofs")
            upgrade(url)
        one, two = Stored(url), Stored(url)
        await one.start()
        await two.start()
        try:
            first, second = SharedWindow(one.notes, 600), SharedWindow(two.notes, 600)
            assert await first.first("key", "a", 300, 0)
            assert not await second.first("key", "a", 300, 0)
            assert not await first.first("key", "a", 300, 0)
            assert await second.first("key", "b", 300, 0)
        finally:
            await two.stop()
            await one.stop()

    async def test_replicas_that_share_take_a_proof_once(self, tmp_path) -> None:
        url = "https://a/mcp"
        options = {"audience": url, "dpop": DPoPRules(replay="shared"),
                   "server": {"storage": f"sqlite:///{tmp_path / 'x.db'}"}}  # fmt: skip
        async with authority() as issuer, guarded(issuer, **options) as one, guarded(issuer, **options) as two:
            key = ProofKey.make()
            token = issuer.bound(key)
            proof = key.proof("POST", url, token=token)
            assert (await one.call("who", token, proof=proof, Host="a")).status == 200
            assert (await two.call("who", token, proof=proof, Host="a")).status == 401
