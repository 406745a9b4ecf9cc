"""A resumable stream by itself: what is said on it reaches its client, whatever becomes of those who say it."""

import asyncio
from collections.abc import Sequence

from trunkline.engine.memory import MemoryEvents
from trunkline.protocol.messages import Id
from trunkline.runtime.inflight import InFlight
from trunkline.transports.streams import Connection, Stream


class Slow(MemoryEvents):
    """A log on a database that takes its time to begin a stream, and knows none that was not begun."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = asyncio.Event()
        self.begun = False

    async def begin(self, session: str, stream: str, requests: Sequence[Id]) -> None:
        await self.ready.wait()
        await super().begin(session, stream, requests)
        self.begun = True

    async def append(self, session: str, stream: str, data: bytes) -> str:
        if not self.begun:
            raise LookupError(stream)
        return await super().append(session, stream, data)


async def test_a_call_that_is_stopped_while_its_stream_opens_is_answered() -> None:
    events, sent, left = Slow(), [], asyncio.Event()
    stream = Stream(events, "owner.session", lambda stream, complete: None, priming=True)

    async def receive() -> dict[str, object]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    carried = asyncio.create_task(Connection(stream, InFlight(), receive, send, ()).run())
    telling = asyncio.create_task(stream.tell(b'"log"', passing=True))
    await asyncio.sleep(0.01)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    answering = asyncio.create_task(stream.answer(b'"answer"'))
    await asyncio.sleep(0.01)
    events.ready.set()
    await answering
    await asyncio.wait_for(carried, 5)

    assert b'data: "answer"' in b"".join(message.get("body", b"") for message in sent)
    assert sent[-1]["more_body"] is False
