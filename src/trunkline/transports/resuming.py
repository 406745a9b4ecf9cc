"""A stream that another replica writes, or wrote: read from the log to its end.

What it is for: a client comes back with `Last-Event-ID` and reaches another process than the one that answers its
request (2025-11-25, Resumability and Redelivery, item 2).
What may live here: following the log, what is said when the writer is gone. What may not: writing streams.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from msgspec import UNSET

from trunkline.engine.doors import EventLog, Tail
from trunkline.errors import InvalidRequest, ProtocolError, ReplicaLost, StorageUnavailable
from trunkline.protocol import messages, sse
from trunkline.protocol.messages import Id
from trunkline.transports.http_session import HTTPSession
from trunkline.transports.streams import Connection, Stream

logger = logging.getLogger("trunkline.transports")

_PAUSES = (0.1, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Seconds between two looks at a log that says nothing new."""


async def resume(session: HTTPSession, name: str, event: str, connect: Callable[..., Connection]) -> None:
    """Go on with the stream of a POST, wherever it is written. Raises `InvalidRequest` when it is not known any more.

    Parameters:
        name: of the stream.
        event: the last one the client has seen.
        connect: makes the client's connection, given stream and registry.
    """
    inflight = session.application.inflight
    stream = session.streams.get(name)
    if stream is not None:
        await connect(stream, inflight).run(event)
        return
    events, key = session.application.shared.events, session.facts.key
    if await events.after(key, event) is None:
        raise InvalidRequest("What followed this Last-Event-ID is not known any more; send the request again")
    stream = Stream.elsewhere(events, key, _closed, name, priming=session.revision.resumable_priming)
    follower = asyncio.create_task(_follow(events, key, stream, event))
    try:
        await connect(stream, inflight).run()
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def _follow(events: EventLog, session: str, stream: Stream, event: str) -> None:
    """Pass on what is written after `event` until the stream is complete."""
    await stream.ready()
    # As `Stream.attach` does.
    stream.pass_on([(event, b"")])
    answered: set[Id] = set()
    pause = 0
    while not stream.done:
        try:
            tail = await events.after(session, event)
        except StorageUnavailable:
            # Whatever was written is still there when the storage is back; the client waits meanwhile.
            tail = Tail(stream.name, [], "open")
        if tail is None:
            stream.close()
            return
        stream.pass_on(tail.events)
        if tail.events:
            event = tail.events[-1][0]
            answered.update(_answered(tail))
            pause = 0
        if tail.state != "open":
            if tail.state == "lost":
                stream.pass_on(("", sse.encode(error)) for error in _lost(tail, answered))
            stream.close()
            return
        await asyncio.sleep(_PAUSES[min(pause, len(_PAUSES) - 1)])
        pause += 1


def _answered(tail: Tail) -> Iterator[Id]:
    """The requests whose responses are among the events."""
    for _, data in tail.events:
        try:
            message = messages.decode(data) if data else None
        except ProtocolError:
            continue
        if message is not None and message.method is UNSET and message.id is not UNSET:
            yield message.id


def _lost(tail: Tail, answered: set[Id]) -> Iterator[bytes]:
    for id in tail.requests:
        if id not in answered:
            logger.warning("a call was lost with the replica that answered it", extra={"request": id})
            yield messages.error_message(id, ReplicaLost())


def _closed(stream: Stream, complete: bool) -> None:
    """Its log is kept and forgotten by who writes it."""
