"""Callers connect accounts of their own: real HTTP from the browser to the upstream, and what must not work."""

import contextlib
import hashlib
import html
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import keyring
import pytest
import yaml
from keyring.backends.fail import Keyring as NoKeyring

from tests.auth.provider import Protected, parameters
from tests.gateway.callers import until
from tests.gateway.signed import guarded, sign_in
from trunkline import Client
from trunkline.assembly.connect import ConnectPaths
from trunkline.assembly.gateway import Gateway, read_gateway
from trunkline.auth.keeping import FileStore
from trunkline.auth.shared_keeping import SharedSignIns
from trunkline.client.inputs import ElicitAnswer, ElicitRequest
from trunkline.errors import RemoteError
from trunkline.storage.keyfile import new
from trunkline.storage.storage import open_storage
from trunkline.transports.guard import Guard
from trunkline.transports.http import HTTPTransport
from trunkline.transports.sealing import FollowedKeys
from trunkline.transports.serving import Binding, bind, serving

TOKENS = {"alice": "token-of-alice", "bob": "token-of-bob"}


async def nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError("nothing else is asked for")


@dataclass
class Served:
    """A gateway over one upstream where each caller has an account, and its address."""

    gateway: Gateway
    url: str
    upstream: Protected

    async def call(self, who: str, tool: str = "tracker__hello", **options: object) -> str:
        """Call a tool as somebody."""
        headers = {"Authorization": f"Bearer {TOKENS[who]}"}
        async with Client(self.url, headers=headers, **options) as client:  # type: ignore[arg-type]
            return (await client.call(tool)).text

    async def link(self, who: str) -> str:
        """Where somebody is sent whose client opens no pages."""
        with pytest.raises(RemoteError, match="needs an account of yours") as refused:
            await self.call(who)
        found = re.search(r"http\S+", str(refused.value))
        assert found is not None
        return found[0]


