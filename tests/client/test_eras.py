"""Finding out the era of a server (versioning; stdio and Streamable HTTP, Backward Compatibility)."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tests.client.raw import (
    DISCOVERED,
    Message,
    Scripted,
    answer,
    approach,
    event,
    initialized,
    refusal,
    serving,
    stream,
)
from trunkline.client.eras import Approach, EraMemory, Remembered, meet_duplex, meet_http
from trunkline.client.http import new_session
from trunkline.client.stdio import StdioLink
from trunkline.errors import HttpFailure, RemoteError, RequestTimeout, TransportError

SOURCE = Path(__file__).parents[2] / "src"


async def meet(link: Scripted, using: Approach | None = None, links: list[Scripted] | None = None):
    """Meet a scripted server; further links are used when a fresh one is asked for."""
    queue = [link, *(links or [])]

    async def fresh() -> Scripted:
        return queue.pop(0)

    return await meet_duplex(fresh, "scripted", using or approach())


def legacy_reply(message: Message, *, unknown: Message | None = None) -> list[Message | bytes | None]:
    if message.get("method") == "initialize":
        return [answer(message, initialized("2025-06-18"))]
    if "id" not in message:
        return []
    return [unknown] if unknown else [refusal(message, -32601)]


async def test_stdio_a_discover_result_makes_it_modern() -> None:
    link = Scripted(lambda message: [answer(message, DISCOVERED)])
    peer = await meet(link)
    assert (peer.era, peer.revision, peer.server_info["name"]) == ("modern", "2026-07-28", "raw")
    assert link.methods() == ["server/discover"]
    await peer.close()
    assert link.closed


@pytest.mark.parametrize("code", [-32601, -32602, -32600, -32000, 0])
async def test_stdio_any_other_error_makes_it_legacy(code: int) -> None:
    link = Scripted(
        lambda message: (
            [refusal(message, code)] if message.get("method") == "server/discover" else legacy_reply(message)
        )
    )
    peer = await meet(link)
    assert (peer.era, peer.revision) == ("legacy", "2025-06-18")
    assert link.methods() == ["server/discover", "initialize", "notifications/initialized"]
    await peer.close()


async def test_stdio_an_error_without_an_id_is_understood() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] == "server/discover":
            return [{"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "?"}}]
        return legacy_reply(message)

    peer = await meet(Scripted(reply))
    assert peer.era == "legacy"
    await peer.close()


async def test_stdio_silence_makes_it_legacy_and_a_late_answer_confuses_nobody() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] == "server/discover":
            return []
        if message["method"] == "initialize":
            late: Message = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "late"}}
            return [late, answer(message, initialized())]
        return legacy_reply(message)

    link = Scripted(reply)
    peer = await meet(link, approach(probe=0.05))
    assert peer.era == "legacy"
    assert link.methods() == ["server/discover", "initialize", "notifications/initialized"]
    await peer.close()


async def test_stdio_a_slow_modern_server_that_refuses_initialize_is_asked_again() -> None:
    asked = []

    def reply(message: Message) -> list[Message | bytes | None]:
        asked.append(message["method"])
        if message["method"] == "server/discover":
            return [] if asked.count("server/discover") == 1 else [answer(message, DISCOVERED)]
        return [refusal(message, -32601)]

    peer = await meet(Scripted(reply), approach(probe=0.05))
    assert peer.era == "modern"
    await peer.close()


async def test_stdio_a_server_that_dies_of_the_probe_is_started_again() -> None:
    first, second = Scripted(lambda message: [None]), Scripted(legacy_reply)
    peer = await meet(first, links=[second])
    assert peer.era == "legacy"
    assert first.closed
    assert second.methods() == ["initialize", "notifications/initialized"]
    await peer.close()


def ends_at_the_probe(folder: Path, by: signal.Signals) -> Callable[[], Awaitable[StdioLink]]:
    """Makes processes of a server of both eras, whose first one ends by a signal at what it is sent first."""
    script = folder / "server.py"
    script.write_text(
        f"""
