"""Processes that share a sign-in refresh it once: a rotated refresh token that is used twice ends everything."""

import asyncio
import time
from pathlib import Path

import keyring
import pytest
from aiohttp import web
from keyring.backends.fail import Keyring as NoKeyring

from tests.auth.keyring_in_a_file import Keyring
from tests.auth.provider import Granted, Protected, protected
from tests.storage.stages import Stage
from trunkline.auth.keeping import system_store
from trunkline.auth.tokens import Kept, Registration, Tokens


async def signed_in(server: Protected, folder: Path) -> None:
    """Keep a sign-in whose token is over."""
    server.provider.refreshes["refresh-0"] = Granted(frozenset(), "client-1")
    kept = Kept(
        issuer=server.provider.issuer,
        resource=server.url,
        tokens=Tokens(access_token="over", refresh_token="refresh-0", expires_at=time.time() - 5),
        registration=Registration(client_id="client-1", source="registered"),
    )
    await system_store(folder).save(kept)


@pytest.mark.parametrize("sealed", [False, True])
async def test_three_processes_make_one_token_request(
    sealed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = "tests.auth.keyring_in_a_file.Keyring" if sealed else "keyring.backends.fail.Keyring"
    # The library chooses once: not by what only the processes of this test are to see.
    before = keyring.get_keyring()
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    monkeypatch.setenv("KEYRING_IN_A_FILE", str(tmp_path / "keyring"))
    keyring.set_keyring(Keyring() if sealed else NoKeyring())
    folder = tmp_path / "kept"
    try:
        async with protected() as server:
            await signed_in(server, folder)
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
            (form,) = server.provider.calls("/token")
            assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "refresh-0")
            kept = await system_store(folder).load(server.provider.issuer, server.url)
            assert kept is not None and kept.tokens is not None and kept.tokens.refresh_token is not None
            assert server.provider.refreshes[kept.tokens.refresh_token].live
    finally:
        keyring.set_keyring(before)
