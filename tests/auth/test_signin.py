"""A person signs in: the whole way, through a real client, and what stops it."""

import asyncio
import logging
import time

import pytest

from tests.auth.provider import OAUTH, Person, Protected, parameters, protected
from tests.auth.web import serving
from trunkline import Client
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.errors import (
    AddressRefused,
    ConfigError,
    HttpFailure,
    SignInError,
    SignInNeeded,
    SignInRefused,
    TransportError,
)


def auth(person: Person | None = None, store: MemoryStore | None = None, **options: object) -> OAuth:
    """Credentials of somebody who agrees."""
    given = {
        name: options.pop(name) for name in ("client_id", "client_secret", "issuer", "document") if name in options
    }
    grant = SignIn(agent=person or Person(), **given)  # type: ignore[arg-type]
    return OAuth(grant, store=store or MemoryStore(), **options)  # type: ignore[arg-type]


async def use(server: Protected, credentials: OAuth, *tools: str) -> None:
    """Connect and call."""
    async with Client(server.url, auth=credentials) as client:
        for tool in tools or ("hello",):
            assert (await client.call(tool)).text == f"{tool} done"


async def test_a_person_signs_in_and_every_request_carries_the_token() -> None:
    async with protected() as server:
        server.challenge = {"scope": "read write"}
        person = Person()
        await use(server, auth(person), "hello", "again")
        provider = server.provider
        (page,) = [parameters(page) for page in person.pages]
        (form,) = provider.calls("/token")
        assert page["resource"] == form["resource"] == server.url
        assert (page["scope"], page["code_challenge_method"], page["response_type"]) == ("read write", "S256", "code")
        assert len(page["state"]) >= 32 and len(form["code_verifier"]) >= 43
        (registered,) = provider.clients.values()
        assert registered["application_type"] == "native"
        assert registered["grant_types"] == ["authorization_code", "refresh_token"]
        (token,) = provider.tokens
        assert [sent for _, _, sent in server.requests] == ["", *[f"Bearer {token}"] * 3]
        assert not any("access-" in path for path in server.site.asked)


async def test_who_has_signed_in_is_not_asked_again() -> None:
    async with protected() as server:
        person, store = Person(), MemoryStore()
        await use(server, auth(person, store))
        await use(server, auth(person, store))
        assert len(person.pages) == 1
        assert [sent for _, _, sent in server.requests].count("") == 1


async def test_a_legacy_server_gets_the_token_with_every_request() -> None:
    async with protected() as server:
        server.legacy = True
        await use(server, auth())
        verbs = {verb for verb, _, sent in server.requests if sent}
        assert verbs >= {"POST", "DELETE"}
        assert [sent for _, _, sent in server.requests].count("") == 1


@pytest.mark.parametrize(
    ("challenge", "supported", "expected"),
    [("a b", ["c"], "a b"), (None, ["c", "d"], "c d"), (None, None, None), ("", ["c"], "c")],
)
async def test_scopes_are_those_of_the_challenge_else_of_the_metadata_else_none(
    challenge: str | None, supported: list[str] | None, expected: str | None
) -> None:
    async with protected() as server:
        server.challenge = {} if challenge is None else {"scope": challenge}
        server.publish("/mcp", scopes_supported=supported)
        person = Person()
        await use(server, auth(person))
        assert parameters(person.pages[0]).get("scope") == expected


async def test_a_refresh_token_is_asked_for_only_where_the_server_knows_how() -> None:
    async with protected() as server:
        server.provider.metadata["scopes_supported"] = ["offline_access", "read"]
        server.challenge = {"scope": "read"}
        person = Person()
        await use(server, auth(person))
        page = parameters(person.pages[0])
        assert (page["scope"], page["prompt"]) == ("offline_access read", "consent")


