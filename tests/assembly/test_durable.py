"""Tools of upstreams that a configuration makes durable: at the gateway's endpoint, its paths, and in every era."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.assembly.test_endpoints import served
from tests.extensions.tasks.calling import Caller, Refused
from trunkline import Client
from trunkline.assembly.plan import Remembered, make_plan
from trunkline.auth.static import StaticTokens
from trunkline.engine.principal import Principal

OLDER = Path(__file__).parent / "peers/older.py"
LEGACY = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
NOTES = """
import asyncio, sys
from trunkline import Context, ResourceLink, Server
from trunkline.errors import InvalidParams
server = Server("notes")
@server.resource("notes://first")
def first() -> str:
    return "one"
@server.tool
async def write(text: str, book: str = "any") -> list[str | ResourceLink]:
    return [f"wrote {text} into {book}", ResourceLink("made:///note", name="note")]
@server.tool
async def slow(context: Context, seconds: float = 0.3) -> str:
    await context.progress(1, total=2, message="half way")
    await asyncio.sleep(seconds)
    return "done"
@server.tool
async def hang(ledger: str) -> str:
    try:
        with open(ledger, "a") as file:
            file.write("began\\n")
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        with open(ledger, "a") as file:
            file.write("cancelled\\n")
        raise
@server.tool
def process() -> str:
    import os
    return str(os.getpid())
@server.tool
async def told(context: Context) -> list[str]:
    import json
    return sorted(json.loads(bytes(context.params.raw))["_meta"])
@server.tool
async def greet(context: Context) -> str:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    first = await context.elicit("Who?", schema, key="who")
    second = await context.elicit("And who?", schema, key="and")
    return f"Hello, {first.content['name']} and {second.content['name']}!"
@server.tool
async def refuse(context: Context) -> str:
    await context.elicit("Who?", key="who")
    raise InvalidParams("not this one")
