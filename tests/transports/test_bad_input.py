"""Bad input over HTTP: never a 5xx, never a hang, and the neighbour's call is served; the same with either parser."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.transports.bad import BAD_META, BAD_PARAMS, NOT_MESSAGES, ODD_RESPONSES
from tests.transports.fixture import Stage, application_of, call
from tests.transports.test_duplex import words
from tests.transports.web import BOTH, Web, served
from trunkline.transports.http import HTTPTransport

MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
GOOD = call(1, "echo", {"text": "fine"}, modern=True)
BODIES = [*NOT_MESSAGES, *BAD_PARAMS, *BAD_META, *ODD_RESPONSES, b"", b" ", b"x" * (5 * 1024 * 1024)]


@pytest.mark.parametrize("place", ["modern", "session", "batching session", "nowhere"])
async def test_a_bad_body_is_answered_and_disturbs_nobody(web: Web, place: str) -> None:
    if place.endswith("session"):
        await web.begin("2025-03-26" if place.startswith("batching") else "2025-11-25")
    elif place == "modern":
        web.headers = MODERN
    for body in BODIES:
        response = await web.post(body)
        text = await response.read()
        assert response.status < 500, body[:200]
        assert response.status in (200, 202) or b'"error"' in text, body[:200]
        assert b"Traceback" not in text
        response = await web.post(GOOD, Mcp_Method="tools/call", Mcp_Name="echo", MCP_Protocol_Version="2026-07-28")
        assert words(await response.json()) == "fine"


# What stands between "POST /mcp HTTP/1.1" and the body; {n} is the body's length.
HEADS: dict[str, str] = {
    "plain": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}",
    "blanks around values": "Host:  localhost\t\r\n{json}Content-Length: {n}\r\n"
    "MCP-Protocol-Version: \t2026-07-28 \t\r\n"
    "Mcp-Method:tools/call\r\nMcp-Name: \t echo \t \r\n",
    "other case": "HOST: LOCALHOST\r\n{json}content-length: {n}\r\nmcp-protocol-version: 2026-07-28\r\n"
    "MCP-METHOD: tools/call\r\nmCp-NaMe: echo\r\n",
    "an encoded name": "Host: localhost\r\n{json}Content-Length: {n}\r\nMCP-Protocol-Version: 2026-07-28\r\n"
    "Mcp-Method: tools/call\r\nMcp-Name: =?base64?ZWNobw==?=\r\n",
    "two hosts": "Host: localhost\r\nHost: localhost\r\n{json}Content-Length: {n}\r\n{mirror}",
    "two methods": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}Mcp-Method: tools/call\r\n",
    "two names": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}Mcp-Name: other\r\n",
    "two versions": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}MCP-Protocol-Version: 2025-11-25\r\n",
    "two sessions": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}"
    "Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n",
    "two origins": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}Origin: http://localhost\r\n"
    "Origin: http://evil.example\r\n",
    "two content types": "Host: localhost\r\n{json}Content-Type: text/plain\r\nContent-Length: {n}\r\n{mirror}",
    "a foreign host": "Host: evil.example\r\n{json}Content-Length: {n}\r\n{mirror}",
    "an empty host": "Host:\r\n{json}Content-Length: {n}\r\n{mirror}",
    "a name in latin-1": "Host: localhost\r\n{json}Content-Length: {n}\r\nMCP-Protocol-Version: 2026-07-28\r\n"
    "Mcp-Method: tools/call\r\nMcp-Name: \xe9cho\r\n",
    "an empty name": "Host: localhost\r\n{json}Content-Length: {n}\r\nMCP-Protocol-Version: 2026-07-28\r\n"
    "Mcp-Method: tools/call\r\nMcp-Name:\r\n",
    "a tab within": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}X-Other: a\tb\r\n",
    "many headers": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}" + "X-A: b\r\n" * 500,
}
# HTTP so broken that a parser may refuse it before we see it; then all that counts is a 4xx, or a closed connection.
BROKEN: dict[str, str] = {
    "no length": "Host: localhost\r\n{json}{mirror}",
    "too long": "Host: localhost\r\n{json}Content-Length: 99999999999\r\n{mirror}",
    "negative": "Host: localhost\r\n{json}Content-Length: -1\r\n{mirror}",
    "two lengths": "Host: localhost\r\n{json}Content-Length: {n}\r\nContent-Length: 5\r\n{mirror}",
    "length and chunks": "Host: localhost\r\n{json}Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n{mirror}",
    "folded": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}X-Fold: a\r\n b\r\n",
    "a NUL": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}X-Nul: a\0b\r\n",
    "a space before the colon": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}Mcp-Name : other\r\n",
    "a bare line feed": "Host: localhost\n{json}Content-Length: {n}\r\n{mirror}",
    "a huge header": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}X-Big: " + "a" * 200_000 + "\r\n",
    "no colon": "Host: localhost\r\n{json}Content-Length: {n}\r\n{mirror}nonsense\r\n",
}


WHOLE = 10**9


async def exchange(port: int, head: str, body: bytes = GOOD, *, cut: int | None = None) -> tuple[int, bytes]:
    """Send bytes as they are, read to the end: status (0 for none) and all that came; after `cut` bytes, half-close."""
    fields = {
        "json": f"Content-Type: application/json\r\nAccept: {BOTH}\r\n",
        "mirror": "".join(f"{name}: {value}\r\n" for name, value in MODERN.items()),
        "n": str(len(body)),
    }
    for name, value in fields.items():
        head = head.replace("{" + name + "}", value)
    raw = f"POST /mcp HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode("latin-1") + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw[:cut])
        await writer.drain()
        if cut is not None:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        answer = b""
    finally:
        writer.close()
    return (int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0), answer


@pytest.fixture
async def parsers() -> AsyncIterator[dict[str, int]]:
    app = HTTPTransport(application_of(Stage()))
    async with served(app, "httptools") as fast, served(app, "h11") as plain:
        yield {"httptools": fast, "h11": plain}


@pytest.mark.parametrize("name", HEADS)
async def test_headers_mean_the_same_with_either_parser(parsers: dict[str, int], name: str) -> None:
    found = {parser: await exchange(port, HEADS[name]) for parser, port in parsers.items()}
    statuses = {status for status, _ in found.values()}
    assert len(statuses) == 1, found
    expected = {
        "plain": 200,
        "blanks around values": 200,
        "other case": 200,
        "an encoded name": 200,
        "a tab within": 200,
        "many headers": 200,
        "a foreign host": 421,
        "an empty host": 421,
    }
    assert statuses == {expected.get(name, 400)}, found


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("parser", ["httptools", "h11"])
async def test_broken_http_is_refused_and_the_neighbour_served(parsers: dict[str, int], name: str, parser: str) -> None:
    status, answer = await exchange(parsers[parser], BROKEN[name], cut=WHOLE)
    assert status < 500, answer
    status, answer = await exchange(parsers[parser], HEADS["plain"])
    assert status == 200
    assert b"fine" in answer


@pytest.mark.parametrize("cut", [1, 20, 200, 340, -1])
@pytest.mark.parametrize("parser", ["httptools", "h11"])
async def test_a_half_closed_connection_ends(parsers: dict[str, int], cut: int, parser: str) -> None:
    status, answer = await exchange(parsers[parser], HEADS["plain"], cut=cut)
    assert status < 500, answer
    assert (await exchange(parsers[parser], HEADS["plain"]))[0] == 200


async def test_a_client_that_leaves_at_once(web: Web) -> None:
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", web.port)
        writer.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
        writer.close()
    async with aiohttp.ClientSession() as http:
        other = Web(web.port, http)
        other.headers = MODERN
        assert words(await (await other.post(GOOD)).json()) == "fine"
        other.close()
