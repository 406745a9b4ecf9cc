"""Official clients of both eras, our gateway, and server-everything on each of its transports: five processes' work.

Resource updates are simulated in the session that asks for them. Subscriptions of a gateway's callers are one, in a
session of its own; so they are seen where all share the process, and questions where each caller has one.
"""

import contextlib
import json
from pathlib import Path

import pytest

from tests.interop import running
from tests.interop.test_everything import everything

CLIENTS = {"python-sdk": "everything_client.py", "typescript": "everything_client.mjs"}
SHOWS = {
    "elicitation": "Ada",
    "sampling": "Paris",
    "roots": "file:///home/ada",
    "progress": [[1, 4], [2, 4], [3, 4], [4, 4]],
    "subscription": True,
    "cancellation": "Echo: still here",
}
TOGETHER = ("progress", "subscription", "cancellation")
APART = ("elicitation", "sampling", "roots", "progress", "cancellation")


@pytest.fixture(scope="module", params=["stdio", "per-session", "http", "sse"])
def target(request, tmp_path_factory):
    """How the server is reached, and the gateway's URL."""
    with contextlib.ExitStack() as stack:
        if request.param in ("stdio", "per-session"):
            command, *args = running.package("mcp-server-everything")
            entry = {"command": command, "args": [*args, "stdio"], "trunkline": {"processes": "per-session"}}
            if request.param == "stdio":
                del entry["trunkline"]
        else:
            entry = {"url": stack.enter_context(everything(request.param))}
        file = Path(tmp_path_factory.mktemp("gateway"), "mcp.json")
        file.write_text(json.dumps({"mcpServers": {"everything": entry}}))
        gateway = running.trunkline("up", str(file), "--port", "0", "--no-table")
        yield request.param, stack.enter_context(running.serving(gateway))


@pytest.mark.parametrize("mode", ["modern", "2025-11-25"])
@pytest.mark.parametrize("client", CLIENTS)
def test_what_an_official_client_sees(target, client, mode):
    how, url = target
    script = CLIENTS[client]
    start = running.node(script) if script.endswith(".mjs") else running.python(script)
    seen = running.observe([*start, mode, url])
    assert seen["revision"] == ("2026-07-28" if mode == "modern" else mode)
    for step in TOGETHER if how == "stdio" else APART:
        expected = SHOWS[step]
        assert (expected in seen[step]) if isinstance(expected, str) else (seen[step] == expected), (step, seen[step])
