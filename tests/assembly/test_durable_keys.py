"""Idempotency keys at a gateway that makes some tools durable, for tools whose tasks their own server keeps."""

import asyncio
import sys

import pytest

from tests.assembly.test_durable import ENVIRONMENT, behind, notes, text_of
from tests.extensions.tasks.calling import TASKS, Caller, Refused
from tests.gateway.test_carrying_hostile import Hostile
from trunkline.auth.static import StaticTokens
from trunkline.engine.principal import Principal

KEY = {"dev.trunkline/idempotencyKey": "order-7"}
SHOP = """
import sys, time, uuid
from trunkline import Server
time.sleep(float(sys.argv[1]))
server = Server("shop")
@server.tool(task=True)
async def order(item: str) -> str:
    return f"{item} {uuid.uuid4()}"
@server.tool
async def look(item: str) -> str:
    return item
server.run()
"""


def shop(folder, wait=0, **more):
    (folder / "shop.py").write_text(SHOP)
    return {"command": sys.executable, "args": [str(folder / "shop.py"), str(wait)], "env": ENVIRONMENT, **more}


async def refused(caller, tool, **arguments):
    with pytest.raises(Refused) as error:
        await caller.call(tool, KEY, **arguments)
    return error.value.code, (error.value.data or {}).get("dev.trunkline/reason")


async def test_a_key_finds_the_task_that_the_upstream_keeps(tmp_path):
    tokens = StaticTokens({f"of-{name}": Principal("t", name) for name in ("ann", "bob")})
    servers = {"notes": notes(tmp_path, True), "shop": shop(tmp_path)}
    async with behind(tmp_path, servers, authenticator=tokens) as (_, base, http):
        alone = Caller(f"{base}/servers/shop/mcp", http.http, token="of-ann")
        ann, bob = http.other(token="of-ann"), http.other(token="of-bob")
        for way, tool in ((ann, "shop__order"), (alone, "order"), (bob, "shop__order"), (ann, "shop__order")):
            assert (await way.call(tool, item="chair"))["resultType"] == "task", "it is no tool of the gateway's tasks"
        first, again, beside, other = [
            text_of(await way.ended(await way.start(tool, KEY, item="chair")))
            for way, tool in ((ann, "shop__order"), (ann, "shop__order"), (alone, "order"), (bob, "shop__order"))
        ]
        assert first == again == beside != other
        assert await refused(ann, "shop__order", item="table") == (-32602, "key_reused")


async def test_a_key_that_nobody_would_remember_is_refused(tmp_path):
    forgetful = Hostile()
    forgetful.extensions = {TASKS: {}}
    async with forgetful.served() as entry:
        servers = {
            "notes": notes(tmp_path, True),
            "shop": shop(tmp_path),
            "once": shop(tmp_path, processes="per-call"),
            "forgetful": {"url": entry.url},
        }
        async with behind(tmp_path, servers) as (_, base, caller):
            nobody = (-32602, "key_not_honoured")
            assert await refused(caller, "shop__look", item="chair") == nobody, "the server itself says so"
            assert await refused(caller, "once__order", item="chair") == nobody, "its process ends with the call"
            assert await refused(caller, "forgetful__job") == nobody
            assert await refused(Caller(f"{base}/servers/forgetful/mcp", caller.http), "job") == nobody
            assert forgetful.called("tools/call") == []
            assert (await caller.call("forgetful__job"))["resultType"] == "task"


async def test_a_key_that_comes_before_its_upstream_has_answered_waits_for_it(tmp_path):
    servers = {"notes": notes(tmp_path, True), "shop": shop(tmp_path, wait=1.5)}
    async with behind(tmp_path, servers) as (gateway, base, caller):
        assert {row.name: row.tools for row in gateway.statuses()}["shop"] is None
        alone = Caller(f"{base}/servers/shop/mcp", caller.http)
        ids = await asyncio.gather(
            caller.start("shop__order", KEY, item="chair"), alone.start("order", KEY, item="chair")
        )
        assert len({text_of(await way.ended(id)) for way, id in zip((caller, alone), ids, strict=True)}) == 1
