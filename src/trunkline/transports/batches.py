"""Batches, which exist in revision 2025-03-26 alone.

What it is for: split an array into messages, and join the responses to one array again (2025-03-26, basic, Batching).
What may live here: pure functions and the collector of responses. What may not: how either travels.
"""

import msgspec
from msgspec import Raw

from trunkline.errors import InvalidRequest, ProtocolError
from trunkline.protocol import messages
from trunkline.protocol.messages import Message

MAX_BATCH = 100
"""Messages in one batch."""

_decode_list = msgspec.json.Decoder(list[Raw]).decode


def is_batch(body: bytes) -> bool:
    """Whether a body is an array."""
    return body[:1] == b"[" or body[:64].lstrip()[:1] == b"["


def split(body: bytes) -> list[Message | ProtocolError]:
    """The messages of a batch; what is none stands as the error to answer it with.

    Raises `ParseError` or `InvalidRequest` where the batch as a whole is not acceptable.
    """
    try:
        items = _decode_list(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise messages.explain(body) from None
    if not items:
        raise InvalidRequest("A batch holds at least one message")
    if len(items) > MAX_BATCH:
        raise InvalidRequest(f"A batch holds at most {MAX_BATCH} messages; send several")
    return [_item(bytes(item)) for item in items]


def join(responses: list[bytes]) -> bytes:
    """One array of encoded responses."""
    return b"[" + b",".join(responses) + b"]"


def _item(raw: bytes) -> Message | ProtocolError:
    try:
        message = messages.decode(raw)
    except ProtocolError as error:
        return error
    if message.method == "initialize":
        return messages.identified(InvalidRequest("initialize must not be part of a batch"), message.id)
    return message