server.run()
"""


def notes(folder, tasks):
    (folder / "notes.py").write_text(NOTES)
    arguments = {"command": sys.executable, "args": [str(folder / "notes.py")], "env": ENVIRONMENT}
    return {**arguments, "tasks": tasks}


def older(revision, tasks=True, **more):
    return {"command": sys.executable, "args": [str(OLDER), revision], "tasks": tasks, **more}


def write(folder, servers, **others):
    path = folder / "trunkline.yaml"
    path.write_text(json.dumps({"servers": servers, **others}))
    return str(path)


@contextlib.asynccontextmanager
async def behind(folder, servers, *, authenticator=None, **others):
    """A gateway over servers: yields it, the address of its paths, and a caller of its own endpoint."""
    path = write(folder, servers, **others)
    async with served(path, authenticator=authenticator) as (gateway, _, base), aiohttp.ClientSession() as http:
        yield gateway, base, Caller(f"{base}/mcp", http)


def text_of(task):
    return task["result"]["content"][0]["text"]


@pytest.mark.parametrize("revision", LEGACY)
async def test_a_server_of_any_older_revision_becomes_durable(revision, tmp_path):
    async with behind(tmp_path, {"old": older(revision)}) as (_, base, caller):
        id = await caller.start("old__wait", seconds=0.1)
        assert text_of(await caller.ended(id)) == f"waited in {revision}"
        plain = await caller.other(declared=False).call("old__wait", seconds=0.1)
        assert plain["content"][0]["text"] == f"waited in {revision}"
        async with Client(f"{base}/mcp", era="legacy") as client:
            assert (await client.call("old__wait", seconds=0.1)).text == f"waited in {revision}"


async def test_a_modern_server_becomes_durable_and_its_progress_the_status(tmp_path):
    async with behind(tmp_path, {"notes": notes(tmp_path, True)}) as (_, _, caller):
        id = await caller.start("notes__slow", seconds=0.5)
        async with asyncio.timeout(10):
            while (task := await caller.get(id)).get("statusMessage") != "half way":
                assert task["status"] == "working"
        assert text_of(await caller.ended(id)) == "done"


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_a_question_in_the_middle_of_an_older_servers_call_parks_the_task(revision, tmp_path):
    async with behind(tmp_path, {"old": older(revision, processes="per-session")}) as (_, _, caller):
        id = await caller.start("old__ask")
        task = await caller.until(id, "input_required")
        ((key, request),) = task["inputRequests"].items()
        assert request["method"] == "elicitation/create" and request["params"]["message"] == "Who?"
        await caller.update(id, {key: {"action": "accept", "content": {"name": "Ann"}}})
        assert text_of(await caller.ended(id)) == "Hello, Ann!"


async def test_the_rounds_of_a_modern_server_park_the_task_one_after_the_other(tmp_path):
    servers = {"notes": {**notes(tmp_path, True), "processes": "per-session"}}
    async with behind(tmp_path, servers) as (_, _, caller):
        id = await caller.start("notes__greet")
        for key, name in (("who", "Ann"), ("and", "Bob")):
            task = await caller.until(id, "input_required")
            assert list(task["inputRequests"]) == [key]
            await caller.update(id, {key: {"action": "accept", "content": {"name": name}}})
            await caller.until(id, "working", "completed") if key == "and" else await seen(caller, id, "and")
        assert text_of(await caller.ended(id)) == "Hello, Ann and Bob!"


async def seen(caller, id, key):
    async with asyncio.timeout(10):
        while key not in (await caller.get(id)).get("inputRequests", {}):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("tasks", [True, {"idempotent": True, "backoff": 0}], ids=["as it is", "idempotent"])
async def test_a_question_is_answered_at_any_replica_while_the_one_that_asked_lives(tasks, tmp_path):
    servers = {"old": older("2025-11-25", tasks, processes="per-call")}
    shared = {"storage": {"url": f"sqlite:///{tmp_path / 'state.db'}"}}
    ann, bob = ({"action": "accept", "content": {"name": name}} for name in ("Ann", "Bob"))
    async with behind(tmp_path, servers, **shared) as (_, _, second):
        async with behind(tmp_path, servers, **shared) as (gateway, _, first):
            ids = [await first.start("old__ask") for _ in range(2)]
            for id in ids:
                await second.until(id, "input_required")
            await second.update(ids[0], {"upstream-1": ann})
            assert text_of(await second.ended(ids[0])) == "Hello, Ann!"
            await gateway.federation.stop()
        # What the one that is gone held open is lost: the call may run again or it may not.
        await second.update(ids[1], {"upstream-1": ann})
        if tasks is True:
            lost = await second.ended(ids[1])
            assert lost["status"] == "failed" and "no longer holds this call open" in lost["error"]["message"]
        else:
            await seen(second, ids[1], "upstream-1~2")
            await second.update(ids[1], {"upstream-1~2": bob})
            assert text_of(await second.ended(ids[1])) == "Hello, Bob!"


@pytest.mark.parametrize("tasks", [True, {"idempotent": True, "backoff": 0}], ids=["as it is", "idempotent"])
async def test_a_question_whose_process_is_gone_is_asked_again_where_the_call_may_run_twice(tasks, tmp_path):
    servers = {"notes": {**notes(tmp_path, tasks), "processes": "per-session"}}
    ann, bob = ({"action": "accept", "content": {"name": name}} for name in ("Ann", "Bob"))
    async with behind(tmp_path, servers) as (_, _, caller):
        process = int(text_of(await caller.ended(await caller.start("notes__process"))))
        id = await caller.start("notes__greet")
        await seen(caller, id, "who")
        os.kill(process, signal.SIGKILL)
        # What it sealed no other process can read.
        await caller.update(id, {"who": ann})
        if tasks is True:
            lost = await caller.ended(id)
            assert lost["status"] == "failed" and "no longer holds this call open" in lost["error"]["message"]
            assert lost["error"]["data"]["dev.trunkline/mayHaveRun"] is True
        else:
            await seen(caller, id, "who~2")
            await caller.update(id, {"who~2": ann})
            await seen(caller, id, "and")
            await caller.update(id, {"and": bob})
            assert text_of(await caller.ended(id)) == "Hello, Ann and Bob!"


async def test_what_a_server_says_of_an_answer_is_its_own(tmp_path):
    """Where its process lives, a refusal is no sign that it has forgotten the call."""
    tasks = {"idempotent": True, "backoff": 0}
    servers = {"notes": {**notes(tmp_path, tasks), "processes": "per-session"}}
    async with behind(tmp_path, servers) as (_, _, caller):
        id = await caller.start("notes__refuse")
        await seen(caller, id, "who")
        await caller.update(id, {"who": {"action": "accept", "content": {"name": "Ann"}}})
        task = await caller.ended(id)
        assert task["status"] == "failed" and task["error"]["message"] == "not this one"
        assert task["_meta"]["dev.trunkline/attempt"] == 1


async def test_each_way_to_a_tool_keeps_its_own_names_and_all_see_one_set_of_tasks(tmp_path):
    diary = {"tools": ["notes__write"], "edit_tools": {"notes__write": {"name": "jot", "pin": {"book": "diary"}}}}
    servers = {"notes": notes(tmp_path, True), "more": notes(tmp_path, False)}
    async with behind(tmp_path, servers, endpoints={"diary": diary}) as (_, base, caller):
        alone = Caller(f"{base}/servers/notes/mcp", caller.http)
        chosen = Caller(f"{base}/endpoints/diary/mcp", caller.http)
        ids = [
            await caller.start("notes__write", text="a"),
            await alone.start("write", text="b"),
            await chosen.start("jot", text="c"),
        ]
        for way in (caller, alone, chosen):
            assert [text_of(await way.ended(id)) for id in ids] == [
                "wrote a into any",
                "wrote b into any",
                "wrote c into diary",
            ]
        # Where a server is alone its URIs stay as they are; elsewhere they lead back to it.
        links = [(await caller.get(id))["result"]["content"][1]["uri"] for id in ids]
        assert links[1] == "made:///note" and links[0] != "made:///note" and links[2] == links[0]
        refused = await chosen.call("jot", text="d", book="other")
        assert refused["isError"] and "is fixed at this endpoint" in refused["content"][0]["text"]
        assert (await Caller(f"{base}/servers/more/mcp", caller.http).call("write", text="e"))["resultType"] == (
            "complete"
        )


async def test_a_task_is_its_callers_at_every_path(tmp_path):
    tokens = StaticTokens({"of-ann": Principal("t", "ann"), "of-bob": Principal("t", "bob", tools=("other__*",))})
    async with behind(tmp_path, {"notes": notes(tmp_path, True)}, authenticator=tokens) as (_, base, caller):
        ann, bob = caller.other(token="of-ann"), caller.other(token="of-bob")
        id = await ann.start("notes__write", text="x")
        assert text_of(await ann.ended(id)) == "wrote x into any"
        for url in (f"{base}/mcp", f"{base}/servers/notes/mcp"):
            with pytest.raises(Refused, match="unknown task"):
                await Caller(url, caller.http, token="of-bob").get(id)
            assert text_of(await Caller(url, caller.http, token="of-ann").get(id)) == "wrote x into any"
        for url, tool in ((bob.url, "notes__write"), (f"{base}/servers/notes/mcp", "write")):
            with pytest.raises(Refused, match="not on this caller's list"):
                await Caller(url, caller.http, token="of-bob").call(tool, text="x")


async def test_a_task_runs_in_its_callers_own_process(tmp_path):
    tokens = StaticTokens({f"of-{name}": Principal("t", name) for name in ("ann", "bob")})
    servers = {"notes": {**notes(tmp_path, {"overrides": {"told": False}}), "processes": "per-session"}}
    async with behind(tmp_path, servers, authenticator=tokens) as (_, base, caller):
        found = {}
        for name in ("ann", "bob"):
            one = caller.other(token=f"of-{name}")
            found[name] = {text_of(await one.ended(await one.start("notes__process"))) for _ in range(2)}
            alone = Caller(f"{base}/servers/notes/mcp", caller.http, token=f"of-{name}")
            found[name].add(text_of(await one.ended(await alone.start("process"))))
        assert all(len(processes) == 1 for processes in found.values()) and found["ann"] != found["bob"]


async def test_a_cancelled_task_is_cancelled_at_its_server(tmp_path):
    ledger = tmp_path / "ledger"
    async with behind(tmp_path, {"notes": notes(tmp_path, True)}) as (_, _, caller):
        id = await caller.start("notes__hang", ledger=str(ledger))
        async with asyncio.timeout(20):
            while not ledger.exists():
                await asyncio.sleep(0.02)
            await caller.cancel(id)
            assert (await caller.ended(id))["status"] == "cancelled"
            while "cancelled" not in ledger.read_text():
                await asyncio.sleep(0.02)


async def test_a_call_that_takes_long_becomes_a_task_while_it_runs(tmp_path):
    async with behind(tmp_path, {"notes": notes(tmp_path, {"after": 0.4})}) as (_, base, caller):
        assert (await caller.call("notes__slow", seconds=0.05))["resultType"] == "complete"
        for way, tool in ((caller, "notes__slow"), (Caller(f"{base}/servers/notes/mcp", caller.http), "slow")):
            assert text_of(await way.ended(await way.start(tool, seconds=1))) == "done"


async def test_a_call_that_died_with_its_server_runs_again_only_where_that_does_no_harm(tmp_path):
    tasks = {"attempts": 4, "backoff": 0.05}
    ledger, safe, believed = tmp_path / "ledger", tmp_path / "safe", tmp_path / "believed"
    servers = {"old": older("2025-06-18", tasks), "sure": older("2025-06-18", {**tasks, "idempotent": True})}
    async with behind(tmp_path, servers) as (_, _, caller):
        lost = await caller.ended(await caller.start("old__die_once", ledger=str(ledger)))
        assert lost["status"] == "failed" and "may have run" in lost["error"]["message"]
        assert lost["error"]["data"]["dev.trunkline/mayHaveRun"] is True
        assert ledger.read_text() == "began\n"

        again = await caller.ended(await caller.start("old__die_once_safely", ledger=str(safe)))
        assert text_of(again) == "alive" and safe.read_text() == "began\n" * 2

        told = await caller.ended(await caller.start("sure__die_once", ledger=str(believed)))
        assert text_of(told) == "alive" and believed.read_text() == "began\n" * 2


async def test_policies_are_found_by_name_and_change_without_a_restart(tmp_path):
    tasks = {"tools": ["w*", "slow"], "overrides": {"slow": {"mode": "required"}, "to*": True}}
    async with behind(tmp_path, {"notes": notes(tmp_path, tasks)}) as (gateway, _, caller):
        await caller.ended(await caller.start("notes__write", text="x"))
        await caller.ended(await caller.start("notes__told"))
        with pytest.raises(Refused, match="only runs as a task"):
            await caller.other(declared=False).call("notes__slow")
        process = gateway.statuses()[0].since

        write(tmp_path, {"notes": notes(tmp_path, {"overrides": {"write": False}})})
        gateway.apply(make_plan(gateway.name, os.environ, Remembered(None)))
        assert (await caller.call("notes__write", text="x"))["resultType"] == "complete"
        assert (await caller.other(declared=False).call("notes__slow"))["content"][0]["text"] == "done"
        assert gateway.statuses()[0].since == process and gateway.pending == ""


async def test_the_first_tasks_of_a_configuration_wait_for_the_next_start(tmp_path):
    async with behind(tmp_path, {"notes": notes(tmp_path, False)}) as (gateway, _, caller):
        write(tmp_path, {"notes": notes(tmp_path, True)})
        gateway.apply(make_plan(gateway.name, os.environ, Remembered(None)))
        assert gateway.pending == "changed, and takes effect at the next start: tasks"
        assert (await caller.call("notes__write", text="x"))["resultType"] == "complete"


async def test_a_key_is_honoured_or_refused_and_never_passed_on(tmp_path):
    tasks = {"tools": ["told", "slow"], "trigger": "after_input"}
    key = {"dev.trunkline/idempotencyKey": "order-7", "dev.trunkline/task": {"attempts": 1}}
    async with behind(tmp_path, {"notes": notes(tmp_path, tasks)}) as (_, base, caller):
        id = await caller.start("notes__told", key)
        assert await caller.start("notes__told", key) == id
        assert not [one for one in json.loads(text_of(await caller.ended(id))) if one.startswith("dev.trunkline/")]
        for url, tool in ((caller.url, "notes__write"), (f"{base}/servers/notes/mcp", "write")):
            with pytest.raises(Refused, match="never become tasks") as refused:
                await Caller(url, caller.http).call(tool, key, text="x")
            assert refused.value.code == -32602
            assert refused.value.data == {"dev.trunkline/reason": "key_not_honoured"}
        capabilities = (await caller.send("server/discover", {}))["capabilities"]
        assert capabilities["extensions"]["dev.trunkline/tasks"] == {"idempotencyKeys": True}


async def test_a_call_that_comes_before_its_server_has_answered_is_durable_all_the_same(tmp_path):
    """Nobody has heard of the tool yet, and so nobody knows that it is one of those that become tasks."""
    servers = {"notes": notes(tmp_path, True)}
    (tmp_path / "notes.py").write_text(f"import time\ntime.sleep(1.5)\n{NOTES}")
    async with behind(tmp_path, servers) as (gateway, base, caller):
        assert gateway.statuses()[0].tools is None
        alone = Caller(f"{base}/servers/notes/mcp", caller.http)
        ids = await asyncio.gather(caller.start("notes__write", text="x"), alone.start("write", text="y"))
        assert [text_of(await caller.ended(id)) for id in ids] == ["wrote x into any", "wrote y into any"]
