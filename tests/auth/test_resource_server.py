"""Who gets in with an access token, and who does not: every way a token can be wrong."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.auth.authority import Authority, Guarded, authority, challenge, guarded, said
from trunkline import ConfigError, Introspection, ResourceServer
from trunkline.auth.proofs import ProofKey


@asynccontextmanager
async def door(**options: object) -> AsyncIterator[tuple[Authority, Guarded]]:
    async with authority() as issuer, guarded(issuer, **options) as made:  # type: ignore[arg-type]
        yield issuer, made


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def test_a_token_of_the_issuer_tells_who_calls() -> None:
    async with door() as (issuer, made):
        response = await made.call("who", issuer.mint(scope="mcp more"))
        assert response.status == 200
        assert json.loads(str(await said(response))) == [issuer.issuer, "ada", "agent", ["mcp", "more"]]


async def test_a_client_that_calls_for_itself_is_its_own_subject() -> None:
    async with door() as (issuer, made):
        response = await made.call("who", issuer.mint(sub=None))
        assert json.loads(str(await said(response)))[1:3] == ["agent", "agent"]


async def test_without_a_token_the_answer_says_how_to_sign_in() -> None:
    async with door() as (_, made):
        for response in (await made.call("who"), await made.call("who", "dXNlcjpwYXNz", scheme="Basic")):
            assert response.status == 401
            origin = made.url.removesuffix("/mcp")
            bearer, dpop = response.headers.getall("WWW-Authenticate")
            where = f'resource_metadata="{origin}/.well-known/oauth-protected-resource/mcp"'
            assert bearer == f'Bearer scope="mcp", {where}'
            assert dpop.startswith('DPoP scope="mcp", algs="ES256 ') and dpop.endswith(where)
            assert "error" not in challenge(response)


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "DPoP \u00e9"])
async def test_a_malformed_authorization_is_a_bad_request(header: str) -> None:
    async with door() as (_, made):
        response = await made.ask("tools/list", {}, Authorization=header)
        assert response.status == 400
        assert 'error="invalid_request"' in challenge(response)


async def test_a_token_in_the_query_counts_for_nothing() -> None:
    async with door() as (issuer, made):
        response = await made.call("who", url=f"{made.url}?access_token={issuer.mint()}")
        assert response.status == 401


def hourago() -> int:
    return int(time.time()) - 3600


REFUSED = {
    "expired": lambda issuer: issuer.mint(exp=hourago()),
    "without an end": lambda issuer: issuer.mint(exp=None),
    "an end that is no time": lambda issuer: issuer.mint(exp="never"),
    "not valid yet": lambda issuer: issuer.mint(nbf=int(time.time()) + 3600),
    "from the future": lambda issuer: issuer.mint(iat=int(time.time()) + 3600),
    "for nobody": lambda issuer: issuer.mint(sub=None, client_id=None),
    "for no audience": lambda issuer: issuer.mint(aud=None),
    "bound to a certificate": lambda issuer: issuer.mint(cnf={"x5t#S256": "abc"}),
    "opaque": lambda issuer: "opaque-token",
    "three parts of nothing": lambda issuer: "ey.e.e",
    "critical": lambda issuer: issuer.mint(header={"crit": ["b64"], "b64": True}),
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_a_token_that_is_not_good_is_refused(kind: str) -> None:
    async with door() as (issuer, made):
        token = REFUSED[kind](issuer)
        for _ in range(2):
            response = await made.call("who", token)
            assert response.status == 401, kind
            assert 'error="invalid_token"' in challenge(response)
            assert token not in (await response.text()) + challenge(response)


@pytest.mark.parametrize("change", [str.upper, lambda url: url + "/", lambda url: url.replace("mcp", "mcр"),
                                    lambda url: url + "?", lambda url: [], lambda url: url.rpartition("/")[0],
                                    lambda url: "https://other.example.com/mcp", lambda url: {"aud": url}])  # fmt: skip
async def test_a_token_for_another_audience_is_refused(change) -> None:
    async with door() as (issuer, made):
        assert (await made.call("who", issuer.mint(aud=change(made.url)))).status == 401
        assert (await made.call("who", issuer.mint(aud=["https://other.example.com", made.url]))).status == 200


@pytest.mark.parametrize("change", [lambda url: url + "/", lambda url: url.replace("http", "HTTP"),
                                    lambda url: url.replace("127.0.0.1", "127.0.0.1."),
                                    lambda url: url.replace("1", "\u0661", 1), lambda url: None])  # fmt: skip
async def test_an_issuer_that_looks_alike_is_another(change) -> None:
    async with door() as (issuer, made):
        assert (await made.call("who", issuer.mint(iss=change(issuer.issuer)))).status == 401


@pytest.mark.parametrize("audience", ["https://mcp.example.com/mcp", "api://files"])
async def test_a_host_header_makes_no_audience(audience: str) -> None:
    async with door(server={"allowed_hosts": ["*"]}, audience=audience) as (issuer, made):
        token = issuer.mint(aud="http://victim.example.com/mcp")
        assert (await made.call("who", token, Host="victim.example.com")).status == 401
        assert (await made.call("who", issuer.mint(), Host="victim.example.com")).status == 200


async def test_a_host_that_is_none_is_a_bad_request() -> None:
    async with door(server={"allowed_hosts": ["*"]}, audience="api://files") as (issuer, made):
        for token in (None, issuer.mint()):
            assert (await made.call("who", token, Host="\u00e9\u00e9.example.com")).status == 400


async def test_metadata_of_another_issuer_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    async with authority() as issuer:
        issuer.site.says(
            "/.well-known/oauth-authorization-server",
            {"issuer": issuer.issuer + "/", "jwks_uri": f"{issuer.issuer}/jwks"},
        )
        async with guarded(issuer) as made:
            response = await made.call("who", issuer.mint())
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            # Which addresses there are inside, strangers need not learn.
            assert "letter for letter" in caplog.text
            assert issuer.issuer not in await response.text()


async def test_a_token_signed_with_nothing_is_refused() -> None:
    async with door() as (issuer, made):
        _, claims, _ = issuer.mint().split(".")
        for alg in ("none", "None", "NONE", ""):
            for end in ("", "AAAA"):
                forged = f"{b64({'alg': alg, 'typ': 'at+jwt', 'kid': 'k1'})}.{claims}.{end}"
                assert (await made.call("who", forged)).status in (400, 401)


async def test_the_public_key_is_no_shared_secret() -> None:
    async with authority() as issuer:
        issuer.keys["r1"] = RSAKey.generate_key(2048, {"kid": "r1"})
        async with guarded(issuer) as made:
            assert (await made.call("who", issuer.mint("r1"))).status == 200
            _, claims, _ = issuer.mint("r1").split(".")
            pem = issuer.keys["r1"].as_pem(private=False)
            jwk = json.dumps(issuer.keys["r1"].as_dict(private=False)).encode()
            for secret in (pem, pem.strip(), jwk):
                head = f"{b64({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'r1'})}.{claims}"
                forged = f"{head}.{b64(hmac.digest(secret, head.encode(), hashlib.sha256))}"
                assert (await made.call("who", forged)).status == 401


async def test_a_token_brings_no_key_of_its_own() -> None:
    """`jwk`, `jku` and `x5u` in a header are what a forger would write."""
    async with door() as (issuer, made):
        forger = ECKey.generate_key("P-256", {"kid": "mine"})
        issuer.site.says("/forged", {"keys": [forger.as_dict(private=False)]})
        issuer.keys["forger"] = forger
        for header in (
            {"jwk": forger.as_dict(private=False)},
            {"jku": f"{issuer.issuer}/forged", "kid": "mine"},
            {"kid": "k1"},
        ):
            forged = issuer.mint("forger", header=header)
            issuer.keys.pop("forger")
            assert (await made.call("who", forged)).status == 401
            issuer.keys["forger"] = forger
        assert "/forged" not in issuer.site.asked


async def test_a_token_of_another_kind_is_no_access_token() -> None:
    async with door() as (issuer, made):
        for typ in ("dpop+jwt", "oauth-id-jag+jwt", "logout+jwt", "secevent+jwt"):
            assert (await made.call("who", issuer.mint(header={"typ": typ}))).status == 401
        for typ in ("AT+JWT", "application/at+jwt", "JWT"):
            assert (await made.call("who", issuer.mint(header={"typ": typ}))).status == 200


async def test_what_was_signed_cannot_be_changed() -> None:
    async with door() as (issuer, made):
        head, claims, signature = issuer.mint().split(".")
        changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
        changed["sub"] = "root"
        assert (await made.call("who", f"{head}.{b64(changed)}.{signature}")).status == 401
        assert (await made.call("who", f"{head}.{claims}.{signature[:-4]}AAAA")).status == 401


async def test_a_withdrawn_key_is_no_longer_believed() -> None:
    async with door(keys_fresh=0.05) as (issuer, made):
        token = issuer.mint()
        assert (await made.call("who", token)).status == 200
        issuer.keys = {"k2": ECKey.generate_key("P-256", {"kid": "k2"})}
        assert (await made.call("who", issuer.mint("k2"))).status in (200, 401)
        made.resource._known.clear()  # what would come by itself some seconds later
        issuer.site.asked.clear()
        async with asyncio.timeout(30):
            while (await made.call("who", token)).status != 401:
                made.resource._known.clear()


class TestIntrospection:
    how = Introspection(client_id="rs", client_secret="s3cret/")

    @asynccontextmanager
    async def asked(self, keep: float = 0.0) -> AsyncIterator[tuple[Authority, Guarded]]:
        how = Introspection(client_id="rs", client_secret="s3cret/", keep=keep)
        async with door(introspection=how) as (issuer, made):
            issuer.active["opaque"] = {"active": True, "aud": made.url, "sub": "ada", "client_id": "a", "scope": "mcp"}
            yield issuer, made

    async def test_an_opaque_token_is_good_until_it_is_revoked(self) -> None:
        async with self.asked() as (issuer, made):
            assert (await made.call("who", "opaque")).status == 200
            for active in (False, None, "true", 1):
                issuer.active["opaque"]["active"] = active
                assert (await made.call("who", "opaque")).status == 401
                made.resource._wrong.clear()
            issuer.active.clear()
            assert (await made.call("who", "opaque")).status == 401

    async def test_an_answer_is_used_again_for_as_long_as_was_said(self) -> None:
        async with self.asked(keep=30) as (issuer, made):
            for _ in range(5):
                assert (await made.call("who", "opaque")).status == 200
            assert issuer.site.asked.count("/introspect") == 1

    async def test_a_token_for_another_audience_is_refused(self) -> None:
        async with self.asked() as (issuer, made):
            for aud in ("https://other.example.com", None):
                issuer.active["other"] = {**issuer.active["opaque"], "aud": aud}
                assert (await made.call("who", "other")).status == 401
                made.resource._wrong.clear()

    async def test_a_token_of_another_issuer_is_refused(self) -> None:
        async with self.asked() as (issuer, made):
            issuer.active["other"] = {**issuer.active["opaque"], "iss": "https://evil.example.com"}
            assert (await made.call("who", "other")).status == 401

    async def test_a_bound_token_stays_bound(self) -> None:
        async with self.asked() as (issuer, made):
            key = ProofKey.make()
            issuer.active["bound"] = {**issuer.active["opaque"], "cnf": {"jkt": key.thumbprint}}
            assert (await made.call("who", "bound")).status == 401
            assert (await made.enter(key, "bound")).status == 200

    async def test_an_issuer_that_is_away_is_no_reason_to_believe(self) -> None:
        async with self.asked() as (issuer, made):
            issuer.site.answers.pop("/introspect")
            response = await made.call("who", "opaque")
            assert response.status == 503
            assert "Retry-After" in response.headers
            assert "s3cret" not in await response.text()

    def test_the_secret_is_shown_to_nobody(self) -> None:
        resource = ResourceServer("https://id.example.com", "https://a.example.com/mcp", introspection=self.how)
        assert "s3cret" not in repr(self.how) + repr(resource) + str(self.how)


@pytest.mark.parametrize(
    "options",
    [
        {"issuer": "id.example.com"},
        {"issuer": "https://id.example.com?x=1"},
        {"audience": ""},
        {"audience": []},
        {"scopes": "mcp"},
        {"scopes": ["a b"]},
    ],
)
def test_what_cannot_work_is_said_at_once(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        ResourceServer(**{"issuer": "https://id.example.com", "audience": "https://a.example.com/mcp", **options})  # type: ignore[arg-type]


async def test_tokens_stay_out_of_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with door() as (issuer, made):
        key = ProofKey.make()
        good, bad, bound = issuer.mint(), issuer.mint(exp=hourago()), issuer.bound(key)
        proof = key.proof("POST", made.url, token=bound)
        await made.call("who", good)
        await made.call("who", bad)
        await made.call("who", bound, proof=proof)
        for secret in (good, bad, bound, proof):
            assert secret not in caplog.text
            assert secret.rpartition(".")[2] not in caplog.text
