"""A client made of sockets: sends the steps of a case and reads whatever comes back."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from tests.fuzz.requests import END, Case

BOUND = 20.0
"""Seconds after which a missing answer counts as a hang; far above anything a loaded machine needs."""
QUIET = 0.05
"""Seconds without a byte after which a server that owes nothing is taken to wait for more."""


@dataclass
class Answer:
    """One HTTP response; `complete` when its framing was fulfilled."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False


class Hang(Exception):
    """Nothing came within the bound."""


class Connection:
    """One connection to the server under test.

    async with Connection(port) as connection:
        answers = await connection.play(case)
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._reader = self._writer = None

    async def ask(self, sent: bytes, verb: str = "POST") -> Answer:
        """Send a whole request and read its response. Raises `Hang`, `ConnectionError`."""
        for fresh in (self._writer is None, True):
            reader, writer = await self._open()
            try:
                async with asyncio.timeout(BOUND):
                    writer.write(sent)
                    return await self._answer(reader, verb)
            except TimeoutError:
                self.drop()
                raise Hang("no answer") from None
            except (ConnectionError, asyncio.IncompleteReadError):
                # A connection kept alive may have been closed meanwhile; a new one owes an answer.
                self.drop()
                if fresh:
                    raise ConnectionError("closed without an answer") from None
        raise AssertionError

    async def play(self, case: Case) -> list[Answer]:
        """Send the steps over a new connection and read until it closes, or the server waits for more of us.

        A server that waits is left alone by a half-close, and must then close too. Raises `Hang`.
        """
        self.drop()
        reader, writer = await self._open()
        reading = asyncio.create_task(self._until_closed(reader))
        ended = False
        with contextlib.suppress(ConnectionError, RuntimeError):
            for step in case.steps:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif step == END:
                    ended = True
                    writer.write_eof()
                else:
                    assert isinstance(step, bytes)
                    writer.write(step)
                    await asyncio.wait_for(writer.drain(), BOUND)
        answers, closed = await self._collect(reading, QUIET if not ended else BOUND)
        if not closed and not ended:
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()
            answers, closed = await self._collect(reading, BOUND)
        reading.cancel()
        self.drop()
        if not closed:
            raise Hang("the connection stayed open after our half-close")
        return answers

    async def _collect(self, reading: "asyncio.Task[list[Answer]]", seconds: float) -> tuple[list[Answer], bool]:
        await asyncio.wait((reading,), timeout=seconds)
        return (reading.result(), True) if reading.done() else ([], False)

    async def _until_closed(self, reader: asyncio.StreamReader) -> list[Answer]:
        answers: list[Answer] = []
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                answers.append(await self._answer(reader, "", answers))
        return answers

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        return self._reader, self._writer

    async def _answer(self, reader: asyncio.StreamReader, verb: str, partial: list[Answer] | None = None) -> Answer:
        status = 100
        while 100 <= status < 200 and status != 101:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(line.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines if one)}
        answer = Answer(status, headers)
        try:
            await self._body(reader, answer, verb)
        except (ConnectionError, asyncio.IncompleteReadError):
            if partial is None:
                raise
            partial.append(answer)
            raise
        if headers.get("connection", "").lower() == "close" and partial is None:
            self.drop()
        return answer

    async def _body(self, reader: asyncio.StreamReader, answer: Answer, verb: str) -> None:
        headers = answer.headers
        if verb == "HEAD" or answer.status in (101, 204, 304):
            pass
        elif "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await reader.readline()).strip() or b"0", 16):
                answer.body += (await reader.readexactly(size + 2))[:-2]
                if _never_ends(answer.body):
                    self.drop()
                    break
            else:
                await reader.readline()
        elif "content-length" in headers:
            answer.body = await reader.readexactly(int(headers["content-length"]))
        else:
            answer.body = await reader.read()
        answer.complete = True


def _never_ends(body: bytes) -> bool:
    """A subscription was opened: reading on would last until something changes."""
    return b"notifications/subscriptions/acknowledged" in body
