"""Processes that share a sign-in refresh it once: a rotated refresh token that is used twice ends everything."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from keyring.backends.fail import Keyring as NoKeyring

from tests.auth.keyring_in_a_file import Keyring, chosen
from tests.auth.provider import Granted, Protected, protected
from tests.auth.stage_refreshing import store_at
from tests.storage.conftest import url  # noqa: F401
from tests.storage.stages import Stage
from trunkline.auth.doors import TokenStore
from trunkline.auth.keeping import FileStore, system_store
from trunkline.auth.tokens import Kept, Registration, Tokens


async def signed_in(server: Protected, store: TokenStore) -> None:
    """Keep a sign-in whose token is over."""
    server.provider.refreshes["refresh-0"] = Granted(frozenset(), "client-1")
    kept = Kept(
        issuer=server.provider.issuer,
        resource=server.url,
        tokens=Tokens(access_token="over", refresh_token="refresh-0", expires_at=time.time() - 5),
        registration=Registration(client_id="client-1", source="registered"),
    )
    await store.save(kept)


@pytest.mark.parametrize("sealed", [False, True])
async def test_three_processes_make_one_token_request(
    sealed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    with chosen(Keyring() if sealed else NoKeyring()):
        backend = "tests.auth.keyring_in_a_file.Keyring" if sealed else "keyring.backends.fail.Keyring"
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
        monkeypatch.setenv("KEYRING_IN_A_FILE", str(tmp_path / "keyring"))
        async with protected() as server:
            await signed_in(server, system_store(folder))
            issue = server.provider.site.answers["/token"]

            async def slowly(request: web.Request) -> web.StreamResponse:
                answer = await issue(request)
                await asyncio.sleep(0.3)
                return answer

            server.provider.site.answers["/token"] = slowly
            stages = [Stage("tests.auth.stage_refreshing", str(folder), server.url) for _ in range(3)]
            while any(stage.lines != ["ready"] for stage in stages):
                await asyncio.sleep(0.01)
            (folder / "go").touch()
            codes = [await asyncio.to_thread(stage.process.wait, 50) for stage in stages]

            assert codes == [0, 0, 0]
            assert [stage.kill() for stage in stages] == [["ready", *["hello done"] * 3]] * 3
            await refreshed_once(server, system_store(folder))


async def refreshed_once(server: Protected, store: TokenStore) -> None:
    """The provider was asked once, and what it gave last is kept."""
    (form,) = server.provider.calls("/token")
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "refresh-0")
    kept = await store.load(server.provider.issuer, server.url)
    assert kept is not None and kept.tokens is not None and kept.tokens.refresh_token is not None
    assert server.provider.refreshes[kept.tokens.refresh_token].live


async def taken_over(server: Protected, store: TokenStore, folder: Path, *database: str) -> None:
    """The process that refreshes is killed before the provider has done anything, while another one waits for it."""
    asked, over = asyncio.Event(), asyncio.Event()
    issue = server.provider.site.answers["/token"]

    async def silent(request: web.Request) -> web.StreamResponse:
        server.provider.site.answers["/token"] = issue
        asked.set()
        await over.wait()
        return web.Response(status=503)

    await signed_in(server, store)
    server.provider.site.answers["/token"] = silent
    folder.mkdir(exist_ok=True)
    (folder / "go").touch()
    first = Stage("tests.auth.stage_refreshing", str(folder), server.url, *database)
    async with asyncio.timeout(30):
        await asked.wait()
    second = Stage("tests.auth.stage_refreshing", str(folder), server.url, *database)
    try:
        while second.lines != ["ready"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        # It waits: the refresh token is in the first one's hands.
        assert (second.lines, server.provider.calls("/token"), server.called) == (["ready"], [], [])
        assert first.kill() == ["ready"]
        assert await asyncio.to_thread(second.process.wait, 30) == 0
    finally:
        over.set()
        first.kill()
        lines = second.kill()
    assert lines == ["ready", *["hello done"] * 3]
    await refreshed_once(server, store)


async def test_who_is_killed_while_it_refreshes_is_followed_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    async with protected() as server:
        await taken_over(server, FileStore(tmp_path / "kept"), tmp_path / "kept")


async def test_who_is_killed_while_it_refreshes_is_followed_by_the_next_replica(url: str, tmp_path: Path) -> None:  # noqa: F811
    async with protected() as server, store_at(tmp_path, url) as store:
        await taken_over(server, store, tmp_path, url)
