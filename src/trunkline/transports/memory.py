"""The in-process connection.

What it is for: a client and a server in one process, for tests and for embedding; both eras, like stdio.
What may live here: the pair of ends. What may not: a protocol of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable

from trunkline.engine.principal import ANONYMOUS, Principal
from trunkline.errors import TransportError
from trunkline.runtime.application import Application
from trunkline.transports.duplex import Duplex

_WAITING = 1000

Connection = tuple[
    Callable[[bytes], Awaitable[None]], Callable[[], Awaitable[bytes | None]], Callable[[], Awaitable[None]]
]
"""`send(message)`, `receive()` -> the next message or None at the end, `close()`."""


async def connect(application: Application, principal: Principal = ANONYMOUS) -> Connection:
    """Open a connection to an application in this event loop, and start the application if it has not been.

    Parameters:
        application: what is served; it lives on when the connection closes.
        principal: who the caller is.

    Messages to the client wait in a bounded queue; a server whose client does not receive waits with it.

        send, receive, close = await connect(application)
    """
    await application.start()
    inbox: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING)
    duplex = Duplex(application, inbox.put, principal=principal)
    ended = False

    async def send(message: bytes) -> None:
        if ended:
            raise TransportError("The connection is closed")
        await duplex.feed(message)

    async def receive() -> bytes | None:
        return None if ended else await inbox.get()

    async def close() -> None:
        nonlocal ended
        if ended:
            return
        ended = True
        await duplex.close()
        while not inbox.empty():
            inbox.get_nowait()
        inbox.put_nowait(None)

    return send, receive, close
