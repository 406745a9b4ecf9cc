"""An enterprise decides: an identity becomes an assertion for one server, and that a token."""

import base64

import pytest
from aiohttp import web

from tests.auth.issuing import RESOURCE, Issuer, issuing
from trunkline.auth.client_authentication import PublicClient, SecretClient
from trunkline.auth.enterprise import EnterpriseManaged, IdentityProvider
from trunkline.errors import AddressRefused, ConfigError, SignInError, SignInRefused

ID_JAG = {
    "access_token": "the-id-jag",
    "token_type": "N_A",
    "issued_token_type": "urn:ietf:params:oauth:token-type:id-jag",
    "expires_in": 300,
}
SECRETS = "s3cret-id-token", "s3cret-idp", "s3cret-ras", "the-id-jag"


def managed(idp: Issuer, **given: object) -> EnterpriseManaged:
    idp.answer = idp.answer if "issued_token_type" in idp.answer or idp.status != 200 else dict(ID_JAG)
    provider = IdentityProvider(idp.url, SecretClient("agent@idp", "s3cret-idp"))
    options = {"id_token": "s3cret-id-token", "client": SecretClient("agent", "s3cret-ras"), **given}
    return EnterpriseManaged(provider, **options)  # type: ignore[arg-type]


def basic(header: str) -> bytes:
    return base64.b64decode(header.removeprefix("Basic "))


async def test_an_id_token_becomes_a_token_in_two_steps() -> None:
    async with issuing() as idp, issuing() as issuer:
        response = await managed(idp).obtain(issuer.endpoint(), frozenset({"issues.read"}))

    (exchange,), (grant,) = idp.requests, issuer.requests
    assert exchange.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "audience": issuer.url,
        "resource": RESOURCE,
        "subject_token": "s3cret-id-token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "scope": "issues.read",
    }
    assert basic(exchange.headers["Authorization"]) == b"agent%40idp:s3cret-idp"
    assert grant.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "the-id-jag",
        "resource": RESOURCE,
        "scope": "issues.read",
    }
    assert basic(grant.headers["Authorization"]) == b"agent:s3cret-ras"
    assert response.access_token == "at-1"


async def test_a_refresh_token_of_the_identity_provider_will_do() -> None:
    async with issuing() as idp, issuing() as issuer:
        await managed(idp, id_token=None, refresh_token="s3cret-rt").obtain(issuer.endpoint(), frozenset())

    form = idp.requests[0].form
    assert form["subject_token"] == "s3cret-rt"
    assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:refresh_token"
    assert "scope" not in form and "scope" not in issuer.requests[0].form


async def test_the_identity_is_asked_for_each_time() -> None:
    tokens = iter(("first", "second"))

    async def present() -> str:
        return next(tokens)

    async with issuing() as idp, issuing() as issuer:
        grant = managed(idp, id_token=present)
        await grant.obtain(issuer.endpoint(), frozenset())
        await grant.obtain(issuer.endpoint(), frozenset())
    assert [asked.form["subject_token"] for asked in idp.requests] == ["first", "second"]


async def test_scopes_that_policy_took_away_are_not_asked_for() -> None:
    async with issuing() as idp, issuing() as issuer:
        idp.answer = {**ID_JAG, "scope": "issues.read"}
        await managed(idp).obtain(issuer.endpoint(), frozenset({"issues.read", "issues.write"}))
    assert issuer.requests[0].form["scope"] == "issues.read"


async def test_a_no_of_the_identity_provider_ends_it() -> None:
    async with issuing() as idp, issuing() as issuer:
        idp.status, idp.answer = 400, {"error": "access_denied", "error_description": "not for contractors"}
        with pytest.raises(SignInRefused, match=f"{idp.url} refused with access_denied: not for contractors") as raised:
            await managed(idp).obtain(issuer.endpoint(), frozenset())
    assert issuer.requests == [] and not [secret for secret in SECRETS if secret in str(raised.value)]


@pytest.mark.parametrize("kind", ["urn:ietf:params:oauth:token-type:access_token", "", None])
async def test_a_token_that_is_no_id_jag_is_not_sent_on(kind: str | None) -> None:
    """An access token of the enterprise would be worth something to the authorization server of some MCP server."""
    async with issuing() as idp, issuing() as issuer:
        idp.answer = {**ID_JAG, "issued_token_type": kind}
        with pytest.raises(SignInError, match="not sent on") as raised:
            await managed(idp).obtain(issuer.endpoint(), frozenset())
    assert issuer.requests == [] and "the-id-jag" not in str(raised.value)


async def test_a_secret_is_for_its_authorization_server_alone() -> None:
    async with issuing() as idp, issuing() as issuer, issuing() as evil:
        grant = managed(idp)
        await grant.obtain(issuer.endpoint(), frozenset())
        with pytest.raises(SignInError, match="not shown to it"):
            await grant.obtain(evil.endpoint(), frozenset())
        with pytest.raises(SignInError, match="not shown to it"):
            await managed(idp, issuer="https://id.example.com").obtain(issuer.endpoint(), frozenset())
    # It is not even asked for on behalf of the other.
    assert len(idp.requests) == 1 and evil.requests == []


async def test_a_token_endpoint_that_is_given_is_not_looked_for() -> None:
    async with issuing() as idp, issuing() as issuer:
        idp.answer = dict(ID_JAG)
        provider = IdentityProvider(idp.url, PublicClient("agent"), token_endpoint=idp.token_endpoint)
        grant = EnterpriseManaged(provider, id_token="x", client=PublicClient("https://agent.example.com/client.json"))
        await grant.obtain(issuer.endpoint(), frozenset())
    assert idp.site.asked == ["/token"] and idp.requests[0].form["client_id"] == "agent"
    assert issuer.requests[0].form["client_id"] == "https://agent.example.com/client.json"


async def test_an_identity_provider_that_names_an_inner_address_is_not_followed() -> None:
    async with issuing() as idp, issuing() as issuer:

        async def metadata(_: web.Request) -> web.StreamResponse:
            return web.json_response({"issuer": idp.url, "token_endpoint": "http://10.1.2.3/token"})

        idp.site.answers["/.well-known/oauth-authorization-server"] = metadata
        with pytest.raises(AddressRefused, match=r"10\.1\.2\.3"):
            await managed(idp).obtain(issuer.endpoint(), frozenset())


@pytest.mark.parametrize(("id_token", "refresh_token"), [(None, None), ("a", "b")])
def test_it_needs_one_identity(id_token: str | None, refresh_token: str | None) -> None:
    provider = IdentityProvider("https://login.example.com", PublicClient("agent"))
    with pytest.raises(ConfigError, match="either an ID token or a refresh token"):
        EnterpriseManaged(provider, id_token=id_token, refresh_token=refresh_token, client=PublicClient("agent"))


def test_nothing_secret_is_in_a_repr() -> None:
    provider = IdentityProvider("https://login.example.com", SecretClient("agent", "s3cret-idp"))
    grant = EnterpriseManaged(provider, id_token="s3cret-id-token", client=SecretClient("agent", "s3cret-ras"))
    assert not [secret for secret in SECRETS if secret in f"{grant!r} {provider!r}"]
