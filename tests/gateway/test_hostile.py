"""Upstreams that misbehave hurt nobody but themselves: real processes and servers, a good neighbour beside each."""

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.gateway.callers import Caller, descendants, gateway, until
from trunkline.errors import RemoteError, UpstreamUnavailable
from trunkline.gateway import Federation, Limits
from trunkline.gateway.failures import RETRY_KEY, UPSTREAM_KEY
from trunkline.gateway.supervision import Backoff
from trunkline.portable.model import Entry

HOSTILE = Path(__file__).with_name("hostile.py")
FAST = Backoff(base=0.05, cap=0.2, quick_failures=3, slow=60.0, start=20.0)


def process(name, mode=None, **more):
    return Entry(name, "stdio", command=sys.executable, args=(str(HOSTILE), mode or name), **more)


def stateful(mode, file, **more):
    return Entry(mode, "stdio", command=sys.executable, args=(str(HOSTILE), mode, str(file)), **more)


async def until_tools(caller, count):
    async with asyncio.timeout(20):
        while len(await caller.tools()) < count:
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def beside(*entries, **limits):
    """A gateway over a good server and these; afterwards the good one must still answer."""
    limits = {"lists": 10.0, **limits}
    federation = Federation([process("good"), *entries], limits=Limits(**limits), backoff=FAST)
    async with gateway(federation) as engine:
        caller = Caller(engine)
        yield federation, caller
        assert (await caller.call("good__echo", a=1))["content"] == [{"type": "text", "text": '{"a": 1}'}]
        assert "good__echo" in await caller.tools()


@pytest.mark.parametrize("mode", ["garbage", "wrong-ids", "twice"])
async def test_noise_on_the_channel_is_skipped(mode):
    async with beside(process(mode)) as (_, caller):
        assert await caller.tools() == ["good__echo", f"{mode}__echo"]
        assert (await caller.call(f"{mode}__echo", b=2))["content"] == [{"type": "text", "text": '{"b": 2}'}]


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("silent", "no answer and no progress"),
        ("dies", "exited with code 11"),
        ("duplicate-keys", "no answer and no progress"),
        ("lying", "'content'"),
        ("no-result", "neither a result object nor an error"),
        ("odd-type", "'task'"),
    ],
)
async def test_a_call_that_goes_wrong_names_the_upstream(mode, says):
    async with beside(process(mode, request_timeout=1.0)) as (_, caller):
        with pytest.raises(UpstreamUnavailable, match=f"upstream {mode} .*{says}") as failure:
            await caller.call(f"{mode}__echo")
        assert failure.value.data[UPSTREAM_KEY] == mode
        assert isinstance(failure.value.data[RETRY_KEY], bool)


async def test_a_server_that_died_is_there_again():
    async with beside(process("dies")) as (federation, caller):
        for _ in range(2):
            await until(lambda: federation.statuses()[1].state == "ready")
            with pytest.raises(UpstreamUnavailable):
                await caller.call("dies__echo")


async def test_a_call_that_may_run_twice_is_sent_again_when_its_process_dies(tmp_path):
    async with beside(stateful("dies-once", tmp_path / "died")) as (_, caller):
        await until_tools(caller, 3)
        assert (await caller.call("dies-once__echo", b=2))["content"] == [{"type": "text", "text": '{"b": 2}'}]


async def test_a_call_that_may_not_run_twice_is_not_and_the_error_says_so(tmp_path):
    async with beside(stateful("dies-once", tmp_path / "died")) as (federation, caller):
        await until_tools(caller, 3)
        with pytest.raises(UpstreamUnavailable, match="the call may have run") as failure:
            await caller.call("dies-once__write")
        assert failure.value.data[RETRY_KEY] is False
        await until(lambda: federation.statuses()[1].state == "ready")
        assert (await caller.call("dies-once__write"))["content"]


