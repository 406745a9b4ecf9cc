"""A run of many seeded inputs over HTTP, judged one by one. Input number n of seed s is always the same bytes."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

from tests.fuzz import oracle, requests
from tests.fuzz.exchange import Answer, Connection, Hang
from tests.fuzz.messages import LEGACY
from tests.fuzz.requests import BASE, Case, Fields, mirrored, post
from tests.fuzz.running import Neighbour, Target, good_call

KINDS = (requests.message_case, requests.header_case, requests.session_case, requests.attack_case)
WEIGHTS = (78, 10, 4, 8)


class Campaign:
    """Inputs from a seed against a running server.

    Parameters:
        target: the server.
        seed: decides every input.
        workers: connections at once.

    Attributes:
        faults: what was wrong, with the number of the input.
        kinds, statuses: how many inputs of each kind, answers of each status.
        sessions: legacy sessions made and dropped.
    """

    def __init__(self, target: Target, seed: int, workers: int = 6) -> None:
        self._target = target
        self._seed = seed
        self._workers = workers
        self.faults: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.sessions = 0

    async def run(self, start: int, stop: int) -> None:
        """Send the inputs numbered from `start` to before `stop`."""
        numbers = iter(range(start, stop))
        await asyncio.gather(*(self._work(numbers) for _ in range(self._workers)))
        self.faults += self._target.trouble()

    def case(self, number: int, session: Fields) -> Case:
        """One input."""
        choose = random.Random(f"{self._seed}/{number}")
        return choose.choices(KINDS, WEIGHTS)[0](choose, session)

    async def _work(self, numbers: Iterator[int]) -> None:
        async with Connection(self._target.port) as own, Connection(self._target.port) as other:
            for number in numbers:
                revision = LEGACY[number % len(LEGACY)]
                session = await self._open_session(own, revision)
                for one in (number, *islice(numbers, 24)):
                    case = self.case(one, session)
                    case.session = revision
                    await self._one(one, case, own, other)
                await self._close_session(own, session)

    async def _one(self, number: int, case: Case, own: Connection, other: Connection) -> None:
        self.kinds[case.kind] += 1
        try:
            if case.whole:
                answers = [await own.ask(case.steps[0])]
            else:
                answers = await other.play(case)
            faults = [fault for answer in answers for fault in self._judge(case, answer)]
            for answer in answers:
                # An input may be a good `initialize`; what it began is ended, so that memory shows leaks alone.
                if "mcp-session-id" in answer.headers:
                    await self._close_session(own, [("Mcp-Session-Id", answer.headers["mcp-session-id"])])
        except (Hang, OSError, ValueError, EOFError) as error:
            faults = [f"{type(error).__name__}: {error}"]
        self.faults += [f"input {self._seed}/{number} ({case.kind}): {fault}" for fault in faults]

    def _judge(self, case: Case, answer: Answer) -> list[str]:
        self.statuses[answer.status] += 1
        return list(oracle.exchange(case, answer) if case.whole else oracle.response(answer))

    async def _open_session(self, connection: Connection, revision: str) -> Fields:
        """A legacy session for what needs one."""
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "fuzz", "version": "1"}}
        hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        answer = await connection.ask(post(json.dumps(hello).encode(), list(BASE)))
        return [("Mcp-Session-Id", answer.headers["mcp-session-id"])]

    async def _close_session(self, connection: Connection, session: Fields) -> None:
        await connection.ask(requests.head([*BASE, *session], "DELETE /mcp HTTP/1.1"))
        self.sessions += 1


async def besieged(target: Target, seed: int, start: int, stop: int, tool: str = "add") -> tuple[Campaign, Neighbour]:
    """Run a campaign while a neighbour calls."""
    campaign = Campaign(target, seed)
    async with neighbourhood(target, tool) as neighbour:
        await campaign.run(start, stop)
    return campaign, neighbour


@asynccontextmanager
async def neighbourhood(target: Target, tool: str = "add") -> AsyncIterator[Neighbour]:
    """A neighbour calls while the block runs."""
    neighbour = Neighbour(target.port, tool)
    calling = asyncio.create_task(neighbour.run())
    try:
        yield neighbour
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def call_upstreams(target: Target, start: int, stop: int) -> list[str]:
    """Call the tools that are answered with garbage, through the gateway; what was wrong with its answers."""
    faults: list[str] = []

    async def work(tool: str) -> None:
        async with Connection(target.port) as connection:
            for number in range(start, stop):
                message = good_call(number, number, tool)
                body = json.dumps(message).encode()
                case = Case(tool, [post(body, [*BASE, *mirrored(message)])], True, body)
                try:
                    answer = await connection.ask(case.steps[0])
                    wrong = list(oracle.response(answer, forwarded=True))
                except (Hang, OSError, ValueError) as error:
                    wrong = [f"{type(error).__name__}: {error}"]
                faults.extend(f"{tool} {number}: {one}" for one in wrong)

    await asyncio.gather(work("lines__bad"), work("web__bad"))
    return faults + target.trouble()
