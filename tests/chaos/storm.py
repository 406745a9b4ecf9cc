"""The storm: replicas behind a balancer, clients of all kinds, and what is done to the replicas meanwhile."""

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.chaos import processes
from tests.chaos.ledger import Ledger
from tests.chaos.others import Other
from tests.chaos.ours import OURS, Caller, Listener, Resent
from tests.chaos.processes import Process, Web, free_port
from tests.chaos.upstream import Folder
from tests.transports import web as client
from tests.transports.fixture import request
from trunkline.protocol.revisions import Era
from trunkline.storage import keyfile

ERAS: tuple[Era, ...] = ("modern", "legacy")
DRAIN = 15.0


@dataclass(frozen=True)
class Shape:
    """How hard it blows.

    Parameters:
        seed: of all choices.
        replicas: of the gateway.
        kills: how many, in turn.
        gap: seconds between two, at least: one replica always stays.
        calm: seconds before the first.
        callers, listeners: of our clients, for each era.
        pause: mean seconds between two calls of a client.
        others: kinds of clients of others.
        legacy: have the reference server of the legacy era among the upstreams.
    """

    seed: int = 1
    replicas: int = 3
    kills: int = 3
    gap: float = 5.0
    calm: float = 2.0
    callers: int = 2
    listeners: int = 2
    pause: float = 0.3
    others: tuple[str, ...] = ()
    legacy: bool = True


