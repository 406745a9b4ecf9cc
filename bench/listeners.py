"""Budget 5: open `subscriptions/listen` streams on one process: what each costs, and how soon all of them hear."""

import asyncio
import json
import resource
import time
from collections.abc import Mapping

from bench import subjects
from bench.report import Budget, Spread
from bench.subjects import Running

KILOBYTE = 1000
ROUNDS = 3
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
LISTEN = {"notifications": {"toolsListChanged": True}, "_meta": META}
CHANGE = {"name": "change", "arguments": {}, "_meta": META}

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def measure(count: int) -> Budget:
    """Open `count` streams, then change the list of tools some times; each stream has to be told each time."""
    budget = Budget("5", f"{count:,} open subscriptions/listen streams on one process")
    _allow(count)
    with subjects.running(subjects.CHANGING) as server:
        size, seconds = asyncio.run(_listen(server, count))
    budget.hold("kB a stream", size / KILOBYTE, most=50)
    heard = Spread.of(seconds)
    budget.add("seconds until all have heard", heard)
    budget.hold("seconds until all have heard, at most", heard.most, most=2)
    return budget


def _allow(count: int) -> None:
    """Let this process and the one it measures hold as many connections."""
    wanted = count + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


async def _listen(server: Running, count: int) -> tuple[float, list[float]]:
    streams: list[Stream] = []
    for _ in range(200):
        streams.append(await _open(server.port, 0))
    before, first = server.resident(), len(streams)
    while len(streams) < count:
        wanted = min(50, count - len(streams))
        streams += await asyncio.gather(*(_open(server.port, len(streams) + n) for n in range(wanted)))
    size = (server.resident() - before) / (count - first)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        told = [asyncio.create_task(_told(reader)) for reader, _ in streams]
        await _change(server.port)
        await asyncio.gather(*told)
        seconds.append(time.perf_counter() - began)
    for _, writer in streams:
        writer.close()
    return size, seconds


async def _open(port: int, id: int) -> Stream:
    """A stream that is acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(port, id, "subscriptions/listen", LISTEN))
    while b"subscriptions/acknowledged" not in await reader.readuntil(b"\n\n"):
        pass
    return reader, writer


async def _told(reader: asyncio.StreamReader) -> None:
    while b"list_changed" not in await reader.readuntil(b"\n\n"):
        pass


async def _change(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request(port, 1, "tools/call", CHANGE))
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer.splitlines()[0]:
        raise RuntimeError(f"the list could not be changed: {answer[:200]!r}")
    writer.close()


def _request(port: int, id: int, method: str, params: Mapping[str, object]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()
    named = f"Mcp-Name: {params['name']}\r\n" if "name" in params else ""
    return (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{named}"
        f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
