"""Clients of others under chaos: each a process that calls and listens, and prints what became of it."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Call, GivenUp, Ledger
from tests.interop.running import MODULES, NODE, PYTHON, ROOT, environment

PEERS = Path(__file__).with_name("peers")
KINDS = ("python-sdk modern", "python-sdk legacy", "typescript modern", "typescript legacy")


def command(kind: str) -> list[str]:
    """The program of a kind of client; scripts for Node lie where they find their packages."""
    client, mode = kind.split()
    if client == "python-sdk":
        return [str(PYTHON), str(PEERS / "sdk_client.py"), mode]
    folder = MODULES / "chaos"
    folder.mkdir(exist_ok=True)
    shutil.copy(PEERS / "ts_client.mjs", folder)
    return [str(NODE), str(folder / "ts_client.mjs"), mode]


class Other:
    """One such process."""

    def __init__(self, kind: str, ledger: Ledger, log: Path) -> None:
        self.who = kind
        self.view: dict[str, Any] = {}
        self.notes: list[str] = []
        self._ledger = ledger
        self._log = log
        self._done = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, *arguments: str) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command(self.who), *arguments, cwd=ROOT, env=environment(), limit=2**20,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read())

    async def finish(self) -> None:
        """No more calls; those under way are waited for."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"stop\n")
        waiting = asyncio.create_task(self._done.wait())
        assert self._reading is not None
        await asyncio.wait([waiting, self._reading], timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert self._done.is_set(), f"{self.who} did not finish:\n{self._log.read_text()[-3000:]}"

    def check(self) -> None:
        """Fails where it has ended by itself: nothing would be counted from then on."""
        assert self._reading is not None
        assert not self._reading.done(), f"{self.who} ended:\n{self._log.read_text()[-3000:]}"

    async def destroy(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()

    def behind(self, version: int, upstreams: tuple[str, ...]) -> str:
        """What its listener lacks of a version; empty when it is right."""
        tools = sorted(f"{where}__extra_{version}" for where in upstreams)
        right = {"tools": tools, "states": {where: str(version) for where in upstreams}}
        if self.view == right:
            return ""
        return f"{self.who} sees {self.view}; version {version} is shown; {self.notes[-3:]}"

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            if "what" in told:
                self._ledger.calls.append(Call(self.who, **told))
            elif "tools" in told:
                self.view = told
            elif "gave_up" in told:
                caller = bool(told.get("caller"))
                self._ledger.given_up.append(GivenUp(self.who, told["when"], told["gave_up"], caller))
            elif "note" in told:
                self.notes.append(told["note"])
                if told["note"].startswith("unhandled"):
                    print(f"{self.who}: {told['note']}", file=sys.stderr)
            elif told.get("done"):
                self._done.set()
