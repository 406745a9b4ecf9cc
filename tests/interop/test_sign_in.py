"""The official clients sign in at our resource server, with a provider that nobody here wrote."""

import asyncio
import json
from functools import partial

import pytest

from tests.auth.openid import provider
from tests.auth.test_openid import behind
from tests.interop.running import MODULES, PYTHON, need, node, observe, python

need(PYTHON, MODULES / "node_modules/oidc-provider")


CLIENTS = {"Python": partial(python, "sdk_sign_in.py"), "TypeScript": partial(node, "ts_sign_in.mjs")}


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_official_client_signs_in_and_steps_up(tmp_path, client: str, mode: str) -> None:
    with provider(tmp_path) as openid:
        async with behind(openid) as made:
            seen = await asyncio.to_thread(observe, [*CLIENTS[client](), mode, made.url])
            assert json.loads(seen["who"])[:2] == [openid.issuer, "ada"]
            assert seen["write_file"] == "written"
            assert seen["resources"] == [made.url] * len(seen["resources"])
            assert "mcp" in seen["scopes"][0] and "files.write" in seen["scopes"][-1]
