"""What sessions and calls leave behind or pile up: counted, and as a slope of resident memory."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Mapping

import pytest

from tests.transports.fixture import INITIALIZED, Stage, application_of, call, initialize
from trunkline.runtime import inflight
from trunkline.transports import streams
from trunkline.transports.http import HTTPTransport

BYTES_A_SESSION = 100
ROUNDS = 3
_FIELDS = [
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
]


def resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def ask(
    app: HTTPTransport, method: str, body: bytes = b"", session: bytes | None = None, last: bytes | None = None
) -> tuple[int, Mapping[bytes, bytes], bytes]:
    """One HTTP request without a socket, whose buffers would be measured as well."""
    fields = [*_FIELDS, *([(b"mcp-session-id", session)] if session is not None else [])]
    fields += [(b"last-event-id", last)] if last is not None else []
    scope = {"type": "http", "method": method, "path": "/mcp", "headers": fields, "root_path": ""}
    sent: list[Mapping[str, object]] = []

    bodies = [body]

    async def receive() -> Mapping[str, object]:
        if not bodies:
            # As a client that stays: a task that watches for its leaving waits.
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(event: Mapping[str, object]) -> None:
        sent.append(event)

    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(event.get("body", b"") for event in sent)


async def plain(app: HTTPTransport) -> None:
    """A session that is made and dropped."""
    status, headers, _ = await ask(app, "POST", initialize())
    session = headers[b"mcp-session-id"]
    assert status == 200
    assert (await ask(app, "POST", INITIALIZED, session))[0] == 202
    assert (await ask(app, "DELETE", b"", session))[0] == 204


async def busy(app: HTTPTransport) -> None:
    """One with a call answered by JSON before it is dropped."""
    _, headers, _ = await ask(app, "POST", initialize())
    session = headers[b"mcp-session-id"]
    _, _, body = await ask(app, "POST", call(1, "echo", {"text": "x"}), session)
    assert b'"text":"x"' in body
    await ask(app, "DELETE", b"", session)


@pytest.mark.parametrize(("life", "count"), [(plain, 20_000), (busy, 5_000)])
async def test_sessions_made_and_dropped_leave_nothing(
    life: Callable[[HTTPTransport], Awaitable[None]], count: int
) -> None:
    application = application_of(Stage())
    app = HTTPTransport(application)
    for _ in range(1000):
        await life(app)
    objects = len(gc.get_objects())
    slopes: list[float] = []
    # What sessions leave behind grows in every round; a heap that settles after the tests before this one, once.
    while len(slopes) < ROUNDS and (not slopes or slopes[-1] >= BYTES_A_SESSION):
        before = resident()
        for _ in range(count):
            await life(app)
        slopes.append((resident() - before) / count)
    print(f"{life.__name__}: {slopes} bytes a session over {count}")
    assert min(slopes) < BYTES_A_SESSION
    assert len(gc.get_objects()) - objects < 200
    assert not application.inflight.calls
    await application.stop()


async def test_a_client_that_stops_reading_holds_up_nothing_and_piles_up_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_STUCK", 0.05)
    monkeypatch.setattr(inflight, "PERIOD", 0.02)
    application = application_of(stage)
    app = HTTPTransport(application)
    _, headers, _ = await ask(app, "POST", initialize())
    session = headers[b"mcp-session-id"]
    never = asyncio.Event()
    seen: list[bytes] = []

    async def receive() -> Mapping[str, object]:
        if seen:
            await never.wait()
        return {"type": "http.request", "body": call(1, "count", {"n": 20_000}, token="t"), "more_body": False}

    async def send(event: Mapping[str, object]) -> None:
        seen.append(event.get("body", b""))
        if len(seen) > 5:
            await never.wait()

    scope = {"type": "http", "method": "POST", "path": "/mcp", "root_path": ""}
    scope["headers"] = [*_FIELDS, (b"mcp-session-id", session)]
    stuck = asyncio.create_task(app(scope, receive, send))
    while not seen:
        await asyncio.sleep(0.005)
    while stage.running:
        await asyncio.sleep(0.005)
    kept = sum(len(log.events) for log in application.shared.events._streams.values())
    assert kept < 1000
    last = seen[-1].partition(b"id: ")[2].partition(b"\n")[0]
    _, _, rest = await ask(app, "GET", b"", session, last)
    assert b'"text":"20000"' in rest
    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    await application.stop(0)
