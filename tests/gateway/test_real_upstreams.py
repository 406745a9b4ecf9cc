"""Servers no one here wrote, as upstreams: over stdio, Streamable HTTP and HTTP+SSE, in both eras."""

import contextlib
import socket
import subprocess
from pathlib import Path

import pytest

from tests.gateway.callers import ALICE, BOB, Caller, descendants, gateway, until
from tests.interop.running import EVERYTHING, NODE, PYTHON, environment, need, serving
from trunkline.errors import ProtocolError
from trunkline.gateway import Federation
from trunkline.gateway.dialling import Dialler
from trunkline.portable.model import Entry

OFFICIAL = Path(__file__).parent / "peers/official.py"
ERAS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]

need(PYTHON, EVERYTHING)

TIME = Entry("time", "stdio", command=str(PYTHON), args=("-m", "mcp_server_time"))
STDIO = Entry("everything", "stdio", command=str(NODE), args=(str(EVERYTHING), "stdio"))


def git(folder):
    return Entry("git", "stdio", command=str(PYTHON), args=("-m", "mcp_server_git", "--repository", str(folder)))


@contextlib.asynccontextmanager
async def over(*entries, **options):
    federation = Federation(entries, **options)
    async with gateway(federation) as engine:
        await until(lambda: all(status.state == "ready" for status in federation.statuses()), 50)
        yield federation, engine


