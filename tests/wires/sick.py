"""A server that falls ill when told to: the argument `fault` of its tool `do` says of what. It is well otherwise.

`python -m tests.wires.sick WIRE PORT FILE`: once FILE exists, it lists other tools.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.wires.server import App, Refusal, notification, run

FLOOD = 2.0
"""Seconds a flood of messages goes on, whoever wants it to end."""

ENDLESS = 500_000_000
"""Bytes of a message that never ends, unless somebody hangs up."""

HUGE = 70_000_000
HUGE_LINE = 17_000_000
"""Bytes of a result that is larger than is accepted of a body, and of a line."""

SCHEMA = {"type": "object"}


class Sick(App):
    """One method for each illness; what it returns is the answer, and None is none."""

    capabilities: Mapping = {"tools": {"listChanged": True}}

    async def handle(self, method, params, session, out, headers):
        changed = Path(sys.argv[3]).exists()
        if method == "tools/list":
            names = ("echo", "pid", "fresh") if changed else ("echo", "pid", "do", "old")
            return self.whole({"tools": [{"name": name, "inputSchema": SCHEMA} for name in names]}, listed=True)
        if method != "tools/call":
            raise Refusal(-32601, "Method not found")
        arguments = params.get("arguments", {})
        if params["name"] == "do":
            return await getattr(self, arguments["fault"].replace("-", "_"))(out, params)
        if params["name"] not in ("echo", "pid", "fresh" if changed else "old"):
            raise Refusal(-32602, f"Unknown tool: {params['name']}")
        return self.text(os.getpid() if params["name"] == "pid" else arguments)

    def text(self, what):
        return self.whole({"content": [{"type": "text", "text": json.dumps(what)}]})

    def response(self, out, result=None):
        return {"jsonrpc": "2.0", "id": out.id, "result": result or self.text("done")}

    async def event(self, out, data):
        """Bytes as a line, or as an event."""
        await out.write(data + b"\n" if self.wire.endswith("stdio") else b"data: " + data + b"\n\n")

    # --- the process --------------------------------------------------------------------------------------------------

    async def killed(self, out, params):
        os.kill(os.getpid(), signal.SIGKILL)

    async def stopped(self, out, params):
        os.kill(os.getpid(), signal.SIGSTOP)
        return self.text("done")

    async def cut(self, out, params):
        """Die in the middle of a message."""
        await out.write(b'data: {"jsonrpc": "2.0", "id"' if not self.wire.endswith("stdio") else b'{"jsonrpc": "2.0", ')
        os.kill(os.getpid(), signal.SIGKILL)

    # --- silence ------------------------------------------------------------------------------------------------------

    async def hung(self, out, params):
        await asyncio.Event().wait()

    async def slow(self, out, params):
        """Work for longer than silence may last, with signs of life."""
        for step in range(6):
            await asyncio.sleep(0.5)
            token = params["_meta"]["progressToken"]
            await out.send(notification("progress", {"progressToken": token, "progress": step}))
        return self.text("done")

    # --- nonsense -----------------------------------------------------------------------------------------------------

    async def noise(self, out, params):
        """Lines that are no messages, and the answer among them."""
        for line in (b"Welcome!", b'{"half": ', b"[1, 2", b"\x00\xff binary", b'"text"', b"[[[", b"null"):
            await self.event(out, line)
        return self.text("done")

    async def garbage(self, out, params):
        """No answer that could be read."""
        await self.event(out, b'{"jsonrpc": "2.0", "id": %d, "result": ' % out.id)

    async def nonsense(self, out, params):
        return 5

    async def misshapen(self, out, params):
        return self.whole({"content": "a string"})

    async def twice(self, out, params):
        await out.send(self.response(out))
        await out.send(self.response(out, self.text("again")))

    async def others(self, out, params):
        """Answers to requests nobody sent."""
        for id in (out.id + 1000, "x", None, True, {}, [out.id]):
            await out.send({"jsonrpc": "2.0", "id": id, "result": self.text("theirs")})

    async def malformed(self, out, params):
        """Framing that is none, and the answer behind it."""
        for line in (b"\xff\xfe: \x00", b"retry: soon", b"id: \x00", b"event", b"dat", b":", b"data", b"event: other"):
            await out.write(line + b"\n\n")
        return self.text("done")

    # --- too much -----------------------------------------------------------------------------------------------------

    async def chatter(self, out, params):
        """Notifications without end, and no answer."""
        told = [
            notification("message", {"level": "error", "data": "x" * 200}),
            notification("tools/list_changed", {}),
            notification("progress", {"progressToken": "nobody's", "progress": 1}),
        ]
        event = b"".join(
            json.dumps(one).encode() + b"\n"
            if self.wire.endswith("stdio")
            else b"data: %s\n\n" % json.dumps(one).encode()
            for one in told
        )
        until = time.monotonic() + FLOOD

        async def pour():
            while time.monotonic() < until:
                await out.write(event * 100)

        await asyncio.shield(asyncio.ensure_future(pour()))
        await self.hung(out, params)

    async def endless(self, out, params):
        """A message without end."""
        if self.wire.endswith("stdio"):
            await out.write(b"{" + b"x" * 2 * HUGE_LINE + b"\n")
            await self.hung(out, params)
        await out.write(b'data: {"')
        for _ in range(ENDLESS // 1_000_000):
            await out.write(b"x" * 1_000_000)
        await self.hung(out, params)

    async def body(self, out, params):
        """A JSON body without end."""
        await out.open("application/json")
        for _ in range(ENDLESS // 1_000_000):
            await out.write(b" " * 1_000_000)
        await self.hung(out, params)

    async def huge(self, out, params):
        head, tail = json.dumps(self.response(out, self.text("HUGE"))).encode().split(b"HUGE")
        if self.wire.endswith("stdio"):
            await out.write(head + b"x" * HUGE_LINE + tail + b"\n")
            return
        if self.wire != "sse":
            await out.open("application/json")
        await out.write(head if self.wire != "sse" else b"data: " + head)
        for _ in range(HUGE // 1_000_000):
            await out.write(b"x" * 1_000_000)
        await out.write(tail + b"\n\n")

    # --- broken streams -----------------------------------------------------------------------------------------------

    async def resumable(self, out, params):
        """Break off after an event with an id; the rest is told to who comes back."""
        await out.send(notification("message", {"level": "info", "data": 1}), id=f"resume-{out.id}")
        out.cut()

    async def lost(self, out, params):
        """Break off after an event with an id that is good for nothing."""
        await out.send(notification("message", {"level": "info", "data": 1}), id="lost")
        out.cut()

    async def forgotten(self, out, params):
        """Break off, and forget the session."""
        out.session.gone = True
        await self.lost(out, params)

    async def resume(self, last, out):
        if not last.startswith("resume-"):
            return False
        out.id = int(last.removeprefix("resume-"))
        await out.send(self.response(out))
        return True


if __name__ == "__main__":
    run(Sick, sys.argv)