async def test_calls_to_a_server_that_does_not_answer_fail_at_once_until_it_does(tmp_path):
    mute = tmp_path / "mute"
    mute.touch()
    entry = stateful("mute", mute, request_timeout=0.2)
    async with beside(entry, silences=2, silence=0.5) as (federation, caller):
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable, match="no answer and no progress"):
                await caller.call("mute__echo")
        assert federation.statuses()[1].circuit == "open"
        with pytest.raises(UpstreamUnavailable, match="2 calls in a row failed; next attempt in") as failure:
            await caller.call("mute__echo")
        assert failure.value.data[RETRY_KEY] is True
        assert 0 < failure.value.data["dev.trunkline/retryAfterMs"] <= 500
        mute.unlink()
        await asyncio.sleep(0.6)
        assert (await caller.call("mute__echo", a=1))["content"] == [{"type": "text", "text": '{"a": 1}'}]
        assert federation.statuses()[1].circuit == "closed"


async def test_an_answer_of_100_megabytes():
    async with beside(process("huge", request_timeout=5.0)) as (_, caller):
        with pytest.raises(UpstreamUnavailable, match="upstream huge"):
            await caller.call("huge__echo")
        # The connection lives on: the line was dropped, not the process.
        assert "huge__echo" in await caller.tools()


async def test_a_slow_call_holds_up_nobody():
    async with beside(process("slow")) as (_, caller):
        slow = asyncio.create_task(caller.call("slow__echo", c=3))
        for _ in range(20):
            await caller.call("good__echo")
        assert not slow.done()
        assert (await slow)["content"] == [{"type": "text", "text": '{"c": 3}'}]


async def test_a_flood_of_notifications():
    async with beside(process("flood")) as (federation, caller):
        changes = []
        unwatch = federation.watch(changes.append)
        flood = asyncio.create_task(caller.call("flood__echo", e=5))
        for _ in range(20):
            await caller.call("good__echo")
        assert (await flood)["content"] == [{"type": "text", "text": '{"e": 5}'}]
        assert not caller.heard
        assert len(changes) < 20
        unwatch()


async def test_tools_with_bad_names_and_schemas():
    async with beside(process("bad-tools")) as (federation, caller):
        names = await caller.tools()
        assert names[0] == "good__echo"
        assert len(names) == 3
        assert "bad-tools__echo" in names
        assert "bad-tools" in federation.statuses()[1].error or "left out" in federation.statuses()[1].error
        weird = next(name for name in names if "weird" in name)
        assert (await caller.call(weird, d=4))["content"] == [{"type": "text", "text": '{"d": 4}'}]


async def test_a_text_that_was_cut_in_the_middle_of_a_character():
    async with beside(process("half-character")) as (_, caller):
        tools = {tool["name"]: tool for tool in (await caller.request("tools/list"))["tools"]}
        assert tools["half-character__echo"]["description"] == "cut \ufffd"
        assert (await caller.call("half-character__echo"))["content"] == [{"type": "text", "text": "cut \ufffd"}]


async def test_a_list_that_never_comes_is_reported_missing():
    async with beside(process("silent-list"), lists=0.5, listing=1.0) as (_, caller):
        await caller.tools()
        result = await caller.request("tools/list")
        assert [tool["name"] for tool in result["tools"]] == ["good__echo"]
        assert result["_meta"]["dev.trunkline/unavailable"] == ["silent-list"]
        assert result["ttlMs"] <= 5000
        with pytest.raises(UpstreamUnavailable, match=r"upstream silent-list .* tools"):
            await caller.call("silent-list__echo")


async def test_a_slow_list_arrives_later():
    async with beside(process("slow-list"), lists=0.5) as (federation, caller):
        changes = []
        unwatch = federation.watch(changes.append)
        await until(lambda: federation.statuses()[0].state == "ready")
        assert "slow-list__echo" not in await caller.tools()
        await until(lambda: federation.statuses()[1].tools == 1)
        assert "slow-list__echo" in await caller.tools()
        assert {change.kind for change in changes} >= {"tools"}
        unwatch()


