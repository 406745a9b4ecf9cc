"""Requests on connections that a test makes itself, as balancers do."""

import contextlib
import socket
import time
from collections.abc import Mapping


def spoken(body: bytes, headers: Mapping[str, str]) -> bytes:
    """A request as it goes over the wire."""
    accepted = "application/json, text/event-stream"
    head = {"Host": "localhost", "Content-Type": "application/json", "Accept": accepted, **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"POST /mcp HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def reached(port: int) -> socket.socket:
    """A connection; made by the system where the server has no time."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def heard(connection: socket.socket) -> bytes:
    """What came back until a whole answer did, or the connection ended; nothing where it broke."""
    received = b""
    with contextlib.suppress(OSError):
        while b"jsonrpc" not in received and (chunk := connection.recv(65536)):
            received += chunk
    return received


def hurried(port: int, request: bytes, seconds: float = 30) -> list[str]:
    """Call on one new connection after the other until there are none to be had; what became of each."""
    seen, over = [], time.monotonic() + seconds
    while time.monotonic() < over:
        try:
            connection = reached(port)
        except ConnectionRefusedError:
            break
        with connection:
            try:
                connection.sendall(request)
                seen.append("answered" if b'"result"' in heard(connection) else "lost")
            except OSError:
                seen.append("lost")
    return seen
