"""Single requests, one after the other, where load is not the point."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.subjects import MODERN, Running

META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


def names(server: Running) -> list[str]:
    """The names on all pages of the tool list of an endpoint."""
    found: list[str] = []
    params: dict[str, object] = {}
    with _connection(server) as connection:
        while True:
            result = _ask(server, connection, "tools/list", params)
            found += [tool["name"] for tool in result["tools"]]
            if "nextCursor" not in result:
                return found
            params = {"cursor": result["nextCursor"]}


def call(server: Running, times: int) -> None:
    """Call the tool some times."""
    with _connection(server) as connection:
        for _ in range(times):
            _ask(server, connection, "tools/call", {"name": server.subject.tool, "arguments": {"a": 2, "b": 3}})


def counted(upstream: Running) -> int:
    """How many requests an upstream was asked in all."""
    with _connection(upstream) as connection:
        connection.request("GET", "/")
        return sum(json.loads(connection.getresponse().read()).values())


@contextmanager
def _connection(server: Running) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def _ask(
    server: Running, connection: http.client.HTTPConnection, method: str, params: dict[str, object]
) -> dict[str, Any]:
    headers = {**HEADERS, "MCP-Protocol-Version": server.wire, "Authorization": f"Bearer {server.token}"}
    if server.wire == MODERN:
        params = {**params, "_meta": META}
        headers |= {"Mcp-Method": method} | ({"Mcp-Name": str(params["name"])} if "name" in params else {})
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    connection.request("POST", server.path, json.dumps(message), headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200 or "result" not in answer:
        raise RuntimeError(f"{method} was answered with {response.status} and {str(answer)[:300]}")
    result: dict[str, Any] = answer["result"]
    return result
