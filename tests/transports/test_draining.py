"""A server that is told to stop, as a process: what is under way ends well, what is new is turned away in time."""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.transports.connections import heard, hurried, reached, spoken
from tests.transports.fixture import call
from tests.transports.web import Events, Web

ROOT = Path(__file__).parents[2]
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "wait"}
INTERRUPTED = {"code": -31008, "data": {"dev.trunkline/retry": True, "dev.trunkline/mayHaveRun": True}}


class Program:
    """A running server and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.port = port
        self.web = Web(port, http)
        self.web.always = MODERN

    async def begin(self, seconds: float) -> Events:
        """A call that has certainly begun."""
        events = Events(await self.web.post(call("slow", "wait", {"seconds": seconds}, token="t", modern=True)))
        assert (await events.message() or {})["method"] == "notifications/progress"
        return events

    async def ready(self) -> tuple[int, dict[str, object]]:
        """What a balancer is told, on a connection of its own."""
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{self.port}/readyz") as response:
            return response.status, await response.json()

    async def refuses_connections(self) -> None:
        """Return once nobody takes a new connection any more."""
        with contextlib.suppress(OSError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await asyncio.sleep(0.02)

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> str:
        """Wait for its end in good order; returns what it logged."""
        assert self.process.stderr is not None
        logged = await asyncio.wait_for(self.process.stderr.read(), 30)
        assert await self.process.wait() == 0
        return logged.decode()


@contextlib.asynccontextmanager
async def program(delay: float, timeout: float) -> AsyncIterator[Program]:
    """A server that is killed at the end, unless it has ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.transports.stage_http",
        str(delay),
        str(timeout),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        found = re.search(rb"http://127\.0\.0\.1:(\d+)/mcp", await process.stderr.readline())
        assert found is not None
        async with aiohttp.ClientSession() as http:
            yield Program(process, int(found[1]), http)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_call_that_is_short_enough_is_answered_and_then_the_server_ends() -> None:
    async with program(0, 20) as server:
        slow = await server.begin(1)
        server.tell()
        await server.refuses_connections()

        (answer,) = await slow.rest()

        assert answer["result"]["content"][0]["text"] == "waited 1 s"
        assert "Traceback" not in await server.ended()


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_call_that_is_too_long_is_answered_with_an_error(streaming: bool) -> None:
    async with program(0, 0.5) as server:
        if streaming:
            slow = await server.begin(60)
            server.tell()
            (answer,) = await slow.rest()
        else:
            asking = asyncio.create_task(server.web.post(call("slow", "wait", {"seconds": 60}, modern=True)))
            await (await server.begin(0)).rest()
            server.tell()
            response = await asking
            assert (response.status, response.headers["Connection"]) == (200, "close")
            answer = await response.json()

        assert answer["id"] == "slow"
        assert answer["error"] | INTERRUPTED == answer["error"]
        assert "tools/call was interrupted" in answer["error"]["message"]
        assert "Traceback" not in await server.ended()


@pytest.mark.parametrize("revision", ["2025-11-25", "2025-03-26"])
async def test_a_call_of_a_session_that_is_too_long_is_answered_with_an_error(revision: str) -> None:
    async with program(0, 0.5) as server:
        server.web.always = {}
        await server.web.begin(revision)
        slow = Events(await server.web.post(call("slow", "wait", {"seconds": 60}, token="t")))
        assert (await slow.message() or {})["method"] == "notifications/progress"
        server.tell()

        (answer,) = await slow.rest()

        assert answer["error"] | INTERRUPTED == answer["error"]
        assert "Traceback" not in await server.ended()


async def test_a_second_signal_ends_it_at_once() -> None:
    async with program(60, 60) as server:
        slow = await server.begin(60)
        server.tell()
        assert (await server.ready())[0] == 503
        server.tell(signal.SIGINT)

        (answer,) = await slow.rest()

        assert answer["error"]["code"] == -31008
        assert "Traceback" not in await server.ended()


async def test_while_balancers_notice_it_goes_on_and_asks_for_no_more_on_each_connection() -> None:
    async with program(7, 20) as server:
        quick = call(1, "wait", {"seconds": 0}, modern=True)
        kept = await server.web.post(quick)
        assert "Connection" not in kept.headers
        await kept.read()
        assert await server.ready() == (200, {"status": "ready"})
        asked = asyncio.create_task(server.web.post(call(2, "wait", {"seconds": 4}, modern=True)))
        slow = await server.begin(9)

        server.tell()
        assert await server.ready() == (503, {"status": "draining"})

        # The first of the two goes by the connection that was kept, the second by a new one.
        for _ in range(2):
            late = await server.web.post(quick)
            assert (late.status, late.headers["Connection"]) == (200, "close")
            assert (await late.json())["result"]["content"][0]["text"] == "waited 0 s"
        assert (await asked).headers["Connection"] == "close"
        await server.refuses_connections()
        (answer,) = await slow.rest()
        assert answer["result"]["content"][0]["text"] == "waited 9 s"
        assert "Traceback" not in await server.ended()


async def test_a_connection_whose_client_does_not_read_does_not_keep_it_from_ending() -> None:
    async with program(0, 0.5) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = call(1, "wait", {"seconds": 60}, modern=True)
        head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n"
        # Half a request: it never becomes a call.
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:20])
        await writer.drain()
        await (await server.begin(0)).rest()

        server.tell()

        assert "Traceback" not in await server.ended()
        assert b"408" in (await reader.read()).splitlines()[0]
        writer.close()


async def test_no_request_is_lost_that_arrives_while_a_starved_server_closes_its_address() -> None:
    """Balancers without health checks send requests until they cannot connect; and do not repeat a POST they sent.

    The process gets no time while requests arrive on a connection it keeps, on one that is new, and on some it has not
    even taken; its drain delay is over when it goes on.
    """
    quick = spoken(call(1, "wait", {"seconds": 0}, modern=True), MODERN)
    async with program(1, 20) as server:
        kept, fresh = reached(server.port), reached(server.port)
        kept.sendall(quick)
        assert b"waited 0 s" in await asyncio.to_thread(heard, kept)
        await server.ready()  # both have been taken by now
        server.tell()
        assert (await server.ready())[0] == 503
        server.tell(signal.SIGSTOP)
        try:
            await asyncio.sleep(1.5)
            late = [reached(server.port) for _ in range(5)]
            for connection in (kept, fresh, *late):
                connection.sendall(quick)
        finally:
            server.tell(signal.SIGCONT)
        answers = [await asyncio.to_thread(heard, connection) for connection in (kept, fresh, *late)]
        for connection in (kept, fresh, *late):
            connection.close()
        assert [b"waited 0 s" in answer for answer in answers] == [True] * 7
        assert all(b"connection: close" in answer.lower() for answer in answers)
        assert "Traceback" not in await server.ended()


async def test_every_connection_that_could_be_made_gets_its_answer() -> None:
    async with program(1, 20) as server:
        await server.ready()
        quick = spoken(call(1, "wait", {"seconds": 0}, modern=True), MODERN)
        callers = [asyncio.create_task(asyncio.to_thread(hurried, server.port, quick)) for _ in range(4)]
        server.tell()
        seen = [what for caller in callers for what in await caller]
        assert seen.count("answered") > 10
        assert seen.count("lost") == 0
        assert "Traceback" not in await server.ended()