@pytest.mark.parametrize(("mode", "shown"), [("lying-list", []), ("endless-list", ["endless-list__echo"])])
async def test_lists_that_lie(mode, shown):
    async with beside(process(mode)) as (_, caller):
        assert await caller.tools() == ["good__echo", *shown]


async def test_a_crash_loop_is_named_and_fails_fast():
    async with beside(process("crash")) as (federation, caller):
        await until(lambda: federation.statuses()[1].state == "failed")
        result = await caller.request("tools/list")
        assert result["_meta"]["dev.trunkline/unavailable"] == ["crash"]
        with pytest.raises(UpstreamUnavailable, match=r"upstream crash keeps failing: .*exited with code 3"):
            await caller.call("crash__echo")
        assert "cannot read /etc/secret" in federation.statuses()[1].error


async def test_what_a_process_wrote_is_not_for_callers():
    async with beside(process("crash")) as (federation, caller):
        await until(lambda: federation.statuses()[1].state == "failed")
        with pytest.raises(UpstreamUnavailable) as failure:
            await caller.call("crash__echo")
        assert "secret" not in failure.value.message


async def test_errors_of_an_upstream_arrive_as_they_came():
    async with beside(process("error")) as (_, caller):
        with pytest.raises(RemoteError) as failure:
            await caller.call("error__echo")
        assert failure.value.wire() == {"code": -1234, "message": "no", "data": {"a": 1}}


async def test_no_process_is_left_behind():
    federation = Federation([process("good"), process("silent"), process("crash")], backoff=FAST)
    async with gateway(federation) as engine:
        await Caller(engine).tools()
        running = descendants(str(HOSTILE))
        assert running
    assert not running & descendants(str(HOSTILE))
    assert {status.state for status in federation.statuses()} == {"stopped"}


async def test_stopping_while_a_server_is_still_silent_leaves_no_process():
    script = "import sys, time; sys.stderr.write(sys.stdin.readline()); sys.stderr.flush(); time.sleep(600)  # mute"
    federation = Federation([Entry("mute", "stdio", command=sys.executable, args=("-c", script))], backoff=FAST)
    await federation.start()
    await until(lambda: federation._upstreams["mute"]._supervised.stderr.last())  # it was asked who it is
    await federation.stop()
    assert not descendants("# mute")


@contextlib.asynccontextmanager
async def endpoint(handler):
    """An HTTP server with one handler; yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/mcp", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/mcp"
    finally:
        await runner.cleanup()


async def _hang(request):
    await asyncio.sleep(600)


async def _html(request):
    return web.Response(text="<html>It works!</html>", content_type="text/html")


async def _fail(request):
    return web.Response(status=500, text="Traceback (most recent call last)")


async def _refuse(request):
    return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})


async def _nonsense(request):
    return web.json_response({"jsonrpc": "2.0", "id": 999, "result": {"tools": []}})


async def _cut(request):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b'data: {"jsonrpc": "2.0", "method": "notifications/message", "par')
    request.transport.close()
    return response


@pytest.mark.parametrize("handler", [_html, _fail, _refuse, _nonsense, _cut])
async def test_remote_servers_that_are_none(handler):
    async with endpoint(handler) as url, beside(Entry("remote", "http", url=url)) as (_, caller):
        result = await caller.request("tools/list")
        assert result["_meta"]["dev.trunkline/unavailable"] == ["remote"]
        with pytest.raises(UpstreamUnavailable, match="upstream remote") as failure:
            await caller.call("remote__echo")
        assert "Traceback" not in failure.value.message


async def test_a_remote_server_that_hangs():
    async with endpoint(_hang) as url, beside(Entry("remote", "http", url=url), lists=0.3, start=0.3) as (_, caller):
        result = await caller.request("tools/list")
        assert "remote" in result["_meta"]["dev.trunkline/unavailable"]
        with pytest.raises(UpstreamUnavailable, match="upstream remote is still starting"):
            await caller.call("remote__echo")
