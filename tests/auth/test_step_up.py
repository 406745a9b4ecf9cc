"""Scopes that are missing, and authorization servers that change."""

import pytest

from tests.auth.provider import Person, Protected, Provider, parameters, protected
from tests.auth.test_signin import auth, use
from tests.auth.web import serving
from trunkline import Client
from trunkline.auth.keeping import MemoryStore
from trunkline.errors import HttpFailure, SignInError, SignInNeeded


def scopes(person: Person) -> list[set[str]]:
    """What was asked for, each time."""
    return [set(parameters(page).get("scope", "").split()) for page in person.pages]


async def test_missing_scopes_are_asked_for_beside_those_of_before() -> None:
    async with protected() as server:
        server.challenge = {"scope": "read"}
        server.needs = {"write": "write", "both": "read write", "admin": "admin"}
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            for tool in ("write", "both", "admin", "write"):
                await client.call(tool)
        assert scopes(person) == [{"read"}, {"read", "write"}, {"read", "write", "admin"}]
        assert server.called == ["write", "both", "admin", "write"]


async def test_scopes_that_are_never_granted_are_not_asked_for_for_ever() -> None:
    async with protected() as server:
        server.needs = {"write": "write"}
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await _withholding(server)
            for _ in range(3):
                with pytest.raises(SignInError, match="write"):
                    await client.call("write")
            # Others are not affected, and the token is still good.
            await client.call("read")
        assert len(person.pages) == 3
        assert [method for _, method, _ in server.requests].count("tools/call") == 3 + 2 + 1


async def _withholding(server: Protected) -> None:
    """From now on the provider grants nothing of what it is asked for, and does not say so."""
    issue = server.provider._issue
    server.provider._issue = lambda scopes, client, bound: issue(frozenset(), client, bound)  # type: ignore[method-assign]


async def test_an_unhelpful_403_is_left_to_the_caller() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            for needs in ("", "write"):
                server.needs = {"tool": needs}
                answer = server.site.answers["/mcp"]
                server.site.says(
                    "/mcp",
                    {},
                    status=403,
                    headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'} if needs else None,
                )
                with pytest.raises(HttpFailure, match="403"):
                    await client.call("tool")
                server.site.answers["/mcp"] = answer
        assert len(person.pages) == 1


async def test_a_step_up_does_not_happen_where_nobody_is_asked() -> None:
    async with protected() as server:
        server.needs = {"write": "write"}
        store = MemoryStore()
        await use(server, auth(Person(), store))
        async with Client(server.url, auth=auth(Person(), store, interactive=False)) as client:
            with pytest.raises(SignInNeeded):
                await client.call("write")
            await client.call("read")


async def test_where_the_union_is_refused_what_is_needed_is_asked_for_alone() -> None:
    async with protected() as server:
        server.challenge = {"scope": "read"}
        server.needs = {"write": "write"}
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            server.provider.refusals["/authorize"] = [{"error": "invalid_scope"}]
            await client.call("write")
        assert scopes(person) == [{"read"}, {"read", "write"}, {"write"}]


async def test_another_authorization_server_gets_nothing_of_the_old_one() -> None:
    async with protected() as server, serving() as site:
        store, person = MemoryStore(), Person()
        async with Client(server.url, auth=auth(person, store)) as client:
            old = server.provider
            server.provider = Provider(site)
            server.publish("/mcp")
            await client.call("hello")
        new = server.provider
        sent = [str((asked.params, asked.headers)) for asked in new.asked]
        (client_id,) = old.clients
        for secret in (client_id, *old.tokens, *old.refreshes):
            assert not any(secret in text for text in sent)
        assert len(new.clients) == 1
        assert [names.issuer for names in await store.list()] == [new.issuer]


async def test_credentials_of_one_authorization_server_are_not_sent_to_another() -> None:
    async with protected() as server, serving() as site:
        known = {"client_id": "me", "client_secret": "s3cret"}
        for issuer in (None, server.provider.issuer):
            old = server.provider
            async with Client(server.url, auth=auth(issuer=issuer, **known)) as client:
                server.provider = Provider(site)
                server.publish("/mcp")
                with pytest.raises(SignInError, match=r"credentials there|one there"):
                    await client.call("hello")
            assert server.provider.asked == []
            server.provider = old
            server.publish("/mcp")
        with pytest.raises(SignInError, match=r"honest\.example"):
            await use(server, auth(issuer="https://honest.example", **known))


async def test_of_several_authorization_servers_one_that_answers_is_used() -> None:
    async with protected() as server, serving() as site:
        other = Provider(site)
        for issuers in (["http://127.0.0.1:1", server.provider.issuer], [server.provider.issuer, other.issuer]):
            server.publish("/mcp", authorization_servers=issuers)
            await use(server, auth())
        assert other.asked == []
        server.publish("/mcp", authorization_servers=[other.issuer, server.provider.issuer])
        await use(server, auth(client_id="me", issuer=server.provider.issuer))
        assert other.asked == []
