"""Becoming known to an authorization server."""

import base64

import pytest

from tests.auth.provider import Person, parameters, protected
from tests.auth.test_signin import auth, use
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.registration import check_document_address
from trunkline.auth.signin import SignIn
from trunkline.errors import ConfigError, SignInError, SignInRefused

DOCUMENT = "https://app.example.com/client.json"


async def test_what_is_given_comes_before_a_document_and_a_document_before_registering() -> None:
    async with protected() as server:
        provider, person = server.provider, Person()
        await use(server, auth(person, document=DOCUMENT))
        provider.metadata["client_id_metadata_document_supported"] = True
        await use(server, auth(person, document=DOCUMENT))
        await use(server, auth(person, document=DOCUMENT, client_id="me"))
        (registered,) = provider.clients
        assert [parameters(page)["client_id"] for page in person.pages] == [registered, DOCUMENT, "me"]
        assert [form["client_id"] for form in provider.calls("/token")] == [registered, DOCUMENT, "me"]


async def test_a_given_secret_is_sent_as_the_server_wants_it() -> None:
    async with protected() as server:
        provider = server.provider
        known = {"client_id": "me:too", "client_secret": "s3cret/ö"}
        await use(server, auth(**known))
        sent = base64.b64decode(provider.asked[-1].headers["Authorization"].removeprefix("Basic ")).decode()
        assert sent == "me%3Atoo:s3cret%2F%C3%B6"
        provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        await use(server, auth(**known))
        assert provider.calls("/token")[-1]["client_secret"] == "s3cret/ö"


async def test_a_client_registers_once_and_again_when_it_was_forgotten() -> None:
    async with protected() as server:
        provider, store = server.provider, MemoryStore()
        provider.with_refresh = False
        await use(server, auth(store=store))
        provider.revoke()
        await use(server, auth(store=store))
        assert len(provider.clients) == 1
        provider.revoke()
        provider.refusals["/token"] = [{"error": "invalid_client"}]
        await use(server, auth(store=store))
        assert len(provider.clients) == 2


async def test_a_registration_outlives_a_person_who_walks_away() -> None:
    async with protected() as server:
        provider, store = server.provider, MemoryStore()
        for _ in range(2):
            provider.refusals["/authorize"] = [{"error": "access_denied"}]
            with pytest.raises(SignInRefused):
                await use(server, auth(store=store))
        assert len(provider.clients) == 1


async def test_a_secret_that_ended_is_not_used() -> None:
    async with protected() as server:
        provider, store = server.provider, MemoryStore()
        provider.with_refresh = False
        provider.site.says(
            "/register", {"client_id": "old", "client_secret": "s3cret", "client_secret_expires_at": 1}, status=201
        )
        await use(server, auth(store=store))
        provider.site.answers["/register"] = provider._register
        provider.revoke()
        await use(server, auth(store=store))
        assert [
            asked.params.get("client_id", "in the header") for asked in provider.asked if asked.path == "/token"
        ] == [
            "in the header",
            *provider.clients,
        ]


async def test_where_the_port_is_taken_the_client_registers_with_another() -> None:
    async with protected() as server:
        provider, store = server.provider, MemoryStore()
        provider.with_refresh = False
        await use(server, auth(store=store))
        provider.revoke()

        class Busy(Person):
            def visit(self, redirect_uri: str | None):  # type: ignore[no-untyped-def]
                if redirect_uri is not None:
                    raise SignInError("Cannot listen")
                return super().visit("http://127.0.0.1:10/callback")

        person = Busy()
        await use(server, auth(person, store))
        assert [made["redirect_uris"] for made in provider.clients.values()] == [
            ["http://127.0.0.1:9/callback"],
            ["http://127.0.0.1:10/callback"],
        ]
        assert parameters(person.pages[0])["redirect_uri"] == "http://127.0.0.1:10/callback"


async def test_a_registration_that_is_refused_is_told_with_what_to_do() -> None:
    async with protected() as server:
        refusal = {"error": "invalid_redirect_uri", "error_description": "localhost only"}
        server.provider.refusals["/register"] = [refusal]
        with pytest.raises(SignInRefused, match=r"localhost only.*redirect_uri='http://localhost:9/callback'"):
            await use(server, auth())
        server.provider.site.says("/register", {}, status=403)
        with pytest.raises(SignInError, match="answered with 403"):
            await use(server, auth())


async def test_a_server_that_registers_nobody_says_what_to_do() -> None:
    async with protected() as server:
        del server.provider.metadata["registration_endpoint"]
        with pytest.raises(SignInError, match="give the client id"):
            await use(server, auth(document=DOCUMENT))


async def test_a_client_that_lives_elsewhere_is_a_web_application() -> None:
    async with protected() as server:
        grant = SignIn(agent=Person(), redirect_uri="https://app.example.com/callback")
        from trunkline.auth.oauth import OAuth

        await use(server, OAuth(grant, store=MemoryStore()))
        (made,) = server.provider.clients.values()
        assert made["application_type"] == "web"


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/client.json",
        "https://app.example.com",
        "https://app.example.com/",
        "https://app.example.com/a/../b",
        "https://u@app.example.com/c",
        "https://app.example.com/c#f",
        "client",
    ],
)
def test_what_cannot_be_a_documents_address_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="metadata document"):
        SignIn(document=url)
    check_document_address(DOCUMENT)


def test_half_of_a_clients_credentials_is_an_error() -> None:
    with pytest.raises(ConfigError, match="client id"):
        SignIn(client_secret="s3cret")


async def test_a_client_that_was_forgotten_meanwhile_registers_before_a_person_is_sent_to_a_page() -> None:
    async with protected() as server:
        provider, store, person = server.provider, MemoryStore(), Person()
        await use(server, auth(store=store))
        provider.revoke()
        provider.refusals["/token"] = [{"error": "invalid_client"}]
        await use(server, auth(person, store))
        _, second = provider.clients
        assert [parameters(page)["client_id"] for page in person.pages] == [second]
