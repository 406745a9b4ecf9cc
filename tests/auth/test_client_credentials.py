"""Tokens for a client that acts for itself, and its credentials shown to one authorization server alone."""

import base64

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.auth.issuing import RESOURCE, issuing
from trunkline.auth.client_credentials import ClientCredentials
from trunkline.errors import ConfigError, SignInError, SignInRefused

KEY = ECKey.generate_key("P-256")


async def test_a_secret_becomes_a_token() -> None:
    async with issuing() as issuer:
        response = await ClientCredentials("cli", "s3cret").obtain(issuer.endpoint(), frozenset({"b", "a"}))

    (asked,) = issuer.requests
    assert asked.form == {"grant_type": "client_credentials", "resource": RESOURCE, "scope": "a b"}
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"cli:s3cret").decode()
    assert response.access_token == "at-1"


async def test_a_key_becomes_a_token() -> None:
    grant = ClientCredentials("cli", key=KEY.as_pem(private=True))
    async with issuing() as issuer:
        await grant.obtain(issuer.endpoint(), frozenset())
        await grant.obtain(issuer.endpoint(), frozenset())

    first, second = issuer.requests
    assert set(first.form) == {"grant_type", "client_assertion_type", "client_assertion", "resource"}
    assert "Authorization" not in first.headers
    claims = jwt.decode(first.form["client_assertion"], KEY).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("cli", "cli", issuer.url)
    assert first.form["client_assertion"] != second.form["client_assertion"]


async def test_credentials_are_for_the_issuer_they_were_given_with() -> None:
    async with issuing() as issuer:
        grant = ClientCredentials("cli", "s3cret", issuer=issuer.url + "/")
        with pytest.raises(SignInError, match="not shown to it"):
            await grant.obtain(issuer.endpoint(), frozenset())
    assert issuer.requests == []


async def test_credentials_without_an_issuer_stay_with_the_first() -> None:
    grant = ClientCredentials("cli", "s3cret")
    async with issuing() as issuer, issuing() as evil:
        await grant.obtain(issuer.endpoint(), frozenset())
        with pytest.raises(SignInError, match="not shown to it"):
            await grant.obtain(evil.endpoint(), frozenset())
    assert len(issuer.requests) == 1 and evil.requests == []


async def test_a_refusal_is_told_and_not_tried_again() -> None:
    async with issuing() as issuer:
        issuer.status, issuer.answer = 401, {"error": "invalid_client", "error_description": "unknown client"}
        with pytest.raises(SignInRefused, match=r"invalid_client: unknown client") as raised:
            await ClientCredentials("cli", "s3cret").obtain(issuer.endpoint(), frozenset())
    assert len(issuer.requests) == 1 and "s3cret" not in str(raised.value)


@pytest.mark.parametrize(("secret", "key"), [(None, None), ("", None), ("s3cret", b"s3cret")])
def test_it_needs_one_proof(secret: str | None, key: bytes | None) -> None:
    with pytest.raises(ConfigError, match="either a secret or a key") as raised:
        ClientCredentials("cli", secret, key=key)
    assert "s3cret" not in str(raised.value)


def test_a_repr_shows_the_client_alone() -> None:
    grant = ClientCredentials("cli", "s3cret", issuer="https://id.example.com")
    assert repr(grant) == "<ClientCredentials of cli at https://id.example.com>"