@contextlib.contextmanager
def everything(transport):
    """server-everything over HTTP: yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        [str(NODE), str(EVERYTHING), transport], env={**environment(), "PORT": str(port)}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True,
    ) as child:  # fmt: skip
        try:
            for line in child.stderr:
                if str(port) in line:
                    break
            yield port
        finally:
            child.kill()


@pytest.fixture(scope="module")
def official():
    with serving([str(PYTHON), str(OFFICIAL)]) as url:
        yield url


@pytest.fixture
def repository(tmp_path):
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    return tmp_path


async def test_servers_over_stdio(repository):
    async with over(TIME, git(repository), STDIO) as (federation, engine):
        for revision in ERAS:
            caller = Caller(engine, revision)
            names = await caller.tools()
            assert {"time__get_current_time", "git__git_log", "everything__echo"} <= set(names)
            now = await caller.call("time__get_current_time", timezone="UTC")
            assert "UTC" in now["content"][0]["text"]
            log = await caller.call("git__git_log", repo_path=str(repository))
            assert "first" in log["content"][0]["text"]
            echo = await caller.call("everything__echo", message=revision)
            assert echo["content"][0]["text"] == f"Echo: {revision}"
            bad = await caller.call("time__get_current_time", timezone="Nowhere/None")
            assert bad["isError"]
        assert [status.era for status in federation.statuses()] == ["modern", "modern", "legacy"]
        assert all(status.revision and status.tools for status in federation.statuses())


async def test_progress_of_a_shared_process_reaches_its_caller_only():
    async with over(STDIO) as (_, engine):
        caller, other = Caller(engine), Caller(engine, "2025-11-25")
        params = {
            "name": "everything__trigger-long-running-operation",
            "arguments": {"duration": 0.4, "steps": 4},
            "_meta": {"progressToken": "p"},
        }
        await caller.request("tools/call", params)
        await other.call("everything__echo", message="x")
        assert [one["params"]["progress"] for one in caller.heard if one["method"] == "notifications/progress"] == [
            1,
            2,
            3,
            4,
        ]
        assert not other.heard


async def _exercise(engine, revision):
    """Everything a client may ask of server-everything, through the gateway."""
    caller = Caller(engine, revision)
    assert (await caller.call("everything__echo", message="hi"))["content"][0]["text"] == "Echo: hi"
    structured = await caller.call("everything__get-structured-content", location="Chicago")
    assert ("structuredContent" in structured) == (revision != "2025-03-26")
    links = (await caller.call("everything__get-resource-links", count=2))["content"]
    uris = [one["uri"] for one in links if one["type"] == "resource_link"]
    assert bool(uris) == (revision != "2025-03-26")
    for uri in uris:
        (contents,) = (await caller.request("resources/read", {"uri": uri}))["contents"]
        assert contents["uri"] == uri
    listed = (await caller.request("resources/list"))["resources"]
    (contents,) = (await caller.request("resources/read", {"uri": listed[0]["uri"]}))["contents"]
    assert contents["text"]
    got = await caller.request("prompts/get", {"name": "everything__args-prompt", "arguments": {"city": "Oslo"}})
    assert "Oslo" in got["messages"][0]["content"]["text"]
    completed = await caller.request(
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "everything__completable-prompt"},
            "argument": {"name": "department", "value": "E"},
        },
    )
    assert completed["completion"]["values"] == ["Engineering"]


@pytest.mark.parametrize("revision", ERAS)
async def test_everything_over_stdio(revision):
    async with over(STDIO) as (_, engine):
        await _exercise(engine, revision)


@pytest.mark.parametrize(("transport", "path", "kind"), [("streamableHttp", "/mcp", "http"), ("sse", "/sse", "sse")])
async def test_everything_over_http(transport, path, kind):
    with everything(transport) as port:
        async with over(Entry("everything", kind, url=f"http://127.0.0.1:{port}{path}")) as (federation, engine):
            for revision in ERAS:
                await _exercise(engine, revision)
            assert federation.statuses()[0].era == "legacy"


async def test_callers_have_sessions_of_their_own():
    with everything("streamableHttp") as port:
        async with over(Entry("everything", "http", url=f"http://127.0.0.1:{port}/mcp")) as (federation, engine):
            alice, bob = Caller(engine, principal=ALICE), Caller(engine, "2025-11-25", principal=BOB)
            for caller in (alice, bob, alice):
                await caller.call("everything__echo", message="x")
            assert federation.statuses()[0].sessions == 2


@pytest.mark.parametrize("upstream_era", ["modern", "legacy"])
@pytest.mark.parametrize("revision", ERAS)
async def test_the_official_sdk(official, upstream_era, revision):
    dial = Dialler({"name": "gateway", "version": "0"}, era=upstream_era)
    dial.hold()
    async with over(Entry("sdk", "http", url=official), dial=dial) as (federation, engine):
        assert federation.statuses()[0].era == upstream_era
        answers = {"elicitation/create": {"action": "accept", "content": {"n": 3}}}
        able = {"elicitation": {"form": {}}} if revision != "2025-03-26" else {}
        caller = Caller(engine, revision, capabilities=able, answers=answers, log="info")
        assert (await caller.call("sdk__add", a=1, b=2))["content"][0]["text"] == "3"
        await caller.request("tools/call", {"name": "sdk__work", "arguments": {}, "_meta": {"progressToken": 7}})
        methods = [one["method"] for one in caller.heard]
        assert methods == ["notifications/progress", "notifications/message"]
        assert caller.heard[0]["params"]["progressToken"] == 7
        for uri in ("demo://greeting", "demo://users/5"):
            (contents,) = (await caller.request("resources/read", {"uri": uri}))["contents"]
            assert contents["uri"] == uri
        got = await caller.request("prompts/get", {"name": "sdk__review", "arguments": {"code": "x"}})
        assert got["messages"][0]["content"]["text"] == "Review x"
        with pytest.raises(ProtocolError):
            await caller.request("resources/read", {"uri": "demo://none/here/at/all"})
        if able:
            assert (await caller.call("sdk__order"))["content"][0]["text"] == "3 hats"
    await dial.release()


async def test_no_process_outlives_the_gateway(repository):
    words = ("mcp_server_time", "mcp_server_git", str(EVERYTHING))
    async with over(TIME, git(repository), STDIO) as (_, engine):
        await Caller(engine).tools()
        running = descendants(*words)
        assert len(running) >= 3
    assert not running & descendants(*words)
