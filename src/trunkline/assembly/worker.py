"""One of several processes that serve an endpoint together: its side of the arrangement.

What it is for: what a worker was given when it was started, and what it and its parent tell each other.
What may live here: that. What may not: starting workers, or ending them (`workers.py`).

The two speak by a socket. A worker writes `up` when it takes requests and `ready` when it should get them; its parent
writes `retire`, and the end of the stream says that the parent is gone.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, MutableMapping
from typing import TYPE_CHECKING

from msgspec import Struct

from trunkline.engine.doors import KeyRing
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.transports.serving import Shared

if TYPE_CHECKING:
    from trunkline.transports.draining import HTTPServer

VARIABLE = "TRUNKLINE_WORKER"


class Worker(Struct, frozen=True):
    """What a worker was given.

    Parameters:
        number: counted from 1; whoever takes a worker's place has its number.
        listener, control: descriptors of the socket that all serve, and of the one to the parent.
        joining: others serve already, so it takes no requests before it is ready.
        announcing: it tells people what is served.
    """

    number: int
    listener: int
    control: int
    joining: bool
    announcing: bool

    @property
    def shared(self) -> Shared:
        """How it takes part in serving the socket."""
        return "joined" if self.joining else "begun"

    def words(self) -> str:
        """As it stands in the environment."""
        return f"{self.number} {self.listener} {self.control} {int(self.joining)} {int(self.announcing)}"

    def socket(self) -> socket.socket:
        """The socket that all serve."""
        return socket.socket(fileno=self.listener)


def take_place(environment: MutableMapping[str, str]) -> Worker | None:
    """What this process was given, if it is a worker; processes it starts are none."""
    words = environment.pop(VARIABLE, "").split()
    if len(words) != 5:
        return None
    number, listener, control, joining, announcing = (int(word) for word in words)
    return Worker(number, listener, control, bool(joining), bool(announcing))


def check_keys(keys: KeyRing) -> None:
    """Refuse keys that this process made for itself. Raises `ConfigError`."""
    if isinstance(keys, Keys) and keys.fleeting:
        raise ConfigError(
            "More than one worker needs a sealing key that all of them have: what one gives to a client comes back to "
            "another. Make a file of keys, `trunkline keys new keys.json`, and name it with --keys or as `keys` in "
            "trunkline.yaml."
        )


@contextlib.asynccontextmanager
async def obeying(worker: Worker, server: "HTTPServer") -> AsyncIterator[None]:
    """Tell the parent how the server is, and do what it says, while the block runs."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=worker.control))
    tasks = [asyncio.create_task(_tell(writer, server)), asyncio.create_task(_obey(reader, server))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()


async def _tell(writer: asyncio.StreamWriter, server: "HTTPServer") -> None:
    writer.write(b"up\n")
    if await server.ready():
        writer.write(b"ready\n")


async def _obey(reader: asyncio.StreamReader, server: "HTTPServer") -> None:
    with contextlib.suppress(OSError):
        while await reader.readline() == b"retire\n":
            server.retire()
    server.leave()
