"""The in-memory link.

What it is for: speak with a server in the same process, through the coroutine functions its transport hands out.
What may live here: the adapter. What may not: servers.
"""

from collections.abc import Awaitable, Callable

from trunkline.errors import TransportError

Pair = tuple[Callable[[bytes], Awaitable[None]], Callable[[], Awaitable[bytes | None]], Callable[[], Awaitable[None]]]
"""`send(message)`, `receive()` -> the next message or None at the end, `close()`."""


class MemoryLink:
    """A stream of messages over coroutine functions.

    Parameters:
        connect: opens the connection; `trunkline.transports.memory.connect` with an application.
    """

    def __init__(self, connect: Callable[[], Awaitable[Pair]]) -> None:
        self._connect = connect
        self._pair: Pair | None = None

    async def open(self) -> None:
        """Connect."""
        self._pair = await self._connect()

    async def send(self, message: bytes) -> None:
        """Hand over one message."""
        await self._opened()[0](message)

    async def receive(self) -> bytes | None:
        """The next message, or None at the end."""
        return await self._opened()[1]()

    async def close(self) -> None:
        """End the connection."""
        if self._pair is not None:
            await self._pair[2]()

    def _opened(self) -> Pair:
        if self._pair is None:
            raise TransportError("The connection is not open", delivered=False)
        return self._pair
