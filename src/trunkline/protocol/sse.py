"""Server-Sent Events framing.

What it is for: encode events, and parse a byte stream into events, as the HTML standard's "event stream
interpretation" describes. What may live here: framing only. What may not: JSON-RPC, I/O, reconnection policy.
"""

from collections.abc import Iterator

import msgspec

from trunkline.errors import ParseError

KEEP_ALIVE = b":\r\n\r\n"
"""A comment: keeps intermediaries from closing a quiet stream (Streamable HTTP, Receiving Messages, note)."""


class Event(msgspec.Struct, frozen=True):
    """One event: `data` joined by newlines, the last `id` seen, the `retry` time in milliseconds if one came."""

    data: str
    event: str = "message"
    id: str | None = None
    retry: int | None = None


def encode(data: bytes, *, id: str | None = None, retry: int | None = None, event: str | None = None) -> bytes:
    """Encode one event whose data is JSON: line breaks in it are blanks between tokens, and become such.

    encode(b'{"jsonrpc":"2.0"}')  # b'data: {"jsonrpc":"2.0"}\\n\\n'
    """
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    if id is None and retry is None and event is None:
        return b"data: " + data + b"\n\n"
    head = b""
    if event is not None:
        head += b"event: " + event.encode() + b"\n"
    if id is not None:
        head += b"id: " + id.encode() + b"\n"
    if retry is not None:
        head += b"retry: %d\n" % retry
    return head + b"data: " + data + b"\n\n"


class Parser:
    """Incremental parser: feed bytes, take events.

    Parameters:
        limit: bytes one event may hold before the stream is refused; protects against an endless event.

    Raises `ParseError` from `feed` when an event grows over the limit.
    """

    def __init__(self, limit: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._retry: int | None = None
        self._started = False
        self._skip_newline = False
        self.last_id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take in bytes; yields each event that they complete."""
        if not self._started:
            chunk = bytes(self._tail) + chunk
            self._tail.clear()
            if len(chunk) < 3 and b"\xef\xbb\xbf".startswith(chunk):
                self._tail += chunk
                return
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            self._started = True
        if self._skip_newline and chunk:
            # A CR ended the last chunk's line at once; an LF that follows belongs to it.
            chunk = chunk.removeprefix(b"\n")
            self._skip_newline = False
        self._skip_newline = chunk.endswith(b"\r")
        # What stands in the tail is not looked at again: a line may come in thousands of chunks.
        first, *lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._tail += first
        if len(self._tail) > self._limit:
            raise ParseError(f"An event of the stream is larger than {self._limit} bytes")
        if not lines:
            return
        lines.insert(0, bytes(self._tail))
        self._tail[:] = lines.pop()
        for line in lines:
            event = self._line(line.decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._size += len(value) + 1
            if self._size > self._limit:
                raise ParseError(f"An event of the stream is larger than {self._limit} bytes")
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self.last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self._retry = int(value)
        return None

    def _dispatch(self) -> Event | None:
        data, self._data, self._size = self._data, [], 0
        event, self._event = self._event, ""
        retry, self._retry = self._retry, None
        if not data and retry is None:
            return None
        return Event("\n".join(data), event or "message", self.last_id, retry)
