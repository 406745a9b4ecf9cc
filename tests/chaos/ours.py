"""Our own clients under chaos: they call, they listen, they answer questions, and write down what became of it."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from tests.chaos.ledger import Call, Ledger
from tests.chaos.upstream import STATE
from trunkline import Client, ElicitAnswer, ElicitRequest, ProtocolError, TrunklineError
from trunkline.protocol.revisions import Era

OURS = ("web", "cmd")
"""Upstreams that are our server: over HTTP, and over stdio with a process for each caller."""

SLOW = 1.0
SAFE = ("look", "slow", "greet", "list", "read", "echo")
"""Classes of calls that may be sent again unasked: they read, or say that they do no harm."""

_current: ContextVar[Call | None] = ContextVar("call", default=None)


class Resent(logging.Handler):
    """Counts, for the call of the moment, how often our client sent it again."""

    def emit(self, record: logging.LogRecord) -> None:
        call = _current.get()
        if call is not None and "is sent again" in record.msg:
            call.retries += 1


async def answered(request: ElicitRequest) -> ElicitAnswer:
    """A person who thinks for a moment."""
    await asyncio.sleep(random.uniform(0.1, 0.6))
    return ElicitAnswer("accept", {name: "Ada" for name in request.schema.get("properties", {}) if name == "name"})


class Caller:
    """A client that calls one thing after the other.

    Parameters:
        url: of the endpoint.
        era: the client's.
        ledger: where it writes.
        seed: of its choices.
        number: tells its executions from those of other callers.
    """

    def __init__(self, url: str, era: Era, ledger: Ledger, seed: int, number: int, *, legacy: bool) -> None:
        self.who = f"ours {era}"
        # What is lost with one replica after the other is answered as long as its caller has patience.
        self.client = Client(url, era=era, elicit=answered, timeout=180)
        self._ledger = ledger
        self._random = random.Random(f"{seed} {number}")
        self._number = number
        self._count = 0
        self._legacy = legacy
        self.session: str | None = None

    async def run(self, going: asyncio.Event, pause: float) -> None:
        """Call until told to stop."""
        async with self.client as client:
            await client.tools()
            self.session = self.session_now()
            while not going.is_set():
                what, send = self._next()
                await self._made(what, send, f"{self._number}-{self._count}" if "count" in what else "")
                await asyncio.sleep(self._random.uniform(0, 2 * pause))
            assert self.session_now() == self.session, f"{self.who}: its session was lost"

    def session_now(self) -> str | None:
        """The id of its legacy session."""
        return getattr(self.client.connection._peer, "_session", None)

    async def _made(self, what: str, send: Callable[[], Awaitable[object]], id: str) -> None:
        call = Call(self.who, what, time.time(), id=id)
        _current.set(call)
        try:
            await send()
        except TrunklineError as error:
            call.why = f"{type(error).__name__}: {error.message}"
            data = error.data if isinstance(error, ProtocolError) else None
            call.retriable = bool(data.get("dev.trunkline/retry")) if isinstance(data, dict) else True
        call.ended = time.time()
        self._ledger.calls.append(call)

    def _next(self) -> tuple[str, Callable[[], Awaitable[object]]]:
        client, where = self.client, self._random.choice(OURS)
        what = self._random.choices(
            ("look", "count", "slow", "greet", "list", "read", "echo", "held"), (6, 5, 3, 2, 1, 1, 3, 1)
        )[0]
        if what in ("echo", "held") and not self._legacy:
            what = "look"
        self._count += 1
        id = f"{self._number}-{self._count}"
        sends: dict[str, Callable[[], Awaitable[object]]] = {
            "look": lambda: self._look(where),
            "count": lambda: client.call(f"{where}__count", id=id),
            "slow": lambda: client.call(f"{where}__slow", seconds=SLOW, progress=lambda *_: None),
            "greet": lambda: self._greet(where),
            "list": client.tools,
            "read": lambda: client.read(STATE.format(where)),
            "echo": lambda: client.call("everything__echo", message=id),
            "held": lambda: client.call("everything__trigger-elicitation-request"),
        }
        return f"{what} {where}" if what in ("look", "count", "slow", "greet") else what, sends[what]

    async def _look(self, where: str) -> None:
        n = self._random.randrange(1000)
        assert (await self.client.call(f"{where}__look", n=n)).text == str(n)

    async def _greet(self, where: str) -> None:
        assert (await self.client.call(f"{where}__greet")).text == "Hello Ada"


class Listener:
    """A client that keeps a copy of what the servers show by listening, and re-lists when told."""

    def __init__(self, url: str, era: Era) -> None:
        self.who = f"ours {era}"
        self.client = Client(url, era=era)
        self.tools: set[str] = set()
        self.states: dict[str, str] = {}
        self.changes = 0
        self.missed = 0
        self._stale = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        uris = [STATE.format(where) for where in OURS]
        async with self.client, asyncio.TaskGroup() as group:
            group.create_task(self._look_again())
            async for change in self.client.listen(*uris, tools=True, on_ready=self._stale.set):
                self.changes += 1
                self.missed += change.missed
                self._stale.set()

    async def _look_again(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                self.tools = {tool.name for tool in await self.client.tools()}
                for where in OURS:
                    self.states[where] = (await self.client.read(STATE.format(where))).text
            except TrunklineError:
                # What could not be read is as stale as before.
                self._stale.set()
                await asyncio.sleep(0.2)

    def behind(self, version: int) -> str:
        """What its copy lacks of a version; empty when it is right."""
        extras = {name for name in self.tools if "__extra_" in name}
        right = {f"{where}__extra_{version}" for where in OURS}
        states = {where: self.states.get(where) for where in OURS}
        if extras == right and set(states.values()) == {str(version)}:
            return ""
        return f"{self.who} sees {sorted(extras)} and {states} after {self.changes} changes; version {version} is shown"
