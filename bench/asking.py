"""Single modern requests, one after the other, where load is not the point."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
}


def names(port: int) -> list[str]:
    """The names on all pages of the tool list of the endpoint on a port of the loopback."""
    found: list[str] = []
    params: dict[str, object] = {}
    with _connection(port) as connection:
        while True:
            result = _ask(connection, "tools/list", params)
            found += [tool["name"] for tool in result["tools"]]
            if "nextCursor" not in result:
                return found
            params = {"cursor": result["nextCursor"]}


def call(port: int, tool: str, times: int) -> None:
    """Call a tool some times."""
    with _connection(port) as connection:
        for _ in range(times):
            _ask(connection, "tools/call", {"name": tool, "arguments": {"a": 2, "b": 3}})


def counted(port: int) -> int:
    """How many requests the upstream on a port was asked in all."""
    with _connection(port) as connection:
        connection.request("GET", "/")
        return sum(json.loads(connection.getresponse().read()).values())


@contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, method: str, params: dict[str, object]) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    named = {"Mcp-Name": str(params["name"])} if "name" in params else {}
    connection.request("POST", "/mcp", json.dumps(message), {**HEADERS, "Mcp-Method": method, **named})
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200 or "result" not in answer:
        raise RuntimeError(f"{method} was answered with {response.status} and {str(answer)[:300]}")
    result: dict[str, Any] = answer["result"]
    return result
