"""Our client against servers that others wrote, as real processes, in every era and transport they speak."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop import running
from trunkline import Client, RemoteError, TaskCancelled, ToolError, accept_defaults
from trunkline.protocol.revisions import Era

PEERS = Path(__file__).resolve().parent / "peers"
WAIT_SECONDS = 30


def command(peer: str) -> list[str]:
    """How a peer is started, up to its transport."""
    if peer == "ts":
        running.need(running.MODULES / "node_modules")
        folder = running.MODULES / "client-peers"
        folder.mkdir(exist_ok=True)
        shutil.copy(PEERS / "ts_server.mjs", folder)
        return [str(running.NODE), str(folder / "ts_server.mjs")]
    running.need(running.PYTHON)
    return [str(running.PYTHON), str(PEERS / f"{peer}_server.py")]


def everything() -> list[str]:
    """How server-everything is started."""
    running.need(running.EVERYTHING)
    return [str(running.NODE), str(running.EVERYTHING)]


@contextmanager
def listening(words: list[str], path: str, *, by_environment: bool = False) -> Iterator[str]:
    """A server process on a free port; gives its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words, env = (words, {"PORT": str(port)}) if by_environment else ([*words, str(port)], {})
    child = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**running.environment(), **env},
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _listens(port):
            assert child.poll() is None and time.monotonic() < deadline, f"{words} does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        child.kill()
        child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def exercise(client: Client, era: Era) -> None:
    """What every one of these servers offers."""
    facts = await client.server()
    assert facts.era == era
    assert {"add", "greet", "work", "fail"} <= {tool.name for tool in await client.tools()}
    assert (await client.call("add", a=1, b=2)).data == 3
    if (facts.name, era) != ("fastmcp", "modern"):  # which offers elicitation to legacy clients only
        assert (await client.call("greet")).text == "Hello Ann"
    progress: list[object] = []
    assert (await client.call("work", progress=lambda *report: progress.append(report))).text == "done"
    assert progress == [(1, 2, "half"), (2, 2, None)]
    with pytest.raises(ToolError):
        await client.call("fail")
    assert [template.uri_template for template in await client.templates()] == ["memo://{name}"]
    assert (await client.read("memo://x")).text == "memo x"
    assert (await client.prompt("review", code="x")).messages[0].content.text == "Review x"
    await client.ping()


@pytest.mark.parametrize("peer", ["sdk", "fastmcp", "ts"])
async def test_stdio(peer: str) -> None:
    for era in ("modern", "legacy"):
        async with Client([*command(peer), "stdio"], elicit=accept_defaults, era=era) as client:  # type: ignore[arg-type]
            await exercise(client, era)  # type: ignore[arg-type]


@pytest.mark.parametrize("peer", ["sdk", "fastmcp", "ts"])
async def test_streamable_http(peer: str) -> None:
    with listening([*command(peer), "http"], "/mcp") as url:
        eras = ("modern",) if peer == "ts" else ("modern", "legacy")
        for era in eras:
            async with Client(url, elicit=accept_defaults, era=era) as client:  # type: ignore[arg-type]
                await exercise(client, era)  # type: ignore[arg-type]


async def test_tasks_of_fastmcp() -> None:
    with listening([*command("fastmcp_tasks"), "http"], "/mcp") as url:
        async with Client(url, elicit=accept_defaults, era="modern") as client:
            assert (await client.call("add", a=1, b=2)).data == 3
            assert (await client.call("slow", seconds=0.5)).data == "slept"
            assert (await client.call("greet")).data == "Hello Ann"
            with pytest.raises(ToolError, match="the disk is full"):
                await client.call("fail")

            handle = await client.start("slow", seconds=0.5)
            assert [state.status async for state in handle] == ["working", "completed"]
            async with Client(url, era="modern") as another:
                assert (await (await another.resume(handle.id)).result()).data == "slept"

            handle = await client.start("slow", seconds=60)
            await handle.cancel()
            with pytest.raises(TaskCancelled):
                await handle.result()
            with pytest.raises(RemoteError, match="not found"):
                await client.resume("t-unknown")


async def test_the_transport_of_2024() -> None:
    with listening([*command("sdk"), "sse"], "/sse") as url:
        async with Client(url, elicit=accept_defaults) as client:
            await exercise(client, "legacy")


@pytest.mark.parametrize("peer", ["sdk", "ts"])
async def test_changes_over_http(peer: str) -> None:
    with listening([*command(peer), "http"], "/mcp") as url:
        async with Client(url) as client:
            changes = client.listen(tools=True)
            waiting = asyncio.ensure_future(anext(changes))
            while not waiting.done():
                await client.call("grow")
                await asyncio.wait([waiting], timeout=0.2)
            assert waiting.result().kind == "tools"
            await changes.aclose()


@pytest.fixture(params=["stdio", "sse", "streamableHttp"])
async def everything_target(request: pytest.FixtureRequest) -> AsyncIterator[str | list[str]]:
    words = [*everything(), request.param]
    if request.param == "stdio":
        yield words
        return
    with listening(words, "/sse" if request.param == "sse" else "/mcp", by_environment=True) as url:
        yield url


async def test_server_everything(everything_target: str | list[str]) -> None:
    options = {"elicit": accept_defaults, "sample": lambda request: "sampled", "roots": ["/tmp"]}
    async with Client(everything_target, **options) as client:  # type: ignore[arg-type]
        assert (await client.server()).era == "legacy"
        assert len(await client.tools()) > 10
        assert (await client.call("get-sum", a=1, b=2)).text == "The sum of 1 and 2 is 3."
        assert (await client.call("get-structured-content", location="New York")).data["conditions"]  # type: ignore[index]
        assert (await client.call("get-tiny-image")).content[1].data[:4] == b"\x89PNG"  # type: ignore[index]
        steps: list[float] = []
        arguments = {"duration": 0.2, "steps": 2}
        await client.call("trigger-long-running-operation", arguments, progress=lambda step, *_: steps.append(step))
        assert steps == [1, 2]
        assert "sampled" in (await client.call("trigger-sampling-request", prompt="x", maxTokens=5)).text
        assert "It was a dark and stormy night." in (await client.call("trigger-elicitation-request")).text
        assert "file:///tmp" in (await client.call("get-roots-list")).text
        assert "Everything" in (await client.read("demo://resource/static/document/features.md")).text
        assert "Rome" in str((await client.prompt("args-prompt", city="Rome")).messages)
        assert (await client.complete("department", "E", prompt="completable-prompt")).values == ["Engineering"]
        subscription = client.listen("demo://resource/dynamic/text/1")
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0.2)
        await client.call("toggle-subscriber-updates")
        assert (await asyncio.wait_for(waiting, 20)).uri == "demo://resource/dynamic/text/1"
        await subscription.aclose()
