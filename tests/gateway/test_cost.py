"""What one `tools/call` through the gateway costs, counted, not timed: frames, tasks, timers, futures.

The upstream is real and runs on a thread of its own. Frames are those of this project, because how many the HTTP client
needs is not ours to say; tasks, timers and futures are all there are. The least of several calls counts: now and then
one meets the sweeper, which is there once for all.
"""

import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

import pytest

import trunkline
from tests.counting import CountingLoop
from trunkline.engine.engine import Engine
from trunkline.gateway import Federation
from trunkline.portable.model import Entry
from trunkline.protocol import messages
from trunkline.runtime.application import Application
from trunkline.transports.http import HTTPTransport

FRAMES = 100
OURS = str(Path(trunkline.__file__).parent)
REVISION = "2026-07-28"
NAME = "up0__add"
BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": NAME,
            "arguments": {"a": 1, "b": 2},
            "_meta": {messages.VERSION_KEY: REVISION, messages.CAPABILITIES_KEY: {}},
        },
    },
    separators=(",", ":"),
).encode()
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/mcp",
    "root_path": "",
    "scheme": "http",
    "client": ("127.0.0.1", 50000),
    "headers": [
        (b"host", b"127.0.0.1:8000"),
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"mcp-protocol-version", REVISION.encode()),
        (b"mcp-method", b"tools/call"),
        (b"mcp-name", NAME.encode()),
        (b"content-length", b"%d" % len(BODY)),
    ],
}
ANSWERS = {
    "server/discover": {"supportedVersions": [REVISION], "capabilities": {"tools": {}}, "ttlMs": 3_600_000},
    "tools/list": {"tools": [{"name": "add", "inputSchema": {"type": "object"}}], "ttlMs": 3_600_000},
    "tools/call": {"content": [{"type": "text", "text": "3"}]},
}


class Upstream(BaseHTTPRequestHandler):
    """As little of a modern server as a gateway needs."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet, as servers send them

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        result = {"resultType": "complete", **ANSWERS[message["method"]]}
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mcp"
    server.shutdown()
    server.server_close()


def count(url: str, upstreams: int) -> tuple[list[str], Counter[str]]:
    """Our frames of one warm call, and what it made of tasks, timers and futures."""
    events: list[dict[str, object]] = []
    seen: list[tuple[list[str], Counter[str]]] = []
    loop = CountingLoop()
    frames: list[str] = []
    entries = [Entry(f"up{number}", "http", url=url) for number in range(upstreams)]
    app = HTTPTransport(Application(Engine(Federation(entries))))

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(event: dict[str, object]) -> None:
        events.append(event)

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            frames.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")

    async def main() -> None:
        for _ in range(20):
            frames.clear()
            loop.made.clear()
            sys.setprofile(profile)
            await app(dict(SCOPE), receive, send)
            sys.setprofile(None)
            seen.append((list(frames), Counter(loop.made)))
        await app.application.stop()

    gc.disable()  # a collection in the middle may call into Python, too
    try:
        loop.run_until_complete(main())
    finally:
        gc.enable()
        loop.close()
    assert events[-2]["status"] == 200
    assert b'"text":"3"' in events[-1]["body"]
    return min(seen, key=lambda one: (len(one[0]), one[1].total()))


@pytest.fixture(scope="module")
def costs(upstream: str) -> dict[int, tuple[list[str], Counter[str]]]:
    return {upstreams: count(upstream, upstreams) for upstreams in (1, 20)}


def test_a_call_stays_under_its_frames(costs: dict[int, tuple[list[str], Counter[str]]]) -> None:
    frames, _ = costs[1]

    assert len(frames) <= FRAMES, "\n".join(frames)


def test_a_call_makes_no_task_timer_or_future_beside_those_of_the_http_client(
    costs: dict[int, tuple[list[str], Counter[str]]],
) -> None:
    _, made = costs[1]

    # The client writes a request in a task, which since Python 3.12 begins at once, and awaits the answer in a future.
    assert made["task"] <= 1
    assert made["future"] <= 1
    assert made["timer"] == 0


def test_the_cost_does_not_grow_with_the_number_of_upstreams(
    costs: dict[int, tuple[list[str], Counter[str]]],
) -> None:
    assert costs[1] == costs[20]
