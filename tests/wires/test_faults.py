"""Every way a server may fail, on every wire: one clear error for the caller, nothing for anybody else, and recovery.

Servers, gateway and their wires are real processes and sockets; the servers (`sick.py`) share no code with the product.
"""

import asyncio
import contextlib
import json
import re
import signal
from typing import NamedTuple

import pytest

from tests.wires.client import RpcError, WireClient, clients
from tests.wires.gateway import Upstream, gateway, processes, signalled
from tests.wires.server import MODERN
from trunkline.gateway.dialling import Call, Dialler
from trunkline.portable.model import Entry

SILENCE = 2.0
"""Seconds without a sign of life after which the gateway gives a call to `hasty` up; to `sick` it is patient."""

ROOM = 250_000_000
"""Bytes the gateway may take for a moment: one message of at most 64 MiB, its pieces and what is made of it."""

HTTP = ("modern-http", "sessions", "stateless")
STDIO = ("modern-stdio", "stdio", "per-session")
WIRES = (*HTTP, "sse", *STDIO)
CLIENTS = (MODERN, "2025-11-25")


class Error(NamedTuple):
    """What the caller is told: a part of the text, and whether trying again helps."""

    says: str
    retry: bool


ANSWERED = None
MUTE = Error("timed out at", False)
"""A tool may have run, so trying again is the caller's own decision."""

GONE = Error("the call may have run|it may have run", False)
UNREADABLE = Error("cannot be read|not a JSON-RPC", False)


def on(wires, expected):
    """What is expected on each of these wires."""
    return dict.fromkeys(wires, expected)


ONE_STREAM = ("sse", *STDIO)
"""Wires on which what is no message is skipped, because all messages share one stream."""

FAULTS = {
    # The process.
    "killed": on(WIRES, GONE),
    "stopped": on(WIRES, MUTE),
    "cut": on(WIRES, GONE),
    # Silence.
    "hung": on(WIRES, MUTE),
    "slow": on(WIRES, ANSWERED),
    # Nonsense.
    "noise": on(ONE_STREAM, ANSWERED) | on(HTTP, UNREADABLE),
    "garbage": on(ONE_STREAM, MUTE) | on(HTTP, UNREADABLE),
    "nonsense": on(WIRES, Error("neither a result object nor an error", False)),
    "misshapen": on(WIRES, Error("'content'", False)),
    "twice": on(WIRES, ANSWERED),
    "others": on(ONE_STREAM, MUTE) | on(HTTP, GONE),
    "malformed": on((*HTTP, "sse"), ANSWERED),
    # Too much.
    "chatter": on(WIRES, MUTE),
    "endless": on(STDIO, MUTE) | on(HTTP, Error("larger than 67108864 bytes", False)) | on(["sse"], GONE),
    "body": on(HTTP, Error("more than 67108864 bytes", False)),
    "huge": on(STDIO, Error("at most 16777216 are accepted", False))
    | on(HTTP, Error("more than 67108864 bytes", False))
    | on(["sse"], GONE),
    # Streams that break.
    "resumable": {"sessions": ANSWERED, "stateless": GONE, "modern-http": GONE},
    "lost": {"sessions": MUTE, "stateless": GONE, "modern-http": GONE},
    "forgotten": {"sessions": GONE},
}
"""What becomes of a call, by the fault that meets it and the wire; the methods of `sick.Sick` are these faults."""

CASES = [(wire, fault) for wire in WIRES for fault, told in FAULTS.items() if wire in told]
ENDS = ("killed", "stopped", "cut")
"""With these the whole process fails, and so everybody else's calls to it."""

FLOODS = ("chatter", "endless", "huge")
"""These fill the stream; where all calls share one, those to the same server wait behind them."""


class Stage:
    """A gateway over a good server and a sick one, which it knows under two names."""

    def __init__(self, gateway, sick, changed):
        self.gateway = gateway
        self.sick = sick
        self.changed = changed


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Starts what a wire needs when its first case comes, and ends what the one before it needed."""
    running: dict[str, Stage] = {}
    with contextlib.ExitStack() as stack:

        def of(wire):
            if wire not in running:
                stack.close()
                running.clear()
                running[wire] = stack.enter_context(staged(wire, tmp_path_factory.mktemp("stage") / "changed"))
            return running[wire]

        yield of


@contextlib.contextmanager
def staged(wire, changed):
    good = Upstream("sick", "modern-stdio", changed.with_name("never"))
    with Upstream("sick", wire, changed) as sick:
        servers = {"good": good.entry, "sick": sick.entry, "hasty": {**sick.entry, "tool_timeout_sec": SILENCE}}
        with gateway(servers) as running:
            yield Stage(running, sick, changed)


async def echo(client, server, number):
    """A call of a healthy tool, and whether the answer is its own."""
    result = await client.call(f"{server}__echo", {"n": number})
    return result["content"] == [{"type": "text", "text": json.dumps({"n": number})}]


@contextlib.asynccontextmanager
async def neighbours(stage, servers):
    """Others call these servers all the while; each of their calls must be answered rightly."""
    calls = dict.fromkeys(servers, 0)
    wrong: list[tuple[str, object]] = []

    async def one(server):
        async with WireClient(stage.gateway.url) as client:
            while True:
                try:
                    if not await echo(client, server, calls[server]):
                        wrong.append((server, calls[server]))
                except RpcError as error:
                    wrong.append((server, str(error)))
                calls[server] += 1
                await asyncio.sleep(0.01)

    async def more():
        aim = {server: count + 2 for server, count in calls.items()}
        async with asyncio.timeout(20):
            while any(calls[server] < aim[server] for server in servers):
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(one(server)) for server in servers]
    try:
        await more()
        yield
        await more()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended
    assert not wrong


async def well_again(stage, server):
    """Until calls to the sick server are answered."""
    async with WireClient(stage.gateway.url) as client:
        await answers(stage, client, server)


async def answers(stage, client, server):
    """Until a client's calls to the sick server are answered."""
    async with asyncio.timeout(30):
        while True:
            stage.sick.start()
            with contextlib.suppress(RpcError):
                assert await echo(client, server, 1)
                return
            await asyncio.sleep(0.05)