ISSUERS = [
    (True, "same", True),
    (True, None, False),
    (False, "same", True),
    (False, None, True),
    (True, "https://attacker.example", False),
    (False, "https://attacker.example", False),
    (False, "slash", False),
    (False, "upper", False),
    (False, "twice", False),
]


@pytest.mark.parametrize(("advertised", "sent", "good"), ISSUERS)
async def test_an_answer_from_another_issuer_is_not_used(advertised: bool, sent: str | None, good: bool) -> None:
    async with protected() as server:
        provider = server.provider
        provider.metadata["authorization_response_iss_parameter_supported"] = advertised
        written = {"same": provider.issuer, "slash": f"{provider.issuer}/", "upper": provider.issuer.upper()}
        person = Person()
        if sent == "twice":
            person.back = lambda address: f"{address}&iss=https://attacker.example&iss={provider.issuer}"
            provider.metadata["authorization_response_iss_parameter_supported"] = True
        elif sent is not None:
            provider.answers["iss"] = written.get(sent, sent)
        if good:
            await use(server, auth(person))
        else:
            with pytest.raises(SignInError, match="not used"):
                await use(server, auth(person))
            # The code is worth something to whoever gets it: it goes nowhere.
            assert provider.calls("/token") == []


async def test_an_error_of_another_issuer_is_not_shown() -> None:
    async with protected() as server:
        server.provider.refusals["/authorize"] = [{"error": "access_denied", "error_description": "call 555-1234"}]
        server.provider.answers["iss"] = "https://attacker.example"
        with pytest.raises(SignInError) as failure:
            await use(server, auth())
        assert "555" not in str(failure.value) and "access_denied" not in str(failure.value)


async def test_a_refusal_is_told() -> None:
    async with protected() as server:
        server.provider.refusals["/authorize"] = [{"error": "access_denied", "error_description": "not today"}]
        with pytest.raises(SignInRefused, match="access_denied: not today") as failure:
            await use(server, auth())
        assert failure.value.error == "access_denied"


@pytest.mark.parametrize("state", ["", "forged", "twice"])
async def test_an_answer_to_another_attempt_is_not_used(state: str) -> None:
    async with protected() as server:
        person = Person()
        if state == "twice":
            person.back = lambda address: address.replace("?", "?state=forged&")
        else:
            person.back = lambda address: address.replace(parameters(address)["state"], state)
        with pytest.raises(SignInError, match="does not belong"):
            await use(server, auth(person))
        assert server.provider.calls("/token") == []


@pytest.mark.parametrize("methods", [None, [], ["plain"]])
async def test_a_server_without_pkce_is_refused(methods: list[str] | None) -> None:
    async with protected() as server:
        server.provider.metadata["code_challenge_methods_supported"] = methods
        person = Person()
        with pytest.raises(SignInError, match="PKCE"):
            await use(server, auth(person))
        assert person.pages == []


@pytest.mark.parametrize("issuer", ["{}/", "{}/x", "HTTP{:.0}://localhost", "https://honest.example", "{}\u0430"])
async def test_metadata_of_another_issuer_is_not_used(issuer: str) -> None:
    async with protected() as server:
        server.provider.metadata["issuer"] = issuer.format(server.provider.issuer)
        person = Person()
        with pytest.raises(SignInError, match="not used"):
            await use(server, auth(person))
        assert (person.pages, server.provider.asked) == ([], [])


@pytest.mark.parametrize(
    "resource",
    ["https://other.example/mcp", "{}/other", "{}/mcp/below", "{}/mc", "http://localhost:1/mcp", "", "{}/mcp#x"],
)
async def test_tokens_for_another_resource_are_not_asked_for(resource: str) -> None:
    async with protected() as server:
        server.publish("/mcp", resource=resource.format(server.site.url))
        with pytest.raises(SignInError, match="resource metadata"):
            await use(server, auth())
        assert server.provider.site.asked == []


