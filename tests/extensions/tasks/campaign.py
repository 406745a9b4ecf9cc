"""Many tasks while their processes are killed all the time, and what has to hold of each afterwards."""

import asyncio
import contextlib
import random
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.extensions.tasks.calling import ENDED, Answer, Caller, Refused

ROOT = Path(__file__).parents[3]
ATTEMPTS = 8
STEPS = ("one", "two", "three")
POINTS = ("create", "claim", "record", "park", "answer", "retry", "finish", "renew")
PATIENCE = 180.0
"""Seconds after which a task counts as stuck."""

POLL = 0.2


@dataclass
class Told:
    """What a client was told of one call.

    `answers`: the names it sent, of which one counts. `lost`: the call had no answer and may not be sent again.
    """

    tool: str
    id: str | None = None
    task: Answer | None = None
    answers: list[str] = field(default_factory=list)
    lost: bool = False
    direct: Answer | None = None


class Troupe:
    """Processes that are killed and come back.

    Parameters:
        command: starts one, which prints its URL; it gets a point as a further argument where it is to kill itself.
        size: how many at a time.
        chance: of a seed, so that its choices can be made again.
    """

    def __init__(self, command: Sequence[str], size: int, chance: random.Random) -> None:
        self._command = list(command)
        self._chance = chance
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._size = size
        self.urls: dict[int, str] = {}
        self.kills = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All of them, killed again and again until the body ends."""
        lives = []
        try:
            await asyncio.gather(*(self._start(at) for at in range(self._size)))
            lives = [asyncio.create_task(self._live(at)) for at in range(self._size)]
            yield
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
            for process in self._processes.values():
                self._end(process)

    async def _live(self, at: int) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 4.0))
            process = self._processes.pop(at)
            del self.urls[at]
            self._end(process)
            self.kills += 1
            await self._start(at)

    async def _start(self, at: int) -> None:
        point = []
        if self._chance.random() < 0.5:
            when, method = self._chance.choice(("before", "after")), self._chance.choice(POINTS)
            point = [f"{when}:{method}:{self._chance.randint(1, 20)}"]
        process = subprocess.Popen([*self._command, *point], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._processes[at] = process
        assert process.stdout is not None
        self.urls[at] = (await asyncio.to_thread(process.stdout.readline)).strip()

    def _end(self, process: "subprocess.Popen[str]") -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


class Campaign:
    """Clients of a troupe.

    Parameters:
        troupe: whom they call, whoever is there at the moment.
        tools: what they call.
        chance: of a seed.
    """

    def __init__(self, troupe: Troupe, tools: Sequence[str], chance: random.Random) -> None:
        self._troupe = troupe
        self._tools = tools
        self._chance = chance
        self.told: dict[int, Told] = {}

    async def run(self, count: int, together: int) -> None:
        """So many calls, so many at a time, each followed to its end."""
        numbers = iter(range(count))

        async def caller(http: aiohttp.ClientSession) -> None:
            for n in numbers:
                await self._follow(n, http)

        limit = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=limit) as http, asyncio.TaskGroup() as group:
            for _ in range(together):
                group.create_task(caller(http))

    async def _follow(self, n: int, http: aiohttp.ClientSession) -> None:
        told = self.told[n] = Told(self._chance.choice(self._tools))
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
        if told.tool == "late":
            try:
                answer = await self._caller(http).call("late", n=n)
            except (aiohttp.ClientError, IndexError):
                told.lost = True
                return
        else:
            key = {"dev.trunkline/idempotencyKey": f"call-{n}"}
            answer = await self._insist(http, lambda caller: caller.call(told.tool, key, n=n))
        if answer["resultType"] == "task":
            told.id = answer["taskId"]
        else:
            told.direct = answer

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
                if not (isinstance(refused.data, dict) and refused.data.get("dev.trunkline/retry")):
                    raise
                await asyncio.sleep(0.2)

    def _caller(self, http: aiohttp.ClientSession) -> Caller:
        """Raises `IndexError` while nobody is there."""
        return Caller(self._chance.choice(list(self._troupe.urls.values())), http)


@dataclass
class Did:
    """What functions did for one call, in order."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def of(self, what: str) -> list[str]:
        """The details of all lines of a kind."""
        return [detail for kind, detail in self.lines if kind == what]


def read(ledger: Path) -> dict[int, Did]:
    """The ledger's lines, `CALL WHAT DETAIL`, by call."""
    found: dict[int, Did] = defaultdict(Did)
    for line in ledger.read_text().splitlines() if ledger.exists() else []:
        n, what, detail = line.split()
        found[int(n)].lines.append((what, detail))
    return found


def faults(told: Mapping[int, Told], done: Mapping[int, Did]) -> list[str]:
    """What may not be, call by call; nothing where all is well."""
    found = []
    for n, one in told.items():
        did = done.get(n, Did())
        wrong = [*_ended(one), *_repeated(one, did), *_answered(one, did)]
        found += [f"{n} {one.tool} {one.id}: {what}; {one.task}; {did.lines}" for what in wrong]
    keys = [set(did.of(step)) for did in done.values() for step in STEPS]
    if sum(map(len, keys)) != len(set().union(*keys)):
        found.append("an idempotency key was used for two steps")
    return found


def _ended(one: Told) -> Iterator[str]:
    if one.lost or one.direct is not None:
        return
    if one.task is None or one.task["status"] not in ENDED:
        yield "lost or stuck"
    elif one.task["status"] == "failed":
        reason = one.task["error"].get("data", {}).get("dev.trunkline/reason")
        attempts = one.task["_meta"]["dev.trunkline/attempt"]
        if reason != "lost" or (one.tool in ("often", "flaky") and attempts < ATTEMPTS):
            yield "failed, though it may be tried again"
    elif one.task["status"] != "completed":
        yield "cancelled by nobody"


def _repeated(one: Told, did: Did) -> Iterator[str]:
    attempts = list(map(int, did.of("run")))
    if attempts != sorted(attempts) or any(attempt > ATTEMPTS for attempt in attempts):
        yield "ran beyond its policy"
    # One that may not run twice runs again only to go on from its question.
    if one.tool in ("once", "late") and len(attempts) > (2 if "told" in dict(did.lines) or one.answers else 1):
        yield "ran again though it may not"
    for step in STEPS:
        if len(set(did.of(step))) > 1:
            yield f"step {step} got two keys"
    order = [what for what, _ in did.lines if what in STEPS]
    if order != sorted(order, key=STEPS.index):
        yield "a recorded step was computed again"


def _answered(one: Told, did: Did) -> Iterator[str]:
    names = set(did.of("told"))
    if len(names) > 1:
        yield "two answers were applied to one question"
    if one.tool in ("often", "once") and one.task is not None and one.task["status"] == "completed":
        text = one.task["result"]["content"][0]["text"]
        if {text} != names or text not in one.answers:
            yield f"the answer {text!r} is not the one that was given"