@contextlib.asynccontextmanager
async def serve(config: Path, upstream: Protected) -> AsyncIterator[Served]:
    """One replica."""
    gateway = read_gateway(str(config))
    connect = ConnectPaths(gateway, Guard(), nothing)  # type: ignore[arg-type]
    app = HTTPTransport(gateway.application, path="/mcp", beside=connect)
    listener = bind(Binding(port=0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(app, listener), contextlib.aclosing(connect):
        connect.serve_at(base)
        await until(lambda: gateway.statuses()[0].tools is not None)
        yield Served(gateway, f"{base}/mcp", upstream)


def configured(folder: Path, upstream: Protected, **more: object) -> Path:
    config = folder / "trunkline.yaml"
    auth = {"grant": "sign-in", "per": "principal"}
    tokens = [{"name": name, "sha256": hashlib.sha256(one.encode()).hexdigest()} for name, one in TOKENS.items()]
    servers = {"tracker": {"url": upstream.url, "auth": auth}}
    config.write_text(yaml.safe_dump({"servers": servers, "tokens": tokens, **more}))
    return config


@contextlib.asynccontextmanager
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    async with guarded() as upstream:
        await sign_in(upstream, FileStore(folder / "state/trunkline/sign-ins"))
        async with serve(configured(folder, upstream, storage="memory"), upstream) as made:
            yield made


@pytest.fixture(autouse=True)
def no_keyring():
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield
    keyring.set_keyring(before)


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def agree(http: aiohttp.ClientSession, link: str) -> aiohttp.ClientResponse:
    """Open a link and go on; the answer, which leads away, is not followed."""
    async with http.get(link) as page:
        text = await page.text()
        assert page.status == 200
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', text))
    fields = {name: html.unescape(value) for name, value in fields.items()}
    return await http.post(link.partition("?")[0], data=fields, allow_redirects=False)


async def back(http: aiohttp.ClientSession, page: str) -> str:
    """Sign in at the authorization server: the address it sends back to."""
    async with http.get(page, allow_redirects=False) as response:
        return response.headers["Location"]


async def connect(link: str) -> str:
    """A person goes all the way."""
    async with browser() as http:
        left = await agree(http, link)
        assert left.status == 303, await left.text()
        async with http.get(await back(http, left.headers["Location"])) as done:
            return await done.text()


def used(upstream: Protected) -> list[str]:
    return [sent for _, method, sent in upstream.requests if method == "tools/call"]


async def test_each_caller_connects_an_account_and_only_that_is_used(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        provider = made.upstream.provider
        for who in TOKENS:
            link = await made.link(who)
            assert "connected" in await connect(link)
            assert await made.call(who) == "hello done"
        _, alice, bob = provider.tokens
        assert used(made.upstream) == [f"Bearer {alice}", f"Bearer {bob}"]
        assert await made.call("alice") == "hello done"
        assert used(made.upstream)[-1] == f"Bearer {alice}"
        sent = {authorization for _, _, authorization in made.upstream.requests}
        assert not any(token in one for one in sent for token in TOKENS.values())
        assert provider.calls("/authorize")[-1]["redirect_uri"] == made.url.replace("/mcp", "/connect/callback")


async def test_a_client_that_opens_pages_is_asked_and_its_call_goes_on(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        opened: list[str] = []

        async def open_url(request: ElicitRequest) -> ElicitAnswer:
            opened.append(request.url or "")
            assert "connected" in await connect(opened[-1])
            return ElicitAnswer("accept")

        assert await made.call("alice", open_url=open_url) == "hello done"
        assert len(opened) == 1


async def test_a_client_of_2025_11_25_gets_the_error_that_names_the_page(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:

        async def open_url(request: ElicitRequest) -> ElicitAnswer:
            return ElicitAnswer("accept")

        with pytest.raises(RemoteError) as refused:
            await made.call("alice", era="legacy", open_url=open_url)
        assert refused.value.remote_code == -32042
        (page,) = refused.value.data["elicitations"]  # type: ignore[index]
        assert page.keys() == {"mode", "elicitationId", "url", "message"}
        assert "connected" in await connect(page["url"])
        assert await made.call("alice", era="legacy") == "hello done"


async def test_a_link_starts_nothing_and_what_comes_back_counts_in_one_browser_alone(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        provider = made.upstream.provider
        link = await made.link("alice")
        asked = len(provider.asked)
        async with browser() as http, browser() as other:
            async with http.get(link) as page:
                assert "alice" in await page.text()
            # Whoever can make a browser open a link, or post a form, has not made its person agree.
            forged = await http.post(link.partition("?")[0], data=parameters(link), allow_redirects=False)
            assert forged.status == 400
            assert len(provider.asked) == asked
            left = await agree(http, link)
            answer = await back(http, left.headers["Location"])
            # The attacker's answer in the victim's browser, and one that was changed on its way.
            assert (await other.get(answer)).status == 400
            state = parameters(answer)["state"]
            assert (await http.get(answer.replace(state, state[::-1]))).status == 400
            assert (await http.get(answer)).status == 200
            assert (await http.get(answer)).status == 400
        assert await made.call("alice") == "hello done"
        await made.link("bob")


async def test_links_that_are_forged_old_or_of_elsewhere_are_refused(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        link = await made.link("alice")
        async with browser() as http:
            ticket = parameters(link)["ticket"]
            other = made.gateway.keys.seal("requestState", b"", b'{"server":"tracker","owner":"x","subject":"x"}')
            for bad in (ticket[:-4] + "AAAA", other, ""):
                answer = await http.get(link.partition("?")[0], params={"ticket": bad})
                assert answer.status == 400
            assert (await http.get(link, headers={"Host": "attacker.example"})).status == 421
            monkeypatch.setattr("trunkline.assembly.connect.time.time", lambda: 4e9)
            assert (await http.get(link)).status == 400


async def test_an_account_that_is_not_good_any_more_is_connected_again(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        await connect(await made.link("alice"))
        assert await made.call("alice") == "hello done"
        provider = made.upstream.provider
        for granted in [*provider.tokens.values()][1:] + [*provider.refreshes.values()][1:]:
            granted.live = False
        link = await made.link("alice")
        assert urlsplit(link).path == "/connect"
        assert "connected" in await connect(link)
        assert await made.call("alice") == "hello done"
        assert made.gateway.statuses()[0].state == "ready"


async def test_who_comes_back_at_another_replica_is_connected_at_all_of_them(tmp_path) -> None:
    async with guarded() as upstream:
        new(tmp_path / "keys.json")
        url = f"sqlite:///{tmp_path / 'shared.db'}"
        config = configured(tmp_path, upstream, storage={"url": url}, keys="keys.json")
        async with open_storage(url) as storage:
            keys = FollowedKeys(tmp_path / "keys.json")
            await sign_in(upstream, SharedSignIns(lambda: storage, keys).of(""))
        async with serve(config, upstream) as one, serve(config, upstream) as other, browser() as http:
            left = await agree(http, await one.link("alice"))
            answer = await back(http, left.headers["Location"])
            elsewhere = answer.replace(one.url.removesuffix("/mcp"), other.url.removesuffix("/mcp"))
            state = parameters(answer)["state"]
            forged = await http.get(elsewhere.replace(state, state[::-1]))
            assert forged.status == 400
            done = await http.get(elsewhere)
            assert (done.status, "connected" in await done.text()) == (200, True)
            assert await one.call("alice") == "hello done"
            assert await other.call("alice") == "hello done"
            await other.link("bob")


async def test_one_caller_takes_no_room_from_others(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        link = await made.link("alice")
        async with browser() as http:
            answers = [await back(http, (await agree(http, link)).headers["Location"]) for _ in range(5)]
            assert (await http.get(answers[0])).status == 400
            assert (await http.get(answers[4])).status == 200
        assert await made.call("alice") == "hello done"