async def process_of(client, server):
    """The process that answers a caller."""
    return int((await client.call(f"{server}__pid"))["content"][0]["text"])


async def falls_ill(client, server, fault, pid):
    """What a caller gets whose call meets a fault: the text of the answer, or the error."""
    token = {"_meta": {"progressToken": "mine"}}
    try:
        async with asyncio.timeout(30):
            return (await client.call(f"{server}__do", {"fault": fault}, **token))["content"][0]["text"]
    except RpcError as error:
        return error
    finally:
        if fault == "stopped":
            signalled(pid, signal.SIGCONT)


@pytest.mark.parametrize(("wire", "fault"), CASES)
async def test_the_caller_is_told_and_nobody_else_is_hurt(stages, wire, fault):
    stage, expected = stages(wire), FAULTS[fault][wire]
    server = "hasty" if expected is MUTE or fault == "slow" else "sick"
    alone = fault in ENDS or (fault in FLOODS and wire not in HTTP)
    others = ("good",) if alone else ("good", server)
    # A server that dies is told of in one era on one wire and in the other on the next: a crash loop is another matter.
    revisions = CLIENTS if fault not in ENDS else CLIENTS[WIRES.index(wire) % 2 :][:1]
    await well_again(stage, server)
    before = stage.gateway.resident()
    stage.gateway.forget_peak()
    async with clients(stage.gateway.url, revisions) as callers, neighbours(stage, others):
        # All of them before the first falls ill: where they share a stream, its fault is everybody's.
        pids = [await process_of(caller, server) for caller in callers]
        ill = (falls_ill(caller, server, fault, pid) for caller, pid in zip(callers, pids, strict=True))
        for told in await asyncio.gather(*ill):
            check(told, expected, server)
        await well_again(stage, server)
        for caller in callers:
            # What is left of a flood may fill the stream for a while.
            await answers(stage, caller, server)
    assert stage.gateway.peak() - before < ROOM
    assert "Traceback" not in stage.gateway.log()


@pytest.mark.parametrize("wire", HTTP)
async def test_a_call_that_breaks_leaves_those_beside_it(stages, wire):
    stage = stages(wire)
    await well_again(stage, "sick")
    async with WireClient(stage.gateway.url) as client, WireClient(stage.gateway.url) as other:
        pid = await process_of(client, "sick")
        whole = asyncio.create_task(falls_ill(client, "sick", "slow", pid))
        await asyncio.sleep(0.5)
        assert isinstance(await falls_ill(other, "sick", "others", pid), RpcError)
        assert await whole == '"done"'


@pytest.mark.parametrize("wire", WIRES)
async def test_a_server_that_comes_back_with_other_tools(stages, wire):
    stage = stages(wire)
    await well_again(stage, "sick")
    async with clients(stage.gateway.url, CLIENTS) as callers, neighbours(stage, ["good"]):
        for caller in callers:
            await caller.listen(toolsListChanged=True)
            assert "sick__old" in await listed(caller)
        try:
            for change in (stage.changed.touch, stage.changed.unlink):
                change()
                for pid in processes(stage.changed):
                    signalled(pid, signal.SIGKILL)
                if wire == "stateless":
                    # It has neither a stream nor a session that ends: a call that finds it down is what tells.
                    with pytest.raises(RpcError, match="upstream sick"):
                        await callers[0].call("sick__echo")
                await well_again(stage, "sick")
                new, old = ("fresh", "old") if change == stage.changed.touch else ("old", "fresh")
                for caller in callers:
                    await told_of(caller, f"sick__{new}", f"sick__{old}")
                    assert (await caller.call(f"sick__{new}"))["content"]
                    with pytest.raises(RpcError, match=f"sick.*{old}|{old}.*sick") as failure:
                        await caller.call(f"sick__{old}")
                    assert failure.value.code == -32602
        finally:
            stage.changed.unlink(missing_ok=True)


async def listed(client):
    """The names of the tools it is shown."""
    return [tool["name"] for tool in (await client.request("tools/list"))["tools"]]


async def told_of(client, new, old):
    """Until a client that waits for notifications, and reads lists after them alone, sees other tools."""
    while True:
        await client.hears("notifications/tools/list_changed")
        names = await listed(client)
        if new in names and old not in names:
            return


async def test_the_end_of_an_event_stream_is_noticed_without_a_call(tmp_path):
    dial = Dialler({"name": "gateway", "version": "0"})
    dial.hold()
    with Upstream("sick", "sse", tmp_path / "never") as sick:
        connection = await dial(Call(Entry("sick", "sse", url=sick.entry["url"])))
        sick.stop()
        assert "event stream" in await asyncio.wait_for(connection.closed(), 20)
        await connection.close()
    await dial.release()


def check(error, expected, server):
    """The answer, or one error that names the server and tells what happened and whether to try again."""
    if expected is ANSWERED:
        assert error == '"done"'
        return
    assert isinstance(error, RpcError), error
    assert error.code == -31005
    assert str(error).startswith(f"upstream {server} ")
    assert re.search(expected.says, str(error)), str(error)
    assert error.data["dev.trunkline/upstream"] == server
    assert error.data["dev.trunkline/retry"] is expected.retry
