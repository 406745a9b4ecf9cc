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
import pytest
import yaml
from keyring.backends.fail import Keyring as NoKeyring

from tests.auth.keyring_in_a_file import chosen
from tests.auth.provider import Protected, parameters
from tests.gateway.callers import until
from tests.gateway.signed import guarded, sign_in
from trunkline import Client
from trunkline.assembly.connect import ConnectPaths
from trunkline.assembly.gateway import Gateway, read_gateway
from trunkline.auth.keeping import FileStore
from trunkline.auth.registration import check_document_address
from trunkline.auth.shared_keeping import SharedSignIns
from trunkline.client.inputs import ElicitAnswer, ElicitRequest
from trunkline.errors import ConfigError, RemoteError
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
async def serve(config: Path, upstream: Protected, guard: Guard | None = None) -> AsyncIterator[Served]:
    """One replica."""
    gateway = read_gateway(str(config))
    connect = ConnectPaths(gateway, guard or Guard(), nothing)
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
async def served(folder: Path, monkeypatch: pytest.MonkeyPatch, guard: Guard | None = None) -> AsyncIterator[Served]:
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    async with guarded() as upstream:
        await sign_in(upstream, FileStore(folder / "state/trunkline/sign-ins"))
        async with serve(configured(folder, upstream, storage="memory"), upstream, guard) as made:
            yield made


@pytest.fixture(autouse=True)
def no_keyring():
    with chosen(NoKeyring()):
        yield


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


async def test_a_gateway_says_who_it_is_as_a_client_and_authorization_servers_know_it_by_that(
    tmp_path, monkeypatch
) -> None:
    public = "https://mcp.example.com/tools"
    async with served(tmp_path, monkeypatch, Guard(public_url=public)) as made, browser() as http:
        local = made.url.removesuffix("/mcp")
        # The name that a proxy passes on, and no other.
        through = {"Host": "mcp.example.com"}
        async with http.get(f"{local}/connect/client.json", headers=through) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            document = await answer.json()
        # CIMD, 3 and 4: an https address with a path, and in it the very same; who it is, where people come back to.
        assert document["client_id"] == f"{public}/connect/client.json"
        check_document_address(document["client_id"])
        assert document["client_name"] == "trunkline"
        assert document["redirect_uris"] == [f"{public}/connect/callback"]
        assert document["token_endpoint_auth_method"] == "none"
        assert not {"client_secret", "client_secret_expires_at"} & document.keys()
        assert set(document["grant_types"]) == {"authorization_code", "refresh_token"}
        assert (await http.get(f"{local}/connect/client.json", headers={"Host": "attacker.example"})).status == 421

        provider = made.upstream.provider
        provider.metadata["client_id_metadata_document_supported"] = True
        registered = len(provider.clients)
        link = await made.link("alice")
        assert link.startswith(f"{public}/connect?")
        http.headers.update(through)
        # The cookie is for the path as people see it, and for TLS alone; the proxy is not part of this.
        async with http.get(link.replace(public, local)) as page:
            cookie = page.headers["Set-Cookie"].partition(";")[0]
            text = await page.text()
        fields = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', text)}
        left = await http.post(f"{local}/connect", data=fields, headers={"Cookie": cookie}, allow_redirects=False)
        asked = parameters(left.headers["Location"])
        assert (asked["client_id"], [asked["redirect_uri"]]) == (document["client_id"], document["redirect_uris"])
        assert len(provider.clients) == registered


@pytest.mark.parametrize(
    ("local", "guard", "known"),
    [
        ("http://127.0.0.1:8808", {}, True),
        ("http://[::1]:8808", {}, True),
        ("http://0.0.0.0:8808", {"public_url": "https://mcp.example.com"}, True),
        ("http://127.0.0.1:8808", {"public_url": "https://mcp.example.com", "trusted_proxies": ["127.0.0.1"]}, True),
        ("http://0.0.0.0:8808", {}, False),
        ("http://[::]:8808", {}, False),
        ("http://192.0.2.7:8808", {}, False),
        ("http://0.0.0.0:8808", {"public_url": "http://mcp.example.com"}, False),
        ("http://127.0.0.1:8808", {"trusted_proxies": ["127.0.0.1"]}, False),
    ],
)
async def test_accounts_are_connected_at_an_address_that_people_can_open_or_not_at_all(
    tmp_path, local: str, guard: dict[str, object], known: bool
) -> None:
    async with guarded() as upstream:
        gateway = read_gateway(str(configured(tmp_path, upstream, storage="memory")))
        connect = ConnectPaths(gateway, Guard(**guard), nothing)
        if known:
            connect.serve_at(local)
        else:
            with pytest.raises(ConfigError, match=r"tracker: .*public_url"):
                connect.serve_at(local)
        await connect.aclose()


async def test_a_server_with_accounts_that_comes_later_says_what_is_missing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with guarded() as upstream:
        await sign_in(upstream, FileStore(tmp_path / "state/trunkline/sign-ins"))
        config = configured(tmp_path, upstream, storage="memory")
        later = read_gateway(str(config)).plan
        config.write_text(config.read_text().replace("per: principal", "per: gateway"))
        async with serve(config, upstream, Guard(public_url="http://mcp.example.com")) as made:
            assert await made.call("alice") == "hello done"
            made.gateway.apply(later)
            with pytest.raises(RemoteError, match="public_url"):
                await made.call("alice")


async def test_one_caller_takes_no_room_from_others(tmp_path, monkeypatch) -> None:
    async with served(tmp_path, monkeypatch) as made:
        link = await made.link("alice")
        async with browser() as http:
            answers = [await back(http, (await agree(http, link)).headers["Location"]) for _ in range(5)]
            assert (await http.get(answers[0])).status == 400
            assert (await http.get(answers[4])).status == 200
        assert await made.call("alice") == "hello done"
