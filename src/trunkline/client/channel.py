"""What carries messages to one server and back.

What it is for: the one shape all channels have, and the record of a request in flight.
What may live here: the `Channel` and `Link` protocols, `Call`.
What may not: a transport, a protocol era.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

import msgspec

from trunkline.client.patience import Patience, Pulse
from trunkline.errors import InvalidAnswer
from trunkline.protocol import json

Body = dict[str, object]
"""One decoded JSON-RPC message."""

Params = Mapping[str, object]
Headers = tuple[tuple[str, str], ...]
OnNotification = Callable[[str, dict[str, object]], Awaitable[None]]
"""Takes the method and the parameters of a notification that belongs to a request."""

OnRequest = Callable[[str, dict[str, object]], Awaitable[dict[str, object]]]
"""Answers a server-to-client request (legacy): method and parameters in, result out, `ProtocolError` for an error."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes one message from a server may have."""


class Call(msgspec.Struct, eq=False):
    """One request in flight: what is sent, who takes what comes back, and what the transport learned on the way.

    `take` gets every message that belongs to the request and is not its response. `status`, `headers`,
    `last_event_id` and `retry` (milliseconds) are facts of the HTTP answer, where there is one; `patience` is its
    clock, and `pulse` beats when something comes.
    """

    id: int
    method: str
    body: bytes
    sent_headers: Headers
    take: "Take"
    pulse: Pulse
    status: int = 200
    headers: Mapping[str, str] = {}
    last_event_id: str | None = None
    retry: int | None = None
    token: object = None
    on_notification: OnNotification | None = None
    on_request: OnRequest | None = None
    patience: Patience | None = None


Take = Callable[[Call, Body], Awaitable[None]]


class Channel(Protocol):
    """A way to one server. Not safe to share between event loops."""

    duplex: bool
    """All messages share one stream: requests are cancelled by message, notifications carry correlation keys."""
    ids: Iterator[int]
    """Request ids: never used twice on one channel, also not by a second peer after a probe."""

    @property
    def pulse(self) -> Pulse | None:
        """Beats with every message, where all share one stream."""

    async def start(self, sink: Callable[[Body], None]) -> None:
        """Open once; `sink` takes what belongs to no request in flight from now on. Raises `TransportError`."""

    async def exchange(self, call: Call) -> Body:
        """Send a request and wait for its response message. Cancelling it abandons the request."""

    async def send(self, body: bytes, headers: Headers = ()) -> None:
        """Send a notification or a response. Raises `TransportError`."""

    async def close(self) -> None:
        """Close; what is in flight fails with `TransportError`, at the latest when its answer arrives. Never raises."""


class Link(Protocol):
    """A two-way stream of messages, one JSON text each: what stdio, memory and HTTP+SSE have in common."""

    async def open(self) -> None:
        """Connect or start. Raises `TransportError`."""

    async def send(self, message: bytes) -> None:
        """Send one message. Raises `TransportError`."""

    async def receive(self) -> bytes | None:
        """The next message, or None when the stream has ended.

        Raises `MessageTooLong` for one that was dropped; the stream goes on. Raises `TransportError` at a break.
        """

    async def close(self) -> None:
        """End the stream. Never raises."""


def unpack(raw: bytes | str, what: str) -> list[Body]:
    """The messages of a body: one, or a batch of them (2025-03-26). Raises `InvalidAnswer` or `ParseError`."""
    value = json.parse(raw, mend=True)
    items: list[object] = value if isinstance(value, list) else [value]
    messages: list[Body] = []
    for item in items:
        if not isinstance(item, dict) or item.get("jsonrpc") != "2.0":
            raise InvalidAnswer(f"{what} sent something that is not a JSON-RPC message")
        messages.append(item)
    return messages


def is_response(message: Body, id: int) -> bool:
    """Whether a message answers the request with this id; a peer that echoes it as text is understood."""
    if "method" in message or not ("result" in message or "error" in message):
        return False
    answered = message.get("id")
    return (answered == id and not isinstance(answered, bool)) or answered == str(id)
