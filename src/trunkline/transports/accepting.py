"""Taking connections from a socket, and ending that.

What it is for: connections that balancers keep for hours are spread evenly over the processes that share a socket, not
taken by whoever wakes up first; and none is broken off that was made before the socket is closed.
What may live here: that. What may not: what is spoken on a connection.

The processes share one queue. Each waits a moment before it takes a connection, the longer the more it has already; so
the one that has fewest comes first.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable

logger = logging.getLogger("trunkline.transports")

_STEP = 0.0005
"""Seconds that each connection a process has makes it wait for the next one."""
_LONGEST = 0.02
_EXHAUSTED = 1.0
"""Seconds of rest when the system has nothing to give, such as descriptors."""

_ATTACH_FILTER = 26
"""`SO_ATTACH_FILTER` of socket(7), which Python's `socket` does not name."""

_WITHOUT_SYN = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header (RFC 9293, 3.1)
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)
"""Classic BPF: code, jump if true, jump if false, operand (Linux, networking/filter)."""


def turn_away(listener: socket.socket) -> None:
    """Let the system make no more connections to a socket, while those it has made can still be taken.

    Closing a socket resets the connections that wait in its queue, with the requests on them; whoever sent those cannot
    know whether they ran. Nobody is told no before it is closed: a client's system asks again after a second.

    Only Linux can do this; elsewhere connections made in the moment before the socket is closed are reset. Whoever
    shares the socket takes no more either.
    """
    if sys.platform != "linux":
        return
    # Imported here: a server needs this once, at its end.
    import ctypes

    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _WITHOUT_SYN))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(_WITHOUT_SYN), ctypes.addressof(program))
        )


class Acceptor:
    """Takes one connection at a time until it is closed.

    Parameters:
        listener: listens already, and does not block.
        protocol: makes the protocol of a connection.
        held: how many connections this process has.

        acceptor = Acceptor(listener, make_protocol, lambda: len(connections))
        acceptor.close()
    """

    def __init__(
        self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol], held: Callable[[], int]
    ) -> None:
        self._listener = listener
        self._protocol = protocol
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.TimerHandle | None = None
        self._connecting: set[asyncio.Task[object]] = set()
        self._loop.add_reader(listener.fileno(), self._awaken)

    def close(self) -> None:
        """Take no more; what was taken stays open."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._listener.close()

    def _awaken(self) -> None:
        self._wait(min(self._held() * _STEP, _LONGEST))

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._waiting = self._loop.call_later(seconds, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            pass  # another process was faster, or the client has left
        except OSError as error:
            logger.error("no connection can be taken: %s", error.strerror)
            self._waiting = self._loop.call_later(_EXHAUSTED, self._accept)
            return
        else:
            self._connect(connection)
        self._loop.add_reader(self._listener.fileno(), self._awaken)

    def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
