"""Our client against server-everything, over each transport it has."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop import running
from tests.interop.pairs import EVERYTHING, Pair
from trunkline import Client, ToolError
from trunkline.client.inputs import ElicitRequest
from trunkline.client.reports import LogMessage

NAMES = {"sse": ("sse", "/sse"), "http": ("streamableHttp", "/mcp")}
"""How the server calls its transports, and where it serves them."""


@contextlib.contextmanager
def everything(transport: str) -> Iterator[str]:
    """server-everything on a free port; gives its URL."""
    name, path = NAMES[transport]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [*running.package("mcp-server-everything"), name],
        env={**running.environment(), "PORT": str(port)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert child.stderr is not None
    try:
        while str(port) not in (line := child.stderr.readline()):
            assert line, "server-everything does not start"
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


@pytest.fixture(scope="module", params=EVERYTHING, ids=str)
def target(request: pytest.FixtureRequest) -> Iterator[str | list[str]]:
    """The server over one transport."""
    pair: Pair = request.param
    if pair.transport == "stdio":
        yield [*running.package("mcp-server-everything"), "stdio"]
        return
    with everything(pair.transport) as url:
        yield url


async def test_calls(target: Any) -> None:
    async with Client(target) as client:
        info = await client.server()
        assert (info.era, info.revision) == ("legacy", "2025-11-25")
        assert {"echo", "get-sum", "get-structured-content"} <= {tool.name for tool in await client.tools()}
        assert (await client.call("get-sum", a=2, b=3)).text == "The sum of 2 and 3 is 5."
        weather = (await client.call("get-structured-content", location="New York")).structured
        assert weather == {"temperature": 33, "conditions": "Cloudy", "humidity": 82}
        image = (await client.call("get-tiny-image")).content[1]
        assert (image.type, image.mime_type) == ("image", "image/png")
        assert image.data is not None
        assert image.data.startswith(b"\x89PNG")
        with pytest.raises(ToolError, match="message"):
            await client.call("echo")


async def test_progress(target: Any) -> None:
    reports: list[tuple[float, float | None]] = []
    async with Client(target) as client:
        result = await client.call(
            "trigger-long-running-operation",
            duration=0.2,
            steps=4,
            progress=lambda done, total, _: reports.append((done, total)),
        )
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.text == "Long running operation completed. Duration: 0.2 seconds, Steps: 4."


async def test_questions(target: Any) -> None:
    logs: list[LogMessage] = []

    def fill(request: ElicitRequest) -> dict[str, object]:
        return {**request.defaults(), "name": "Ada", "check": True}

    async with Client(
        target, elicit=fill, sample=lambda _: "hello", roots=["file:///tmp/x"], log=logs.append
    ) as client:
        elicited = (await client.call("trigger-elicitation-request")).text
        assert "- Name: Ada" in elicited
        assert "- Favorite Integer: 42" in elicited
        sampled = (await client.call("trigger-sampling-request", prompt="hi", maxTokens=5)).text
        assert '"text": "hello"' in sampled
        assert "URI: file:///tmp/x" in (await client.call("get-roots-list")).text
        async with asyncio.timeout(10):  # it tells when it has asked by itself, at a time of its own
            while "Roots updated: 1 root(s) received from client" not in [log.data for log in logs]:
                await asyncio.sleep(0.02)


async def test_resources(target: Any) -> None:
    async with Client(target) as client:
        listed = await client.resources()
        assert "architecture.md" in "".join([resource.uri for resource in listed])
        assert (await client.read(listed[0].uri)).text
        assert "demo://resource/dynamic/text/{resourceId}" in [each.uri_template for each in await client.templates()]
        assert (await client.read("demo://resource/dynamic/text/1")).text.startswith("Resource 1: ")
        assert (await client.read("demo://resource/dynamic/blob/1")).blob
        links = (await client.call("get-resource-links", count=2)).content
        assert [(await client.read(link.uri)).contents[0].uri for link in links if link.uri] == [
            link.uri for link in links if link.uri
        ]
        embedded = (await client.call("get-resource-reference", resourceId=1)).content[1].resource
        assert embedded is not None
        assert embedded.uri == "demo://resource/dynamic/text/1"


async def test_prompts(target: Any) -> None:
    async with Client(target) as client:
        assert "args-prompt" in [prompt.name for prompt in await client.prompts()]
        (message,) = (await client.prompt("args-prompt", city="Oslo")).messages
        assert (message.role, message.content.text) == ("user", "What's weather in Oslo?")
        assert (await client.complete("department", "E", prompt="completable-prompt")).values == ["Engineering"]
