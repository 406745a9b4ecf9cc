"""Each platform hands out tokens in its own way; every one here is a real HTTP server that insists on that way."""

from pathlib import Path

import pytest
from aiohttp import web

from tests.auth.web import Answer, Site, endless, serving
from trunkline.auth.workload_tokens import AzureIdentity, GitHubActions, GoogleIdentity, TokenFile, TokenVariable
from trunkline.errors import InvalidAnswer, SignInError, TransportError

AUDIENCE = "https://id.example.com/a?b=c&d"
GOOGLE = "/computeMetadata/v1/instance/service-accounts/default/identity"
AZURE = "/metadata/identity/oauth2/token"


def insisting(header: str, value: str, query: dict[str, str], answer: web.Response | object) -> Answer:
    """Answers those who ask as they must, and nobody else."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers.get(header) != value or dict(request.query) != query:
            return web.Response(status=403)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    return handle


def host(site: Site) -> str:
    return site.url.removeprefix("http://")


async def test_github_makes_a_token_for_the_audience() -> None:
    async with serving() as site:
        query = {"api-version": "2.0", "audience": AUDIENCE}
        site.answers["/token"] = insisting("Authorization", "bearer s3cret", query, {"value": "the-token", "count": 9})
        url = f"{site.url}/token?api-version=2.0"
        environment = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cret"}
        assert await GitHubActions(environment).token(AUDIENCE) == "the-token"

        wrong = GitHubActions({**environment, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cret-other"})
        with pytest.raises(SignInError, match="status 403") as raised:
            await wrong.token(AUDIENCE)
    assert "s3cret" not in f"{raised.value!r} {wrong!r}"


async def test_outside_of_a_job_github_is_not_asked() -> None:
    with pytest.raises(SignInError, match="id-token: write"):
        await GitHubActions({}).token(AUDIENCE)
    bad = {"ACTIONS_ID_TOKEN_REQUEST_URL": "file:///etc/passwd", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cret"}
    with pytest.raises(SignInError, match="from the environment"):
        await GitHubActions(bad).token(AUDIENCE)


async def test_google_makes_a_token_for_the_audience() -> None:
    async with serving() as site:
        body = web.Response(text="the-token\n", headers={"Metadata-Flavor": "Google"})
        query = {"audience": AUDIENCE, "format": "full"}
        site.answers[GOOGLE] = insisting("Metadata-Flavor", "Google", query, body)
        assert await GoogleIdentity(host=host(site)).token(AUDIENCE) == "the-token"


async def test_google_is_found_as_its_own_libraries_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as site:
        monkeypatch.setenv("GCE_METADATA_HOST", host(site))
        body = web.Response(text="the-token", headers={"Metadata-Flavor": "Google"})
        query = {"audience": AUDIENCE, "format": "full"}
        path = GOOGLE.replace("default", "jobs@prod")
        site.answers[path] = insisting("Metadata-Flavor", "Google", query, body)
        assert await GoogleIdentity("jobs@prod").token(AUDIENCE) == "the-token"


async def test_whoever_answers_in_googles_place_is_not_believed() -> None:
    async with serving() as site:
        query = {"audience": AUDIENCE, "format": "full"}
        site.answers[GOOGLE] = insisting("Metadata-Flavor", "Google", query, web.Response(text="<html>"))
        with pytest.raises(SignInError, match="not a metadata server of Google"):
            await GoogleIdentity(host=host(site)).token(AUDIENCE)


async def test_azure_makes_a_token_on_a_machine() -> None:
    async with serving() as site:
        query = {"resource": "api://mcp", "api-version": "2018-02-01"}
        site.answers[AZURE] = insisting("Metadata", "true", query, {"access_token": "the-token", "expires_in": "3"})
        assert await AzureIdentity(host=host(site), environment={}).token("api://mcp") == "the-token"
        site.answers[AZURE] = insisting("Metadata", "true", {**query, "client_id": "c"}, {"access_token": "another"})
        assert await AzureIdentity("c", host=host(site), environment={}).token("api://mcp") == "another"


async def test_azure_makes_a_token_in_app_service() -> None:
    async with serving() as site:
        query = {"resource": "api://mcp", "api-version": "2019-08-01"}
        site.answers["/msi/token"] = insisting("X-IDENTITY-HEADER", "s3cret", query, {"access_token": "the-token"})
        environment = {"IDENTITY_ENDPOINT": f"{site.url}/msi/token", "IDENTITY_HEADER": "s3cret"}
        source = AzureIdentity(environment=environment)
        assert await source.token("api://mcp") == "the-token" and "s3cret" not in repr(source)


async def test_an_endpoint_that_is_busy_is_asked_again() -> None:
    statuses = iter((429, 503, 200))

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"access_token": "the-token"}, status=next(statuses))

    async with serving() as site:
        site.answers[AZURE] = answer
        assert await AzureIdentity(host=host(site), environment={}).token("api://mcp") == "the-token"
        statuses = iter((500, 500, 500))
        with pytest.raises(SignInError, match="status 500"):
            await AzureIdentity(host=host(site), environment={}).token("api://mcp")


async def test_an_endpoint_that_is_none_is_told() -> None:
    async with serving() as site:
        site.answers[AZURE] = endless
        with pytest.raises(InvalidAnswer, match="more than"):
            await AzureIdentity(host=host(site), environment={}).token("api://mcp")
        site.says(AZURE, ["s3cret"])
        with pytest.raises(InvalidAnswer, match="not a JSON object") as raised:
            await AzureIdentity(host=host(site), environment={}).token("api://mcp")
        assert "s3cret" not in str(raised.value)
    with pytest.raises(TransportError, match="Cannot connect"):
        await AzureIdentity(host=host(site), environment={}).token("api://mcp")


async def test_a_redirect_to_elsewhere_is_not_followed_with_the_secret() -> None:
    async with serving() as site, serving() as evil:

        async def away(_: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{evil.url}/token"})

        site.answers["/token"] = away
        environment = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"{site.url}/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cret"}
        with pytest.raises(TransportError, match="another origin"):
            await GitHubActions(environment).token(AUDIENCE)
    assert evil.asked == []


async def test_a_file_and_a_variable_hold_tokens(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  a.b.c\n")
    assert await TokenFile(tmp_path / "token").token(AUDIENCE) == "a.b.c"
    assert await TokenVariable("MCP_ID_TOKEN", {"MCP_ID_TOKEN": "a.b.c\n"}).token(AUDIENCE) == "a.b.c"


async def test_a_missing_token_is_told(tmp_path: Path) -> None:
    with pytest.raises(SignInError, match=r"token cannot be read: No such file"):
        await TokenFile(tmp_path / "token").token(AUDIENCE)
    (tmp_path / "token").write_text("\n")
    with pytest.raises(SignInError, match="holds no token"):
        await TokenFile(tmp_path / "token").token(AUDIENCE)
    (tmp_path / "token").write_bytes(b"s3cret" * 100_000)
    with pytest.raises(SignInError, match="holds no token") as raised:
        await TokenFile(tmp_path / "token").token(AUDIENCE)
    assert "s3cret" not in str(raised.value)
    with pytest.raises(SignInError, match="MCP_ID_TOKEN"):
        await TokenVariable("MCP_ID_TOKEN", {}).token(AUDIENCE)
