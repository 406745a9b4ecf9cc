"""The browser of this machine and the listener it comes back to: real sockets."""

import asyncio
import socket
from collections.abc import Callable

import aiohttp
import pytest

from tests.auth.provider import protected
from tests.auth.test_signin import use
from trunkline.auth.browser import Browser, open_page
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.errors import ConfigError, SignInError, SignInNeeded


def right(address: str) -> bool:
    """What is waited for."""
    return address.endswith("state=right")


def browser(said: list[str], opened: list[str] | None = None, **options: object) -> Browser:
    """A browser that opens nothing, or notes what it opens."""

    def open(url: str) -> bool:
        if opened is not None:
            opened.append(url)
        return opened is not None

    return Browser(open=open, say=said.append, **options)  # type: ignore[arg-type]


async def _get(url: str, **options: object) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(options.pop("verb", "GET"), url, **options) as response,
    ):  # type: ignore[arg-type]
        return response.status, await response.text()


async def test_a_person_comes_back_to_a_listener_on_loopback() -> None:
    opened: list[str] = []
    async with browser([], opened).visit(None) as visit:
        coming = asyncio.create_task(visit.go("https://idp.example.com/?x=1", right))
        await asyncio.sleep(0)
        status, page = await _get(f"{visit.redirect_uri}?code=s3cret&state=right")
        assert (status, "s3cret" in page) == (200, False)
        assert await coming == f"{visit.redirect_uri}?code=s3cret&state=right"
    assert opened == ["https://idp.example.com/?x=1"]
    assert visit.redirect_uri.startswith("http://127.0.0.1:")
    with pytest.raises(aiohttp.ClientConnectorError):
        await _get(visit.redirect_uri)


async def test_requests_that_are_no_answer_do_not_end_the_wait() -> None:
    async with browser([]).visit(None) as visit:
        coming = asyncio.create_task(visit.go("https://idp.example.com/", right))
        await asyncio.sleep(0)
        base = visit.redirect_uri.rpartition("/")[0]
        wrong = await _get(f"{visit.redirect_uri}?code=x&state=<script>alert(1)</script>")
        assert (wrong[0], "<script>" in wrong[1]) == (400, False)
        assert (await _get(f"{base}/other?state=right"))[0] == 404
        assert (await _get(f"{visit.redirect_uri}?state=right", verb="POST"))[0] == 404
        # A page whose name was made to resolve to this machine:
        assert (await _get(f"{visit.redirect_uri}?state=right", headers={"Host": "attacker.example"}))[0] == 404
        assert not coming.done()
        await _get(f"{visit.redirect_uri}?state=right")
        assert right(await coming)


async def test_without_a_browser_the_address_is_printed_and_the_answer_can_be_pasted() -> None:
    said: list[str] = []
    lines = ["nonsense", "http://127.0.0.1:1/callback?state=right\n"]

    async def paste() -> str:
        return lines.pop(0)

    async with browser(said, paste=paste).visit(None) as visit:
        address = await visit.go("https://idp.example.com/?x=1", right)
    assert right(address)
    assert any("https://idp.example.com/?x=1" in line for line in said)
    assert any("not the address" in line for line in said)


async def test_a_person_who_does_not_come_back_is_not_waited_for_for_ever() -> None:
    async def paste() -> str:
        await asyncio.sleep(60)
        return ""

    async with browser([], paste=paste, seconds=0.1).visit(None) as visit:
        with pytest.raises(SignInNeeded, match="Nobody signed in"):
            await visit.go("https://idp.example.com/", right)


async def test_a_client_with_an_address_listens_there_and_says_when_it_cannot() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SignInError, match=f"Cannot listen at 127.0.0.1:{port}"):
            async with browser([]).visit(f"http://127.0.0.1:{port}/back"):
                pass
    async with browser([]).visit(f"http://localhost:{port}/back") as visit:
        coming = asyncio.create_task(visit.go("https://idp.example.com/", right))
        await asyncio.sleep(0)
        await _get(f"http://localhost:{port}/back?state=right")
        assert right(await coming)


@pytest.mark.parametrize(
    "uri", ["https://127.0.0.1:1/x", "http://example.com:1/x", "http://0.0.0.0:1/x", "http://127.0.0.1/x"]
)
async def test_nothing_listens_beyond_this_machine(uri: str) -> None:
    with pytest.raises(ConfigError, match="listen"):
        async with browser([]).visit(uri):
            pass


async def test_the_whole_way_with_a_browser() -> None:
    """The browser follows the redirect to the listener, as a real one does."""
    loop = asyncio.get_running_loop()
    visits: list[object] = []

    def open(url: str) -> bool:
        visits.append(asyncio.run_coroutine_threadsafe(_get(url), loop))
        return True

    async with protected() as server:
        grant = SignIn(agent=Browser(open=open, say=lambda line: None))
        await use(server, OAuth(grant, store=MemoryStore()))
        assert len(visits) == 1
        assert server.called == ["hello"]


def test_without_a_screen_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    remember: Callable[[str], bool] = lambda url: opened.append(url) or True  # noqa: E731
    monkeypatch.setattr("webbrowser.open", remember)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not open_page("https://idp.example.com/")
    monkeypatch.setenv("DISPLAY", ":0")
    assert open_page("https://idp.example.com/")
    assert opened == ["https://idp.example.com/"]