@pytest.mark.parametrize("resource", ["{}", "{}/", "{}/mcp", "{}/mcp/"])
async def test_a_resource_that_contains_the_endpoint_is_asked_for_as_it_is_written(resource: str) -> None:
    async with protected() as server:
        written = resource.format(server.site.url)
        server.publish("/mcp", resource=written)
        await use(server, auth())
        assert server.provider.calls("/token")[0]["resource"] == written


@pytest.mark.parametrize(
    ("member", "address"),
    [
        ("authorization_endpoint", "file:///etc/passwd"),
        ("authorization_endpoint", "javascript:alert(1)"),
        ("authorization_endpoint", "http://idp.example.com/authorize"),
        ("token_endpoint", "http://10.0.0.1/token"),
        ("token_endpoint", "https://169.254.169.254/token"),
        ("registration_endpoint", "http://192.168.0.1/register"),
    ],
)
async def test_addresses_in_metadata_cannot_lead_inside(member: str, address: str) -> None:
    async with protected() as server:
        server.provider.metadata[member] = address
        person = Person()
        with pytest.raises(AddressRefused):
            await use(server, auth(person))
        assert all("127.0.0.1" in page for page in person.pages)


@pytest.mark.parametrize("pointer", ["https://169.254.169.254/meta", "http://10.0.0.1/meta", "file:///etc/passwd"])
async def test_a_pointer_to_metadata_cannot_lead_inside(pointer: str) -> None:
    async with protected() as server:
        server.silent()
        server.challenge = {"resource_metadata": pointer}
        with pytest.raises(AddressRefused):
            await use(server, auth())
        assert server.provider.site.asked == []


async def test_a_pointer_that_leads_nowhere_does_not_lock_out() -> None:
    async with protected() as server:
        server.pointer = False
        server.challenge = {"resource_metadata": "http://mcp.internal.example/metadata"}
        await use(server, auth())


async def test_pages_in_place_of_metadata_are_no_metadata() -> None:
    async with protected() as server:
        server.silent()

        async def page(request: object) -> object:
            from aiohttp import web

            return web.Response(text="<html>", content_type="text/html")

        server.site.answers["/.well-known/oauth-protected-resource/mcp"] = page  # type: ignore[assignment]
        server.publish()
        server.provider.site.answers[OAUTH] = page  # type: ignore[assignment]
        server.provider.site.says("/.well-known/openid-configuration", server.provider.metadata)
        await use(server, auth())
        # A server of 2025-03-26 may do the same.
        server.site.answers["/.well-known/oauth-protected-resource"] = page  # type: ignore[assignment]
        server.site.says(OAUTH, {**server.provider.metadata, "issuer": server.site.url})
        await use(server, auth())


async def test_a_server_that_fails_is_no_server_without_metadata() -> None:
    async with protected() as server:
        server.silent()
        server.site.says("/.well-known/oauth-protected-resource/mcp", {}, status=503)
        with pytest.raises(TransportError, match="503"):
            await use(server, auth())


async def test_a_server_of_2025_03_26_is_its_own_authorization_server() -> None:
    async with protected() as server:
        server.silent()
        provider = server.provider
        for path in ("/authorize", "/token", "/register"):
            server.site.answers[path] = provider.site.answers[path]
        person = Person()
        await use(server, auth(person))
        assert person.pages[0].startswith(f"{server.site.url}/authorize?")
        assert parameters(person.pages[0])["resource"] == server.url
        # With metadata at its root, whose endpoints have other names:
        server.site.says(OAUTH, {**provider.metadata, "issuer": server.site.url})
        await use(server, auth(person))
        assert person.pages[1].startswith(f"{provider.issuer}/authorize?")
        server.site.says(OAUTH, {**provider.metadata, "issuer": "https://honest.example"})
        with pytest.raises(SignInError, match="not used"):
            await use(server, auth(person))


