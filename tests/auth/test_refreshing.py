"""Tokens that end, are revoked or are replaced: refreshed once, by one, and never lost."""

import asyncio
from pathlib import Path

import pytest

from tests.auth.provider import Person, Protected, protected
from tests.auth.test_signin import auth, use
from trunkline import Client
from trunkline.auth.keeping import FileStore, MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.errors import SignInNeeded, TransportError


def refreshes(server: Protected) -> list[dict[str, str]]:
    """The requests to the token endpoint that refreshed."""
    return [form for form in server.provider.calls("/token") if form["grant_type"] == "refresh_token"]


async def test_a_token_is_refreshed_before_it_ends_and_the_refresh_token_replaced() -> None:
    async with protected() as server:
        server.provider.lifetime = 20
        person, credentials = Person(), auth()
        credentials = auth(person)
        await use(server, credentials, "one")
        await use(server, credentials, "two")
        used = [form["refresh_token"] for form in refreshes(server)]
        # Each ends within the half minute that a token must hold on: each request refreshes, with a new one each time.
        assert len(used) == len(set(used)) >= 2
        assert all(form["resource"] == server.url and form["client_id"] for form in refreshes(server))
        assert len(person.pages) == 1
        assert [sent for _, _, sent in server.requests].count("") == 1


async def test_a_revoked_token_is_refreshed_without_a_person() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await client.call("one")
            server.provider.revoke()
            await client.call("two")
        assert (len(person.pages), len(refreshes(server)), server.called) == (1, 1, ["one", "two"])


async def test_of_many_requests_with_a_revoked_token_one_refreshes() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await client.call("one")
            server.provider.revoke()
            await asyncio.gather(*(client.call("two") for _ in range(12)))
        assert (len(person.pages), len(refreshes(server)), len(server.called)) == (1, 1, 13)


async def test_of_several_processes_one_refreshes_and_the_others_use_what_it_got(tmp_path: Path) -> None:
    async with protected() as server:
        await use(server, OAuth(SignIn(agent=Person()), store=FileStore(tmp_path)))
        others = [OAuth(SignIn(agent=Person()), store=FileStore(tmp_path), interactive=False) for _ in range(4)]
        for other in others:
            await use(server, other, "before")
        server.provider.revoke()
        await asyncio.gather(*(use(server, other, "after") for other in others))
        assert len(refreshes(server)) == 1


async def test_a_refresh_that_nobody_waits_for_any_more_is_kept() -> None:
    async with protected() as server:
        person, store = Person(), MemoryStore()
        credentials = auth(person, store)
        await use(server, credentials)
        entered, leave = asyncio.Event(), asyncio.Event()
        token = server.provider.site.answers["/token"]

        async def slow(request: object) -> object:
            entered.set()
            answer = await token(request)  # type: ignore[arg-type]
            await leave.wait()
            return answer

        server.provider.site.answers["/token"] = slow  # type: ignore[assignment]
        server.provider.revoke()
        call = asyncio.create_task(use(server, credentials))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        waiting = asyncio.create_task(use(server, credentials))
        await asyncio.sleep(0.1)
        leave.set()
        await waiting
        # The replaced refresh token used again would have ended the whole sign-in.
        assert (len(refreshes(server)), len(person.pages)) == (1, 1)


async def test_a_sign_in_that_cannot_be_refreshed_any_more_is_made_anew() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            server.provider.revoke()
            server.provider.refusals["/token"] = [{"error": "invalid_grant"}]
            await client.call("two")
        assert len(person.pages) == 2


async def test_without_a_person_a_sign_in_that_ended_says_so() -> None:
    async with protected() as server:
        store = MemoryStore()
        await use(server, auth(Person(), store))
        server.provider.revoke()
        server.provider.refusals["/token"] = [{"error": "invalid_grant"}]
        with pytest.raises(SignInNeeded):
            await use(server, auth(Person(), store, interactive=False))


async def test_a_refreshed_token_that_is_refused_leads_to_a_sign_in() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            server.provider.revoke()

            async def useless(request: object) -> object:
                from aiohttp import web

                server.provider.site.answers["/token"] = token
                return web.json_response({"access_token": "useless", "token_type": "Bearer"})

            token = server.provider.site.answers["/token"]
            server.provider.site.answers["/token"] = useless  # type: ignore[assignment]
            await client.call("two")
        assert len(person.pages) == 2


async def test_a_provider_that_is_down_does_not_matter_before_the_token_ends() -> None:
    async with protected() as server:
        server.provider.lifetime = 25
        credentials = auth()
        await use(server, credentials)
        server.provider.site.says("/token", {}, status=503)
        await use(server, credentials)
        assert server.called == ["hello", "hello"]


async def test_a_provider_that_is_down_is_said_and_costs_nothing() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            server.provider.revoke()
            token = server.provider.site.answers["/token"]
            server.provider.site.says("/token", {}, status=503)
            with pytest.raises(TransportError, match="503"):
                await client.call("two", timeout=1)
            server.provider.site.answers["/token"] = token
            await client.call("three")
        assert len(person.pages) == 1


async def test_a_token_without_an_end_is_used_until_it_is_refused() -> None:
    async with protected() as server:
        server.provider.lifetime, server.provider.with_refresh = None, False
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            await client.call("one")
            await client.call("two")
            assert len(person.pages) == 1
            server.provider.revoke()
            await client.call("three")
        assert len(person.pages) == 2


async def test_a_provider_in_trouble_does_not_end_a_sign_in() -> None:
    async with protected() as server:
        person = Person()
        async with Client(server.url, auth=auth(person)) as client:
            server.provider.revoke()
            token = server.provider.site.answers["/token"]
            for status, error in ((503, "server_error"), (400, "temporarily_unavailable")):
                server.provider.site.says("/token", {"error": error}, status=status)
                with pytest.raises(TransportError):
                    await client.call("two", timeout=1)
            server.provider.site.answers["/token"] = token
            await client.call("three")
        assert len(person.pages) == 1


async def test_who_signed_out_is_not_signed_in_again_by_a_refresh() -> None:
    async with protected() as server:
        store = MemoryStore()
        async with Client(server.url, auth=auth(Person(), store)) as client:
            (names,) = await store.list()
            await store.forget(names.issuer, names.resource)
            server.provider.revoke()
            person = Person()
            client.connection._approach.credentials._grant._agent = person  # type: ignore[union-attr]
            await client.call("two")
        assert (len(refreshes(server)), len(person.pages)) == (0, 1)
