"""Legacy sessions, made and dropped one after the other over a few connections."""

import asyncio
import json
from collections.abc import Iterator

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}},
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


async def churn(port: int, count: int, connections: int = 4) -> None:
    """Make and drop `count` sessions on the server that listens on a port of the loopback."""
    left = iter(range(count))
    await asyncio.gather(*(_worker(port, left) for _ in range(connections)))


async def _worker(port: int, left: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in left:
        status, headers = await _exchange(reader, writer, "POST", INITIALIZE, "")
        session = headers.get("mcp-session-id", "")
        if status != 200 or not session:
            raise RuntimeError(f"initialize was answered with {status} and session {session!r}")
        routing = f"Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25\r\n"
        status, _ = await _exchange(reader, writer, "POST", INITIALIZED, routing)
        dropped, _ = await _exchange(reader, writer, "DELETE", None, routing)
        if status != 202 or dropped not in (200, 202, 204):
            raise RuntimeError(f"initialized was answered with {status}, DELETE with {dropped}")
    writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, message: object, routing: str
) -> tuple[int, dict[str, str]]:
    """One request, and its answer's status and headers; the body is read and left."""
    body = b"" if message is None else json.dumps(message).encode()
    port = writer.get_extra_info("peername")[1]
    head = f"{method} /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{routing}"
    accept = f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + accept).encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(headers.get("content-length", 0)))
    return int(lines[0].split()[1]), headers
