"""Secrets stay where they are: a real gateway with one in every place that takes one, driven into every failure."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import web

TRUNKLINE = str(Path(sys.executable).with_name("trunkline"))
SECRETS = {
    "CALLER": "s3cret-caller-token",
    "ENV": "s3cret-environment",
    "LONGER": "s3cret-environment-and-more",
    "HEADER": "s3cret-header",
    "USER": "s3cret-userinfo",
    "QUERY": "s3cret+query%41",
    "OPTION": "s3cret-option",
}
PEM = "-----BEGIN KEY-----\ns3cret-line-one\ns3cret-line-two\n-----END KEY-----"
ARGUMENT, RESULT = "s3cret-argument", "s3cret-result"
LOUD = """
import json, os, sys
told = os.environ.get("TOKEN", "") + " " + os.environ.get("LONGER", "") + " " + " ".join(sys.argv[1:])
print("starting with", told, os.environ.get("PEM"), file=sys.stderr)
if "crash" in sys.argv: sys.exit(told)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "initialize":
        info = {"name": "loud", "version": "1"}
        answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    elif message["method"] == "tools/list":
        names = ("echo", "fail", "die")
        answer["result"] = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
    elif message["method"] == "tools/call" and message["params"]["name"] == "echo":
        answer["result"] = {"content": [{"type": "text", "text": RESULT}]}
    elif message["method"] == "tools/call" and message["params"]["name"] == "die":
        sys.exit(told)
    else:
        answer["error"] = {"code": -1, "message": "failed with " + told, "data": {"env": [told]}}
    print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": told}}))
    print(json.dumps(answer), flush=True)
""".replace("RESULT", repr(RESULT))


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"this is no HTTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def denied(request: web.Request) -> web.Response:
    told = f"{request.headers.get('X-Key')} {request.query_string}"
    error = {"jsonrpc": "2.0", "error": {"code": -32001, "message": f"not with {told}", "data": told}}
    return web.json_response(error, status=401, headers={"WWW-Authenticate": f'Bearer error="{told[:40]}"'})


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[tuple[int, int]]:
    """A port that answers no HTTP, and one that answers 401."""
    junk = await asyncio.start_server(no_http, "127.0.0.1", 0)
    app = web.Application()
    app.router.add_route("*", "/mcp", denied)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield junk.sockets[0].getsockname()[1], site._server.sockets[0].getsockname()[1]
    finally:
        junk.close()
        await runner.cleanup()


def configuration(junk: int, denial: int) -> dict[str, object]:
    env = {"TOKEN": "${ENV}", "LONGER": "${LONGER}", "PEM": PEM}
    loud = {"command": sys.executable, "args": ["-c", LOUD, "--api-key", SECRETS["OPTION"]], "env": env}
    place = f"{SECRETS['USER']}:{SECRETS['USER']}@127.0.0.1"
    return {
        "loud": loud,
        "crash": {**loud, "args": [*loud["args"], "crash"]},
        "denied": {"url": f"http://127.0.0.1:{denial}/mcp?key=${{QUERY}}", "headers": {"X-Key": "Key ${HEADER}"}},
        "junk": {"url": f"http://{place}:{junk}/mcp?key={SECRETS['QUERY']}"},
        "stream": {"type": "sse", "url": f"http://{place}:{junk}/sse?key={SECRETS['QUERY']}"},
        "gone": {"url": f"http://{place}:1/mcp?key={SECRETS['QUERY']}"},
        "both": {"url": f"http://{place}:{junk}/mcp", "headers": {"Authorization": f"Bearer {SECRETS['HEADER']}"}},
    }


Post = Callable[..., Awaitable[str]]


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[Post, list[str]]]:
    """`trunkline up` with everything logged; yields how to post to it and the lines it has printed."""
    (folder / "tokens.json").write_text(json.dumps({"tokens": [{"name": "alice", "secret": "env:CALLER"}]}))
    options = ("--port", "0", "--no-table", "--log-level", "debug", "--tokens", str(folder / "tokens.json"))
    process = await asyncio.create_subprocess_exec(
        *(TRUNKLINE, "up", *options, str(folder / "mcp.json")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **SECRETS, "COLUMNS": "1000"},
    )
    assert process.stdout is not None
    lines: list[str] = []

    async def collect(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            lines.append(line.decode())

    collecting = asyncio.create_task(collect(process.stdout))
    async with aiohttp.ClientSession() as http:
        while not (found := [line for line in lines if line.startswith("endpoint ")]):
            assert not collecting.done(), lines
            await asyncio.sleep(0.05)

        async def post(method: str, params: dict[str, object], token: str = SECRETS["CALLER"]) -> str:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
            headers = {**HEADERS, "Mcp-Method": method, "Authorization": f"Bearer {token}"}
            if "name" in params:
                headers["Mcp-Name"] = str(params["name"])
            async with http.post(found[0].split()[1], json=body, headers=headers) as response:
                return f"{response.headers} {await response.text()}"

        try:
            yield post, lines
        finally:
            process.terminate()
            await process.wait()
            await collecting


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/logLevel": "debug",
}
HEADERS = {"MCP-Protocol-Version": "2026-07-28", "Accept": "application/json, text/event-stream"}


async def test_no_secret_is_printed_logged_or_answered(tmp_path: Path) -> None:
    answers = []
    async with servers() as (junk, denial):
        entries = configuration(junk, denial)
        (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
        async with gateway(tmp_path) as (post, printed):
            while not any("ready" in line for line in printed):
                await asyncio.sleep(0.05)
            answers.append(await post("tools/list", {}))
            for name in (*(f"{entry}__echo" for entry in entries), "loud__fail", "loud__die", "loud__echo"):
                answers.append(await post("tools/call", {"name": name, "arguments": {"a": ARGUMENT}}))
            answers.append(await post("tools/list", {}, token="s3cret-wrong-token"))

    assert RESULT in "".join(answers), "the good call did not work"
    answered = "".join(answers).replace(RESULT, "")
    for line in [*printed, *answered.splitlines()]:
        assert "s3cret" not in line.lower(), line