class Storm:
    """Everything that runs, and the ledger of what became of it."""

    def __init__(self, shape: Shape, home: Path, storage: str) -> None:
        self.shape = shape
        self.ledger = Ledger()
        self.folder = Folder(home)
        self.behind: list[str] = []
        """What listeners had missed at the end."""
        self.listeners: list[Listener] = []
        self.callers: list[Caller] = []
        self.others = [Other(kind, self.ledger, home / f"{kind.replace(' ', '-')}.log") for kind in shape.others]
        self._random = random.Random(shape.seed)
        web, every = free_port(), free_port()
        self.upstreams = [processes.upstream("web", home, web)]
        if shape.legacy:
            self.upstreams.append(processes.everything(home, every))
        config = home / "mcp.json"
        config.write_text(json.dumps({"mcpServers": _servers(home, web, every if shape.legacy else None)}))
        options = ["--storage", storage, "--drain-delay", "1", "--drain-timeout", str(DRAIN)]
        if not storage.startswith("sqlite:"):
            # Beside a file of a database there is one of keys, made at the first start.
            keyfile.new(home / "keys.json")
            options += ["--keys", str(home / "keys.json")]
        self.replicas: list[Web] = [
            processes.replica(config, home / f"replica-{number}.log", *options) for number in range(shape.replicas)
        ]
        self.balancer = processes.balancer([one.port for one in self.replicas], home)
        self.url = f"http://127.0.0.1:{self.balancer.port}/mcp"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it all; everything has ended afterwards."""
        every: list[Process] = [*self.upstreams, *self.replicas, self.balancer]
        self.folder.prepare()
        try:
            for one in every:
                one.start()
            for one in every:
                assert isinstance(one, Web)
                await asyncio.to_thread(one.wait_ready)
            yield
        finally:
            for one in reversed(every):
                one.destroy()

    @asynccontextmanager
    async def ours(self) -> AsyncIterator[None]:
        """Our clients at work; leaving, callers finish what they began, and listeners get time to catch up."""
        shape, going = self.shape, asyncio.Event()
        logger, resent = logging.getLogger("trunkline.client"), Resent()
        level = logger.level
        logger.addHandler(resent)
        logger.setLevel(logging.INFO)
        self.listeners = [Listener(self.url, era) for era in ERAS for _ in range(shape.listeners)]
        self.callers = [
            Caller(self.url, era, self.ledger, shape.seed, number * 2 + place, legacy=shape.legacy)
            for place, era in enumerate(ERAS)
            for number in range(shape.callers)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                hearing = [group.create_task(one.run()) for one in self.listeners]
                for caller in self.callers:
                    group.create_task(caller.run(going, shape.pause))
                yield
                going.set()
                await self._settle()
                for task in hearing:
                    task.cancel()
            self.listeners = []
        finally:
            logger.removeHandler(resent)
            logger.setLevel(level)

    @asynccontextmanager
    async def theirs(self) -> AsyncIterator[None]:
        """The clients of others at work, in the same way."""
        upstreams = ",".join([*OURS, "everything"] if self.shape.legacy else OURS)
        try:
            for other in self.others:
                await other.start(self.url, str(self.shape.seed), str(self.shape.pause), upstreams)
            yield
            await asyncio.gather(*(other.finish() for other in self.others))
            await self._settle()
        finally:
            for other in self.others:
                await other.destroy()

    def chance(self, part: float) -> bool:
        """True in this part of all cases, by the seed."""
        return self._random.random() < part

    async def kill_in_turn(self) -> None:
        """SIGKILL to one replica after the other, each started again soon."""
        shape = self.shape
        await asyncio.sleep(shape.calm)
        away: list[asyncio.Task[None]] = []
        together = max(1, len(self.replicas) - 1)
        for number in range(shape.kills):
            self.folder.publish()
            while sum(not one.done() for one in away) >= together:
                await asyncio.wait(away, return_when=asyncio.FIRST_COMPLETED)
                away = [one for one in away if not one.done()]
            victim = next(one for one in _round(self.replicas, number) if not one.away)
            away.append(asyncio.create_task(self.kill(victim)))
            await asyncio.sleep(self._random.uniform(0.7, 1.3) * shape.gap)
        await asyncio.gather(*away)
        for other in self.others:
            other.check()

    async def kill(self, victim: Web) -> None:
        """SIGKILL to a replica; waits until it is back."""
        victim.away = True
        with self.ledger.blow("kill"):
            victim.kill()
        await asyncio.sleep(self._random.uniform(0, 1))
        if self._random.random() < 0.5:
            self.folder.publish()
        victim.start()
        await asyncio.to_thread(victim.wait_ready)
        # Balancers take a moment to see it.
        await asyncio.sleep(1)
        victim.away = False

    async def deploy(self) -> None:
        """One replica after the other gets SIGTERM, ends, and is started as new."""
        for replica in self.replicas:
            with self.ledger.blow("deploy"):
                replica.terminate()
                status = await asyncio.to_thread(replica.wait)
                assert status == 0, f"it ended with {status}:\n{replica.log.read_text()[-2000:]}"
                self.folder.publish()
                replica.start()
                await asyncio.to_thread(replica.wait_ready)
            # Balancers take a moment to see it.
            await asyncio.sleep(1)

    async def _settle(self) -> None:
        """Until every listener sees what is shown, at most a while."""
        version = self.folder.publish()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._behind(version):
            await asyncio.sleep(0.1)
        self.behind += self._behind(version)

    def _behind(self, version: int) -> list[str]:
        told = [one.behind(version) for one in self.listeners]
        told += [one.behind(version, OURS) for one in self.others]
        return [one for one in told if one]


def _servers(home: Path, web: int, every: int | None) -> dict[str, object]:
    command = ["-m", "tests.chaos.upstream", "cmd", str(home)]
    servers: dict[str, object] = {
        "web": {"type": "http", "url": f"http://127.0.0.1:{web}/mcp"},
        "cmd": {
            "command": sys.executable,
            "args": command,
            "trunkline": {"processes": "per-session", "lost_process": "replace"},
        },
    }
    if every is not None:
        servers["everything"] = {"type": "http", "url": f"http://127.0.0.1:{every}/mcp"}
    return servers


def _round(replicas: Sequence[Web], number: int) -> list[Web]:
    place = number % len(replicas)
    return [*replicas[place:], *replicas[:place]]


@asynccontextmanager
async def idle_sessions(storm: Storm, count: int = 50) -> AsyncIterator[None]:
    """Sessions whose clients do nothing meanwhile: each of them lives on."""
    async with aiohttp.ClientSession() as http:
        sessions = [client.Web(storm.balancer.port, http) for _ in range(count)]
        for one in sessions:
            await one.begin()
        yield
        alive = [(await one.post(request(1, "ping"))).status == 200 for one in sessions]
        for one in sessions:
            one.close()
    assert all(alive), f"{alive.count(False)} of {count} idle sessions are gone"


async def blow(storm: Storm, parts: Sequence[str] = ("kill", "deploy")) -> None:
    """The whole of it."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(storm.running())
        async with idle_sessions(storm), storm.theirs(), storm.ours():
            if "kill" in parts:
                await storm.kill_in_turn()
            if "deploy" in parts:
                await storm.deploy()
