"""A platform's token becomes an access token, and is shown to nobody it is not for."""

import json
import time
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.auth.issuing import RESOURCE, Issuer, issuing
from trunkline.auth.workload import WorkloadIdentity
from trunkline.auth.workload_tokens import TokenFile
from trunkline.errors import ConfigError, SignInError, SignInRefused

KEY = ECKey.generate_key("P-256")


def minted(audience: object, seconds: float = 600, **claims: object) -> str:
    said = {"iss": "https://cluster.example.com", "sub": "spiffe://prod/jobs", "exp": int(time.time() + seconds)}
    return jwt.encode({"alg": "ES256"}, {**said, "aud": audience, **claims}, KEY)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "token"


async def obtain(file: Path, issuer: Issuer, scopes: tuple[str, ...] = (), **given: str | None) -> None:
    await WorkloadIdentity(TokenFile(file), **given).obtain(issuer.endpoint(), frozenset(scopes))


async def test_the_token_of_a_workload_becomes_a_token(file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(minted(issuer.url) + "\n")
        await obtain(file, issuer, ("jobs.read",))

    (asked,) = issuer.requests
    assert asked.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": file.read_text().strip(),
        "resource": RESOURCE,
        "scope": "jobs.read",
    }
    assert "Authorization" not in asked.headers


async def test_a_file_that_rotates_is_read_each_time(file: Path, tmp_path: Path) -> None:
    """As Kubernetes does it: a link to a folder is replaced, and what it leads to with it."""
    async with issuing() as issuer:
        grant = WorkloadIdentity(TokenFile(file))
        sent = []
        for turn in range(3):
            (tmp_path / f"turn{turn}").write_text(minted(issuer.url, jti=str(turn)))
            (tmp_path / "next").symlink_to(tmp_path / f"turn{turn}")
            (tmp_path / "next").replace(file)
            await grant.obtain(issuer.endpoint(), frozenset())
            sent.append((tmp_path / f"turn{turn}").read_text())
    assert [asked.form["assertion"] for asked in issuer.requests] == sent


@pytest.mark.parametrize("form", ["{issuer}", "{issuer}/", "{issuer}/token", "list"])
async def test_an_audience_may_be_the_issuer_or_the_token_endpoint(form: str, file: Path) -> None:
    async with issuing() as issuer:
        named = ["https://other.example.com", issuer.url] if form == "list" else form.format(issuer=issuer.url)
        file.write_text(minted(named))
        await obtain(file, issuer)
    assert len(issuer.requests) == 1


@pytest.mark.parametrize("audience", ["https://id.example.com", ["https://id.example.com"], [], "", "{issuer}/x"])
async def test_a_token_for_someone_else_is_not_shown(audience: object, file: Path) -> None:
    """The authorization server of an MCP server could use it in the workload's name at the one it is for."""
    async with issuing() as issuer:
        named = audience.format(issuer=issuer.url) if isinstance(audience, str) else audience
        file.write_text(minted(named))
        with pytest.raises(SignInError, match="not shown to it") as raised:
            await obtain(file, issuer)
    assert issuer.requests == [] and file.read_text() not in str(raised.value)


async def test_an_audience_that_was_agreed_on_needs_its_issuer(file: Path) -> None:
    with pytest.raises(ConfigError, match="give the issuer"):
        WorkloadIdentity(TokenFile(file), audience="api://mcp")
    async with issuing() as issuer, issuing() as evil:
        file.write_text(minted("api://mcp"))
        grant = WorkloadIdentity(TokenFile(file), audience="api://mcp", issuer=issuer.url)
        await grant.obtain(issuer.endpoint(), frozenset())
        with pytest.raises(SignInError, match="not shown to it"):
            await grant.obtain(evil.endpoint(), frozenset())
        file.write_text(minted(issuer.url))
        with pytest.raises(SignInError, match="not shown to it"):
            await grant.obtain(issuer.endpoint(), frozenset())
    assert len(issuer.requests) == 1 and evil.requests == []


async def test_a_token_that_is_over_is_told_before_it_is_sent(file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(minted(issuer.url, seconds=-60))
        with pytest.raises(SignInError, match=r"ended 6\d seconds ago.*TokenFile") as raised:
            await obtain(file, issuer)
    assert issuer.requests == [] and file.read_text() not in str(raised.value)


@pytest.mark.parametrize("text", ["s3cret", "a.b.c", "s3cret.s3cret", "e30.e30.e30", "e30..", "{}", "ä"])
async def test_what_is_no_token_is_not_sent(text: str, file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(text)
        with pytest.raises(SignInError, match=r"not a signed JWT|holds no token") as raised:
            await obtain(file, issuer)
    assert issuer.requests == [] and "s3cret" not in str(raised.value)


async def test_a_refusal_is_neither_tried_again_nor_another_way(file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(minted(issuer.url))
        issuer.status, issuer.answer = 400, {"error": "invalid_grant"}
        with pytest.raises(SignInRefused) as raised:
            await obtain(file, issuer)
    assert len(issuer.requests) == 1 and raised.value.error == "invalid_grant"


async def test_a_server_that_does_not_offer_it_is_not_shown_the_token(file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(minted(issuer.url))
        endpoint = issuer.endpoint(grant_types_supported=("authorization_code", "refresh_token"))
        with pytest.raises(SignInError, match=r"does not take workload identities.*authorization_code"):
            await WorkloadIdentity(TokenFile(file)).obtain(endpoint, frozenset())
        endpoint = issuer.endpoint(grant_types_supported=("urn:ietf:params:oauth:grant-type:jwt-bearer",))
        await WorkloadIdentity(TokenFile(file)).obtain(endpoint, frozenset())
    assert len(issuer.requests) == 1


async def test_a_client_id_is_sent_where_one_is_given(file: Path) -> None:
    async with issuing() as issuer:
        file.write_text(minted(issuer.url))
        await obtain(file, issuer, client_id="jobs")
    assert issuer.requests[0].form["client_id"] == "jobs"


def test_a_repr_names_the_place_alone(file: Path) -> None:
    file.write_text(json.dumps("s3cret"))
    assert repr(WorkloadIdentity(TokenFile(file))) == f"<WorkloadIdentity of TokenFile({file})>"
