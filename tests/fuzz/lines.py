"""Bad and nearly good input on standard input, and a client that judges every line of standard output."""

import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fuzz import messages, oracle
from tests.fuzz.exchange import BOUND, Hang
from tests.fuzz.running import COMMAND, ROOT, Process, good_call, is_right

Key = tuple[type, object]
ANSWERS = (
    {"result": {"action": "accept", "content": {"name": "Ada"}}},
    {"result": {"action": "decline"}},
    {"result": 7},
    {"error": {"code": -1, "message": "no"}},
    {"error": "no"},
)
CHECK_EVERY = 50


class Pipe(Process):
    """A server on stdio and its client.

    Attributes:
        faults: what was wrong.
        answered: how many answers came to each id.
        calls: good calls between the bad ones that were answered rightly.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path, choose: random.Random) -> None:
        super().__init__(process, log)
        assert process.stdin is not None and process.stdout is not None
        self.faults: list[str] = []
        self.answered: Counter[Key] = Counter()
        self.errors: Counter[int] = Counter()
        self.calls = 0
        self.between_lines = asyncio.Lock()
        """Held while half a line is out, so that no answer gets into it."""
        self._choose = choose
        self._input, self._output = process.stdin, process.stdout
        self._expected: dict[str, int] = {}
        self._owed: set[Key] = set()
        self._forgiven: set[Key] = set()
        self._listening: list[object] = []
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._input.write(data)
        async with asyncio.timeout(BOUND):
            await self._input.drain()

    async def line(self, line: bytes) -> None:
        """Write one line, and note what it is owed."""
        await self.write(line + b"\n")
        value = oracle.readable(line.strip(b"\r\n\t "))
        if not isinstance(value, dict):
            return
        id = oracle.owed_id(value)
        if id is not None and value["method"] != "subscriptions/listen":
            self._owed.add((type(id), id))
        params = value.get("params")
        if value.get("method") == "notifications/cancelled" and isinstance(params, dict):
            wanted = params.get("requestId")
            self._forgiven.add((type(wanted), str(wanted) if isinstance(wanted, dict | list) else wanted))

    async def good(self, number: int) -> None:
        """Make a call that must be answered rightly."""
        id = f"neighbour-{number}"
        self._expected[id] = number
        await self.write(json.dumps(good_call(id, number)).encode() + b"\n")

    async def settle(self) -> None:
        """Wait until everything owed has come, then end the subscriptions that were opened. Raises `Hang`."""
        try:
            async with asyncio.timeout(BOUND):
                while self._expected or self._missing():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise Hang(f"no answer to {list(self._expected)[:5]} {list(self._missing())[:5]}") from None
        self._owed.clear()
        self._forgiven.clear()
        listening, self._listening = self._listening, []
        for id in listening:
            params = {"requestId": id}
            ending = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            await self.write(json.dumps(ending).encode() + b"\n")

    async def end(self) -> int:
        """Close standard input; the exit status. Raises `Hang`."""
        self._input.close()
        try:
            async with asyncio.timeout(BOUND):
                await self._reading
                return await self.process.wait()
        except TimeoutError:
            raise Hang("the server outlived its standard input") from None

    def _missing(self) -> set[Key]:
        return {key for key in self._owed if not self.answered[key]} - self._forgiven

    async def _read(self) -> None:
        while line := await self._output.readline():
            try:
                message = json.loads(line)
            except ValueError:
                self.faults.append(f"on standard output: {line[:300]!r}")
                continue
            for one in message if isinstance(message, list) else [message]:
                self.faults += oracle.well_formed(one)
                if isinstance(one, dict):
                    await self._take(one)
            self._news.set()
        self._news.set()

    async def _take(self, message: dict) -> None:
        id, method = message.get("id"), message.get("method")
        if method == "notifications/subscriptions/acknowledged":
            self._listening.append(message["params"]["_meta"][messages.PREFIX + "subscriptionId"])
        elif method is not None and id is not None:
            answer = {"jsonrpc": "2.0", "id": id, **self._choose.choice(ANSWERS)}
            async with self.between_lines:
                self._input.write(json.dumps(answer).encode() + b"\n")
        elif id in self._expected:
            number = self._expected.pop(id)
            self.calls += 1
            if not is_right(message, id, number):
                self.faults.append(f"good call {number}: {str(message)[:300]}")
        elif method is None:
            self.answered[(type(id), id)] += 1
            if isinstance(message.get("error"), dict):
                self.errors[message["error"].get("code", 0)] += 1


@asynccontextmanager
async def stdio_target(seed: int = 0) -> AsyncIterator[Pipe]:
    """Start the server on stdio."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                "stdio",
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=2**25,
            )
        try:
            yield Pipe(process, log, random.Random(seed))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def feed(pipe: Pipe, seed: int, start: int, stop: int) -> None:
    """Send the inputs numbered from `start` to before `stop`, good calls among them."""
    for number in range(start, stop):
        choose = random.Random(f"stdio {seed}/{number}")
        before = len(pipe.faults)
        await choose.choices((_message, _split, _noise, _several), (80, 7, 7, 6))[0](pipe, choose)
        if number % 5 == 0:
            await pipe.good(number)
        if number % CHECK_EVERY == CHECK_EVERY - 1 or number == stop - 1:
            try:
                await pipe.settle()
            except Hang as hang:
                pipe.faults.append(f"inputs up to {number}: {hang}")
                return
        if len(pipe.faults) > before:
            pipe.faults[-1] += f" (near input {seed}/{number})"
    pipe.faults += pipe.trouble()


def _line(choose: random.Random) -> bytes:
    body, _ = messages.body(choose, choose.choice((messages.MODERN, *messages.REVISIONS)))
    return body.replace(b"\r\n", b" ").replace(b"\n", b" ")


async def _message(pipe: Pipe, choose: random.Random) -> None:
    """A damaged message on a line; some lines end as on Windows."""
    await pipe.line(_line(choose) + choose.choice((b"", b"", b"", b"\r", b"  ")))


async def _split(pipe: Pipe, choose: random.Random) -> None:
    """A line that arrives in pieces."""
    line = _line(choose)
    at = choose.randint(0, len(line))
    async with pipe.between_lines:
        await pipe.write(line[:at])
        await asyncio.sleep(0.001)
        await pipe.line(line[at:])


async def _noise(pipe: Pipe, choose: random.Random) -> None:
    """Lines of something else."""
    noise = choose.randbytes(choose.choice((1, 50, 3000)))
    pieces = (
        noise,
        b"",
        b"\r",
        b"\0" * 100,
        b"Content-Length: 20\r\n\r\n{}",
        b"GET / HTTP/1.1",
        b"\xff\xfe\n\0",
        b"[]",
        b"[[[",
        b"\x1b[2J",
    )
    await pipe.write(choose.choice(pieces) + b"\n")


async def _several(pipe: Pipe, choose: random.Random) -> None:
    """Messages interleaved with each other, the same id twice, two on one line."""
    call = json.dumps(messages.valid(choose, messages.MODERN, "CallToolRequest")).encode()
    line = choose.choice(
        (call + call, call + b"\n" + call, call[:20] + _line(choose) + call[20:], b"\n\n" + call + b"\r\n\r\n")
    )
    await pipe.write(line + b"\n")
