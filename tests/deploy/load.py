"""Clients that call without a pause and remember what went wrong, and a server whose answers say who gave them."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp

SERVER = '''
import asyncio
import os
import pathlib

from trunkline import Context, Server, elicitation

server = Server("stage")
VERSION = "one"


@server.tool
async def who() -> str:
    """Say which process answers."""
    return f"{VERSION} {os.getpid()}"


@server.tool
async def wait(seconds: float, context: Context) -> str:
    """Report progress ten times a second, then answer."""
    for step in range(round(seconds * 10)):
        await context.progress(step)
        await asyncio.sleep(0.1)
    return f"waited {seconds:g} s"


@server.tool
async def hold(gate: str, context: Context) -> str:
    """Report progress, then wait until a file exists."""
    await context.progress(1)
    while not pathlib.Path(gate).exists():
        await asyncio.sleep(0.02)
    return "let go"


@server.tool
async def greet(context: Context) -> str:
    """Ask for a name."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    answer = await context.elicit("Who are you?", schema)
    return f"Hello {answer.content['name']}"


if __name__ == "__main__":
    server.run()
'''

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
}


def body(method: str, params: Mapping[str, object], id: object = 1, **meta: object) -> tuple[bytes, dict[str, str]]:
    """A modern request and its headers."""
    own = {
        VERSION_KEY: "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
        **meta,
    }
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": own}}
    headers = {**HEADERS, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = str(params["name"])
    return json.dumps(message).encode(), headers


def tool(
    name: str, arguments: Mapping[str, object] | None = None, more: Mapping[str, object] | None = None, **meta: object
) -> tuple[bytes, dict[str, str]]:
    """A modern call of a tool; `more` stands beside its arguments."""
    return body("tools/call", {"name": name, "arguments": arguments or {}, **(more or {})}, **meta)


class Load:
    """What callers saw: the texts they were answered, and what was no answer."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []

    async def reaches(self, count: int, seconds: float = 60) -> None:
        """Wait for so many further answers."""
        goal = len(self.answers) + count
        async with asyncio.timeout(seconds):
            while len(self.answers) < goal and not self.failures:
                await asyncio.sleep(0.02)

    async def call(self, http: aiohttp.ClientSession, url: str, name: str) -> None:
        """One call, on whatever connection there is."""
        data, headers = tool(name)
        try:
            async with http.post(url, data=data, headers=headers) as response:
                text = await response.text()
                self.answers.append(json.loads(text)["result"]["content"][0]["text"])
        except (aiohttp.ClientError, ValueError, KeyError, OSError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def load(url: str, name: str = "who", callers: int = 6, pause: float = 0.02) -> AsyncIterator[Load]:
    """Callers with a pool of kept connections each, for as long as the block runs; each call is waited for."""
    seen, over = Load(), asyncio.Event()

    async def caller() -> None:
        async with aiohttp.ClientSession() as http:
            while not over.is_set():
                await seen.call(http, url, name)
                await asyncio.sleep(pause)

    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    try:
        yield seen
    finally:
        over.set()
        await asyncio.gather(*tasks)


def write_server(folder: Path, version: str = "one") -> Path:
    """The server as a file; replaced in one step."""
    path, fresh = folder / "stage.py", folder / "stage.new"
    fresh.write_text(SERVER.replace('VERSION = "one"', f'VERSION = "{version}"'))
    fresh.replace(path)
    return path


def write_keys(folder: Path) -> str:
    """A key file."""
    path = folder / "keys.json"
    key = {"from": "2026-11-01T12:00:00Z", "key": base64.b64encode(b"k" * 32).decode()}
    path.write_text(json.dumps({"keys": [key]}))
    return str(path)
