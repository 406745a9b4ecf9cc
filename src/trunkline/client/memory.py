"""The in-memory link.

What it is for: speak with a server in the same process, through the pair of coroutines its transport hands out.
What may live here: the adapter. What may not: servers.
"""

from collections.abc import Awaitable, Callable


class MemoryLink:
    """A stream of messages over two coroutine functions.

    Parameters:
        send: takes one message.
        receive: returns the next message, or None at the end.
        end: ends the other side; called once.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        receive: Callable[[], Awaitable[bytes | None]],
        end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._send = send
        self._receive = receive
        self._end = end

    async def open(self) -> None:
        """Nothing to open: the pair is connected."""

    async def send(self, message: bytes) -> None:
        """Hand over one message."""
        await self._send(message)

    async def receive(self) -> bytes | None:
        """The next message, or None at the end."""
        return await self._receive()

    async def close(self) -> None:
        """Tell the other side, once."""
        end, self._end = self._end, None
        if end is not None:
            await end()