async def test_nobody_is_troubled_where_nobody_is_there() -> None:
    async with protected() as server:
        person = Person()
        with pytest.raises(SignInNeeded, match="sign in"):
            await use(server, auth(person, interactive=False))
        assert person.pages == []


async def test_a_token_the_server_refuses_at_once_is_not_asked_for_again_and_again() -> None:
    async with protected() as server:
        person = Person()

        def revoked(address: str) -> str:
            server.provider.metadata["token_endpoint"] = f"{server.provider.issuer}/elsewhere"
            return address

        server.provider.site.says("/elsewhere", {"access_token": "unknown-here", "token_type": "Bearer"})
        person.back = revoked
        server.challenge = {"error": "invalid_token", "error_description": "wrong audience"}
        with pytest.raises(SignInError, match="wrong audience"):
            server.provider.metadata["token_endpoint"] = f"{server.provider.issuer}/elsewhere"
            await use(server, auth(person))
        assert len(person.pages) == 1


async def test_a_token_goes_to_no_other_server() -> None:
    async with protected() as server, protected() as other:
        credentials = auth()
        await use(server, credentials)
        with pytest.raises(ConfigError, match="each server needs its own"):
            await use(other, credentials)
        assert other.requests == []


async def test_a_redirect_does_not_take_a_token_elsewhere() -> None:
    async with protected() as server, serving() as thief:
        credentials = auth()
        await use(server, credentials)

        async def moved(request: object) -> object:
            from aiohttp import web

            return web.Response(status=307, headers={"Location": f"{thief.url}/mcp"})

        server.site.answers["/mcp"] = moved  # type: ignore[assignment]
        with pytest.raises(HttpFailure, match="another origin"):
            await use(server, credentials)
        assert thief.asked == []


async def test_nothing_is_sent_over_plain_http_beyond_this_machine() -> None:
    store = MemoryStore()
    with pytest.raises(AddressRefused, match="not https"):
        async with Client("http://mcp.example.com/mcp", auth=auth(store=store)):
            pass


async def test_the_clock_of_a_call_stands_still_while_somebody_signs_in() -> None:
    async with protected() as server:

        class Slow(Person):
            async def go(self, url: str, is_answer: object) -> str:
                await asyncio.sleep(1.5)
                return await super().go(url, is_answer)  # type: ignore[arg-type]

        async with Client(server.url, auth=auth(Slow()), timeout=0.7, maximum=0.9) as client:
            assert (await client.call("hello")).text == "hello done"


async def test_of_many_requests_at_once_one_person_is_asked_once() -> None:
    async with protected() as server:
        person, credentials = Person(), auth()
        credentials = auth(person)
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(use(server, credentials))
        assert (len(person.pages), len(server.provider.calls("/token"))) == (1, 1)


async def test_no_secret_is_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with protected() as server:
        credentials = auth(client_id="me", client_secret="s3cret-of-client")
        server.provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        server.provider.lifetime = 1
        await use(server, credentials)
        server.provider.refusals["/token"] = [{"error": "invalid_grant", "error_description": "no"}]
        await use(server, credentials)
        provider = server.provider
        secrets = [*provider.tokens, *provider.refreshes, "s3cret-of-client"]
        secrets += [form["code_verifier"] for form in provider.calls("/token") if "code_verifier" in form]
        secrets += [form["code"] for form in provider.calls("/token") if "code" in form]
        assert len(secrets) > 6
        told = caplog.text + repr(credentials)
        assert [secret for secret in secrets if secret in told] == []


async def test_a_static_token_is_sent_with_every_request() -> None:
    async with protected() as server:
        from tests.auth.provider import Granted

        server.provider.tokens["given"] = Granted(frozenset(), "me")
        async with Client(server.url, auth="given") as client:
            await client.call("hello")
        assert {sent for _, _, sent in server.requests} == {"Bearer given"}
        with pytest.raises(HttpFailure, match="401"):
            async with Client(server.url, auth="other") as client:
                pass
    with pytest.raises(ConfigError, match="no header can carry") as failure:
        Client("http://127.0.0.1:1/mcp", auth="s3cret\r\nX: y")
    assert "s3cret" not in str(failure.value)