import os, pathlib, sys
from trunkline import Server
marker = pathlib.Path({str(folder / "began")!r})
if not marker.exists():
    sys.stdin.readline()
    marker.touch()
    os.kill(os.getpid(), {int(by)})
Server("both").run()
"""
    )

    async def fresh() -> StdioLink:
        return StdioLink(sys.executable, [str(script)], env={"PYTHONPATH": str(SOURCE)})

    return fresh


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
async def test_stdio_a_server_that_is_killed_at_the_probe_is_not_taken_for_a_legacy_one(
    tmp_path: Path, by: signal.Signals
) -> None:
    fresh, using = ends_at_the_probe(tmp_path, by), approach()
    with pytest.raises(TransportError, match=f"was killed by {by.name}"):
        await meet_duplex(fresh, "both", using)
    peer = await meet_duplex(fresh, "both", using)
    assert peer.era == "modern"
    await peer.close()


async def test_stdio_a_server_that_aborts_at_the_probe_is_started_again(tmp_path: Path) -> None:
    peer = await meet_duplex(ends_at_the_probe(tmp_path, signal.SIGABRT), "both", approach())
    assert peer.era == "legacy"
    await peer.close()


async def test_a_version_error_with_legacy_versions_only_leads_to_initialize() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] == "server/discover":
            return [refusal(message, -32022, "v", {"supported": ["2025-11-25"], "requested": "2026-07-28"})]
        return legacy_reply(message)

    peer = await meet(Scripted(reply))
    assert peer.era == "legacy"
    await peer.close()


async def test_a_version_error_without_a_common_version_is_told() -> None:
    link = Scripted(lambda message: [refusal(message, -32022, "v", {"supported": ["2099-01-01"]})])
    with pytest.raises(RemoteError) as caught:
        await meet(link)
    assert caught.value.remote_code == -32022
    assert link.methods() == ["server/discover"]


async def test_a_remembered_legacy_server_is_not_probed_until_that_fails() -> None:
    memory = EraMemory()
    memory.put("scripted", Remembered("legacy", "2025-06-18"))
    using = Approach(approach().greeting, memory)
    link = Scripted(legacy_reply)
    peer = await meet(link, using)
    assert link.methods()[0] == "initialize"
    await peer.close()
    upgraded = Scripted(
        lambda message: [
            answer(message, DISCOVERED) if message["method"] == "server/discover" else refusal(message, -32601)
        ]
    )
    peer = await meet(Scripted(lambda message: [refusal(message, -32601)]), using, [upgraded])
    assert peer.era == "modern"
    await peer.close()


async def test_an_unknown_negotiated_version_is_refused() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message["method"] == "initialize":
            return [answer(message, initialized("1999-01-01"))]
        return legacy_reply(message)

    with pytest.raises(TransportError, match="1999-01-01"):
        await meet(Scripted(reply))


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_every_legacy_revision_is_spoken(version: str) -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        return (
            [answer(message, initialized(version))] if message.get("method") == "initialize" else legacy_reply(message)
        )

    peer = await meet(Scripted(reply))
    assert peer.revision == version
    await peer.close()


async def met_over_http(handler, using: Approach | None = None):
    """The era and revision found behind a handler, and whether the old transport was used."""
    async with serving(handler) as url, new_session() as session:
        peer = await meet_http(url, session, using or approach())
        try:
            await peer.request("tools/list", {})
        except RemoteError:
            pass
        finally:
            await peer.close()
        return peer.era, peer.revision, peer.channel.duplex


async def legacy_http(request: web.Request, refuse: web.Response) -> web.StreamResponse:
    if request.method != "POST":
        return web.Response(status=405)
    message = await request.json()
    if message["method"] == "initialize":
        return web.json_response(answer(message, initialized()))
    if request.headers.get("MCP-Protocol-Version") == "2026-07-28":
        return refuse
    return web.json_response(answer(message, {"tools": []})) if "id" in message else web.Response(status=202)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, ""),
        (400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No session"}}'),
        (404, '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}'),
        (200, '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}'),
        (406, "Not Acceptable"),
    ],
)
async def test_http_anything_but_a_modern_error_leads_to_initialize(status: int, text: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await legacy_http(request, web.Response(status=status, text=text, content_type="application/json"))

    assert await met_over_http(handler) == ("legacy", "2025-11-25", False)


@pytest.mark.parametrize("code", [-32020, -32021])
async def test_http_a_modern_error_keeps_it_modern(code: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(refusal(await request.json(), code), status=400)

    assert (await met_over_http(handler))[0] == "modern"


async def test_http_sign_in_is_not_taken_for_an_era() -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append((await request.json())["method"])
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})

    with pytest.raises(HttpFailure) as caught:
        await met_over_http(handler)
    assert caught.value.status == 401
    assert asked == ["server/discover"]


async def test_http_silence_is_no_era_either() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError("unreachable")

    with pytest.raises(RequestTimeout):
        await met_over_http(handler, approach(timeout=0.05))


def old_server(endpoint: str):
    """A server of 2024-11-05 that announces an endpoint."""
    queue: asyncio.Queue[Message] = asyncio.Queue()
    posted = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and request.path == "/mcp":
            response = await stream(request)
            await response.write(f"event: endpoint\ndata: {endpoint}\n\n".encode())
            while True:
                await response.write(b"event: message\n" + event(await queue.get()))
        if request.path != "/messages":
            return web.Response(status=404 if request.method == "GET" else 405)
        message = await request.json()
        posted.append(message["method"])
        if message["method"] == "initialize":
            queue.put_nowait(answer(message, initialized("2024-11-05")))
        elif "id" in message:
            queue.put_nowait(answer(message, {"tools": []}))
        return web.Response(status=202)

    return handler, posted


async def test_http_sse_of_2024_is_found_by_its_refusals_and_remembered() -> None:
    handler, posted = old_server("/messages?session=1")
    using = approach()
    assert await met_over_http(handler, using) == ("legacy", "2024-11-05", True)
    assert posted == ["initialize", "notifications/initialized", "tools/list"]


async def test_http_sse_never_posts_to_another_origin() -> None:
    reached = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(await request.text())
        return web.Response(status=202)

    async with serving(elsewhere) as other:
        handler, posted = old_server(other)
        with pytest.raises(HttpFailure):
            await met_over_http(handler, approach(timeout=1.0))
    assert (posted, reached) == ([], [])


async def test_http_a_server_that_changed_its_era_is_probed_anew() -> None:
    memory = EraMemory()

    async def old(request: web.Request) -> web.StreamResponse:
        return await legacy_http(request, web.Response(status=400))

    async def new(request: web.Request) -> web.Response:
        message = await request.json()
        if message["method"] == "server/discover":
            return web.json_response(answer(message, DISCOVERED))
        return web.json_response(refusal(message, -32601), status=404)

    handlers = [old]

    async def handler(request: web.Request) -> web.StreamResponse:
        return await handlers[-1](request)

    async with serving(handler) as url, new_session() as session:
        using = Approach(approach().greeting, memory)
        assert (await meet_http(url, session, using)).era == "legacy"
        handlers.append(new)
        assert (await meet_http(url, session, using)).era == "modern"
        known = memory.get(url)
        assert known is not None and known.era == "modern"


def test_the_memory_is_bounded() -> None:
    memory = EraMemory(limit=2)
    for key in "abc":
        memory.put(key, Remembered("modern", "2026-07-28"))
    assert memory.get("a") is None
    assert memory.get("c") is not None


async def test_a_server_that_discovers_legacy_versions_only_is_legacy() -> None:
    def reply(message: Message) -> list[Message | bytes | None]:
        if message.get("method") == "server/discover":
            return [answer(message, {**DISCOVERED, "supportedVersions": ["2025-11-25"]})]
        return legacy_reply(message)

    peer = await meet(Scripted(reply))
    assert peer.era == "legacy"
    await peer.close()


async def test_no_common_version_is_told() -> None:
    link = Scripted(lambda message: [answer(message, {**DISCOVERED, "supportedVersions": ["2099-01-01"]})])
    with pytest.raises(TransportError, match="2099-01-01"):
        await meet(link)
