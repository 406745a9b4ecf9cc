"""A server the gateways of these tests stand before, over stdio or HTTP, that remembers what it was made to do.

`python -m tests.chaos.upstream NAME FOLDER [PORT]`. What all its processes share lies in FOLDER: every execution of
`count` with its caller's id, and the version of what they show, which `publish` raises.
"""

import asyncio
import os
import sqlite3
import sys
from pathlib import Path

from trunkline import Context, Keys, Server

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
STATE = "chaos://{}/state"
KEY = b"k" * 32
_POLL = 0.1


class Folder:
    """What outlives every process of the server: executions in SQLite, the version in a file."""

    def __init__(self, path: Path) -> None:
        self._executions = path / "executions.db"
        self._version = path / "version"

    def prepare(self) -> None:
        """Make it, once."""
        self._version.write_text("0")
        with sqlite3.connect(self._executions) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE executions (id TEXT, pid INTEGER)")

    def version(self) -> int:
        """Of what is shown."""
        return int(self._version.read_text())

    def publish(self) -> int:
        """Show something else from now on."""
        later = self.version() + 1
        fresh = self._version.with_suffix(".new")
        fresh.write_text(str(later))
        fresh.replace(self._version)
        return later

    def execute(self, id: str) -> None:
        """Note that `count` ran."""
        with sqlite3.connect(self._executions, timeout=20) as connection:
            connection.execute("INSERT INTO executions VALUES (?, ?)", (id, os.getpid()))

    def executions(self) -> dict[str, int]:
        """How often `count` ran, by its caller's id."""
        with sqlite3.connect(self._executions, timeout=20) as connection:
            return dict(connection.execute("SELECT id, count(*) FROM executions GROUP BY id").fetchall())


def extra(version: int) -> str:
    """The tool that is there in this version alone."""
    return f"extra_{version}"


def build(name: str, folder: Folder) -> Server:
    """The server."""
    # Every process of it reads what another one sealed: a round goes on wherever it lands.
    server = Server(name, keys=Keys([KEY]))
    shown = folder.version()

    @server.tool(annotations={"readOnlyHint": True})
    async def look(n: int) -> int:
        """Give the number back."""
        return n

    @server.tool
    async def count(id: str) -> str:
        """Do something that must not be done twice."""
        folder.execute(id)
        return id

    @server.tool(annotations={"idempotentHint": True})
    async def slow(seconds: float, context: Context) -> str:
        """Take a while, and tell of it."""
        for step in range(1, 6):
            await context.progress(step, total=5)
            await asyncio.sleep(seconds / 5)
        return "done"

    @server.tool(annotations={"readOnlyHint": True})
    async def greet(context: Context) -> str:
        """Ask for a name."""
        answer = await context.elicit("Who is there?", NAME)
        return f"Hello {(answer.content or {})['name']}"

    @server.resource(STATE.format(name))
    def state() -> str:
        """The version."""
        return str(folder.version())

    def add_extra(version: int) -> None:
        def here() -> int:
            """Tell the version."""
            return version

        server.tool(name=extra(version), annotations={"readOnlyHint": True})(here)

    async def watch() -> None:
        nonlocal shown
        while True:
            await asyncio.sleep(_POLL)
            now = folder.version()
            if now != shown:
                server.remove_tool(extra(shown))
                add_extra(now)
                shown = now
                server.notify_resource_updated(STATE.format(name))

    watching: list[asyncio.Task[None]] = []

    @server.on_start
    async def begin() -> None:
        watching.append(asyncio.create_task(watch()))

    add_extra(shown)
    return server


def main() -> None:
    """Serve until told to stop."""
    name, path, *port = sys.argv[1:]
    server = build(name, Folder(Path(path)))
    if port:
        server.run("http", port=int(port[0]))
    else:
        server.run()


if __name__ == "__main__":
    main()