async def test_a_server_of_2024_11_05_gets_the_token_with_every_request() -> None:
    from aiohttp import web

    async with protected() as server:
        streams: list[web.StreamResponse] = []

        async def stream(request: web.Request) -> web.StreamResponse:
            if request.method != "GET":
                return web.Response(status=405)
            refused = await server.handle(request)
            if refused.status == 401:
                return refused
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            await response.write(b"event: endpoint\ndata: /messages\n\n")
            streams.append(response)
            await asyncio.sleep(60)
            return response

        async def messages(request: web.Request) -> web.StreamResponse:
            answered = await server.handle(request)
            if isinstance(answered, web.Response) and answered.status == 200:
                await streams[-1].write(b"event: message\ndata: " + bytes(answered.body) + b"\n\n")  # type: ignore[arg-type]
                return web.Response(status=202)
            return answered

        server.legacy = True
        server.site.answers |= {"/mcp": stream, "/messages": messages}
        async with Client(server.url, auth=auth(), era="legacy") as client:
            assert (await client.call("one")).text == "one done"
            server.provider.revoke()
            assert (await client.call("two")).text == "two done"
        assert [authorization for _, _, authorization in server.requests].count("") == 1
        assert len(server.provider.calls("/token")) == 2


async def test_nobody_signs_in_to_leave() -> None:
    async with protected() as server:
        server.legacy, server.provider.with_refresh = True, False
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await client.call("hello")
            server.provider.revoke()
        assert len(person.pages) == 1
        assert server.requests[-1][0] == "DELETE"


def test_signing_in_to_what_is_no_http_server_is_an_error() -> None:
    with pytest.raises(ConfigError, match="not reached over HTTP"):
        Client("uvx mcp-server-time", auth=SignIn())
    with pytest.raises(ConfigError, match="either `auth` or an Authorization"):
        Client("https://mcp.example.com/mcp", auth=SignIn(), headers={"authorization": "Bearer x"})


class Absent(Person):
    """Somebody who closes the window."""

    async def go(self, url: str, is_answer: object) -> str:
        self.pages.append(url)
        await asyncio.sleep(0.05)
        raise SignInNeeded("Nobody signed in")


async def test_who_did_not_sign_in_is_not_asked_again_at_once() -> None:
    async with protected() as server:
        person = Absent()
        credentials = auth(person)
        outcomes = await asyncio.gather(*(use(server, credentials) for _ in range(6)), return_exceptions=True)
        assert all(isinstance(outcome, SignInError) for outcome in outcomes)
        assert len(person.pages) == 1
        with pytest.raises(SignInError, match="Nobody signed in; nobody is asked again for"):
            await use(server, credentials)
        now = time.monotonic()
        for seconds, windows in ((31.0, 2), (61.0, 2), (92.0, 3)):
            credentials._asking._clock = lambda seconds=seconds: now + seconds
            with pytest.raises(SignInError):
                await use(server, credentials)
            assert len(person.pages) == windows


async def test_listening_waits_for_a_person_and_ends_when_nobody_signs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.client.modern._ACKNOWLEDGE_SECONDS", 0.3)
    async with protected() as server:
        person = Absent()

        async def slow(url: str, is_answer: object) -> str:
            person.pages.append(url)
            await asyncio.sleep(1)
            raise SignInNeeded("Nobody signed in")

        server.provider.with_refresh = False
        credentials = auth()
        async with Client(server.url, auth=credentials) as client:
            server.provider.revoke()
            monkeypatch.setattr(Person, "go", lambda self, url, is_answer: slow(url, is_answer))
            with pytest.raises(SignInNeeded):
                async for _ in client.changes():
                    pass
        assert len(person.pages) == 1
