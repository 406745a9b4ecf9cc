"""Many tasks while their processes are killed all the time; what has to hold of them afterwards is in `verdict`."""

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.extensions.tasks.calling import ENDED, Answer, Caller, Refused
from tests.extensions.tasks.verdict import Kind, Told
from trunkline.errors import StorageUnavailable

ROOT = Path(__file__).parents[3]
URL = re.compile(r"http://127\.0\.0\.1:\d+/mcp(?=\s)")
NOWHERE = "http://127.0.0.1:1/mcp"
POINTS = ("create", "claim", "record", "park", "answer", "retry", "finish", "renew")
PATIENCE = 300.0
"""Seconds after which a task counts as stuck."""

POLL = 0.2


class Troupe:
    """Processes that are killed and come back.

    Parameters:
        command: starts one, which prints its URL; given the point at which it kills itself, if it does.
        folder: gets what they print.
        seed: makes the same choices again.
        size: how many at a time.
        life: when one that still lives is killed, at least and at most, by the time its start took: on a busy machine
            all would be starting all the time otherwise.
        below: words in the command lines of children of theirs that are killed too, every second or two.
    """

    def __init__(
        self,
        command: Callable[[str | None], Sequence[str]],
        folder: Path,
        seed: int,
        size: int = 3,
        life: tuple[float, float] = (0.3, 2.0),
        below: str | None = None,
    ) -> None:
        self._command = command
        self._folder = folder
        self._seed = seed
        self._size = size
        self._life = life
        self._below = below
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._began = 0
        self._took: dict[int, float] = {}
        self.urls: dict[int, str] = {}
        self.kills = 0
        self.kills_below = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them, killed again and again until the body ends."""
        chances = [random.Random(f"{self._seed} process {at}") for at in range(self._size)]
        try:
            async with asyncio.TaskGroup() as group:
                async with asyncio.TaskGroup() as first:
                    for at, chance in enumerate(chances):
                        first.create_task(self._start(at, chance))
                lives = [group.create_task(self._live(at, chance)) for at, chance in enumerate(chances)]
                if self._below is not None:
                    lives.append(group.create_task(self._cull(random.Random(f"{self._seed} below"), self._below)))
                yield
                for life in lives:
                    life.cancel()
        finally:
            for process in self._processes.values():
                process.kill()
                process.wait(20)

    async def _live(self, at: int, chance: random.Random) -> None:
        while True:
            process = self._processes[at]
            deadline = time.monotonic() + self._took[at] * chance.uniform(*self._life)
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            self.urls.pop(at)
            await asyncio.to_thread(process.wait)
            self.kills += 1
            await self._start(at, chance)

    async def _start(self, at: int, chance: random.Random) -> None:
        point = None
        if chance.random() < 0.5:
            when, method = chance.choice(("before", "after")), chance.choice(POINTS)
            point = f"{when}:{method}:{chance.randint(1, 20)}"
        self._began += 1
        began = time.monotonic()
        printed = self._folder / f"process-{self._began}"
        with printed.open("wb") as file:
            process = subprocess.Popen(self._command(point), stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        self._processes[at] = process
        while (url := URL.search(printed.read_text())) is None:
            assert process.poll() in (None, -signal.SIGKILL), printed.read_text()
            if process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        self._took[at] = time.monotonic() - began
        self.urls[at] = url[0] if url is not None else NOWHERE

    async def _cull(self, chance: random.Random, words: str) -> None:
        """Kill one of the children at a time."""
        while True:
            await asyncio.sleep(chance.uniform(0.5, 3.0))
            parents = ",".join(str(process.pid) for process in self._processes.values())
            ps = ["ps", "-ww", "-o", "pid=,args=", "--ppid", parents]
            listed = await asyncio.to_thread(subprocess.run, ps, capture_output=True, text=True)
            children = [int(line.split()[0]) for line in listed.stdout.splitlines() if words in line]
            if children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(children), signal.SIGKILL)
                    self.kills_below += 1


class Campaign:
    """Clients of a troupe.

    Parameters:
        troupe: whom they call, whoever is there at the moment.
        kinds: what they call, by name, and what is promised of it.
        seed: makes the same choices again.
    """

    def __init__(self, troupe: Troupe, kinds: Mapping[str, Kind], seed: int) -> None:
        self._troupe = troupe
        self._kinds = kinds
        self._seed = seed
        self._chance = random.Random(seed)
        self.told: dict[int, Told] = {}

    async def run(self, count: int, kills: int, together: int = 50) -> None:
        """So many calls, and more until so many processes were killed, each followed to its end."""

        async def caller(http: aiohttp.ClientSession) -> None:
            while len(self.told) < count or self._troupe.kills < kills:
                await self._follow(len(self.told), http)

        limit = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=limit) as http, asyncio.TaskGroup() as group:
            for _ in range(together):
                group.create_task(caller(http))

    async def _follow(self, n: int, http: aiohttp.ClientSession) -> None:
        told = self.told[n] = Told(random.Random(f"{self._seed} call {n}").choice(list(self._kinds)))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._start(n, told, http)
                while told.id is not None and (told.task is None or told.task["status"] not in ENDED):
                    await asyncio.sleep(self._chance.uniform(0.5, 1.5) * POLL)
                    told.task = await self._insist(http, lambda caller: caller.get(str(told.id)))
                    if told.task["status"] == "input_required":
                        await self._answer(n, told, http)
        except TimeoutError:
            return  # found by the verdict

    async def _start(self, n: int, told: Told, http: aiohttp.ClientSession) -> None:
        # A call that becomes a task while it runs has no record before: it may not be sent again.
        if not self._kinds[told.tool].kept:
            try:
                answer = await self._sent(told.tool, n, http)
            except aiohttp.ClientError:
                told.lost = True
                return
            except Refused as refused:
                if not (_says(refused, "mayHaveRun") or refused.code == StorageUnavailable.code):
                    raise
                told.lost = True
                return
        else:
            key = {"dev.trunkline/idempotencyKey": f"call-{n}"}
            answer = await self._insist(http, lambda caller: caller.call(told.tool, key, n=n))
        if answer["resultType"] == "task":
            told.id = answer["taskId"]
        else:
            told.direct = answer

    async def _sent(self, tool: str, n: int, http: aiohttp.ClientSession) -> Answer:
        """Send a call that may run once, again only where the answer says that it has not run."""
        while True:
            try:
                return await self._caller(http).call(tool, n=n)
            except IndexError:
                await asyncio.sleep(0.05)
            except Refused as refused:
                if not _says(refused, "retry"):
                    raise
                await asyncio.sleep(0.2)

    async def _answer(self, n: int, told: Told, http: aiohttp.ClientSession) -> None:
        assert told.task is not None
        keys = list(told.task["inputRequests"])

        async def send(caller: Caller) -> Answer:
            told.answers.append(f"name-{n}-{len(told.answers)}")
            answer = {"action": "accept", "content": {"name": told.answers[-1]}}
            return await caller.update(str(told.id), dict.fromkeys(keys, answer))

        await self._insist(http, send)

    async def _insist(self, http: aiohttp.ClientSession, ask: Callable[[Caller], Awaitable[Answer]]) -> Answer:
        """Ask whoever is there until somebody answers."""
        while True:
            try:
                return await ask(self._caller(http))
            except (aiohttp.ClientError, IndexError):
                await asyncio.sleep(0.05)
            except Refused as refused:
                # A busy machine's database takes longer than it may.
                if not (_says(refused, "retry") or refused.code == StorageUnavailable.code):
                    raise
                await asyncio.sleep(0.2)

    def _caller(self, http: aiohttp.ClientSession) -> Caller:
        """Raises `IndexError` while nobody is there."""
        return Caller(self._chance.choice(list(self._troupe.urls.values())), http)


def _says(refused: Refused, what: str) -> bool:
    return isinstance(refused.data, dict) and refused.data.get(f"dev.trunkline/{what}") is True


def summary(campaign: Campaign, troupe: Troupe) -> str:
    """How it went, by tool: calls by their end."""
    ends: dict[str, int] = {}
    for one in campaign.told.values():
        ends[f"{one.tool} {end_of(one)}"] = ends.get(f"{one.tool} {end_of(one)}", 0) + 1
    return f"{troupe.kills} kills, and {troupe.kills_below} below; " + ", ".join(
        f"{name}: {count}" for name, count in sorted(ends.items())
    )


def end_of(one: Told) -> str:
    if one.task is not None:
        return str(one.task["status"])
    return "unanswered" if one.lost else "direct"
