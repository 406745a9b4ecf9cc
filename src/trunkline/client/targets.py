"""What a client connects to.

What it is for: read a target, and know how to meet it.
What may live here: the kinds of target. What may not: requests, configuration files.
"""

import itertools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import aiohttp

from trunkline.client.channel import Headers, Link
from trunkline.client.eras import Approach, meet_duplex, meet_http
from trunkline.client.http import address, new_session, origin
from trunkline.client.memory import MemoryLink
from trunkline.client.peer import Peer
from trunkline.client.stdio import StdioLink
from trunkline.errors import ConfigError
from trunkline.runtime.application import Application
from trunkline.transports.memory import connect


@runtime_checkable
class InProcess(Protocol):
    """A server in this process: a trunkline `Server`, or anything else with an `Application` to serve."""

    @property
    def application(self) -> Application:
        """What is served."""


TargetLike = str | Path | Sequence[str] | InProcess
"""A URL, a command line, a command as a list, a Python file, or a server in this process."""


class Target(Protocol):
    """A server that can be met, again and again: `name` is for people, `key` for the memory of eras."""

    name: str
    key: str

    async def meet(self, approach: Approach) -> Peer:
        """Connect. Raises `TransportError` or `RemoteError`."""

    async def close(self) -> None:
        """Release what the connections shared."""


class HttpTarget:
    """An HTTP endpoint.

    Parameters:
        url: the address. headers: sent with every request, never shown.
        session: a pool to share; without one the target makes its own and closes it.
        sse: True when it is known to speak HTTP+SSE of 2024-11-05, False to never try that.
    """

    def __init__(
        self, url: str, headers: Headers = (), session: aiohttp.ClientSession | None = None, sse: bool | None = None
    ) -> None:
        try:
            scheme, host, _ = origin(url)
        except ValueError:
            scheme = host = ""
        if scheme not in ("http", "https") or not host:
            raise ConfigError(
                "This is not a URL a server can have: it needs http:// or https://, a host and a valid port"
            )
        self.name = address(url)
        self.key = url
        self._headers = headers
        self._session = session
        self._shared = session is not None
        self._sse = sse

    async def meet(self, approach: Approach) -> Peer:
        """Connect by the rules of Streamable HTTP, Backward Compatibility."""
        if self._session is None:
            self._session = new_session()
        return await meet_http(self.key, self._session, approach, self._headers, sse=self._sse)

    async def close(self) -> None:
        """Close the pool, if it is ours."""
        session = self._session
        if session is not None and not self._shared:
            self._session = None
            await session.close()


class LinkTarget:
    """A server behind a stream of messages: a command, or one in this process.

    Parameters:
        name: for people. open_link: makes a fresh link.
        on_garbage: takes what the server sends that is not an MCP message.
        key: for the memory of eras, where the name does not tell servers apart.
    """

    def __init__(
        self,
        name: str,
        open_link: Callable[[], Link],
        on_garbage: Callable[[bytes], None] | None = None,
        key: str | None = None,
    ) -> None:
        self.name = name
        self.key = key or name
        self._open_link = open_link
        self._on_garbage = on_garbage

    async def meet(self, approach: Approach) -> Peer:
        """Connect by the rules of stdio, Backward Compatibility."""

        async def fresh() -> Link:
            return self._open_link()

        return await meet_duplex(fresh, self.name, approach, on_garbage=self._on_garbage)

    async def close(self) -> None:
        """Nothing is shared between connections."""


class InProcessTarget(LinkTarget):
    """A server in this process; started when the first connection is made, and then stopped with the client."""

    def __init__(self, server: InProcess) -> None:
        name = getattr(server, "name", None)
        super().__init__(name if isinstance(name, str) else "the server in this process", self._link)
        self._application = server.application
        self._started_here = not server.application.started

    def _link(self) -> Link:
        return MemoryLink(lambda: connect(self._application))

    async def close(self) -> None:
        """Stop the server, unless somebody else had started it."""
        if self._started_here and self._application.started:
            await self._application.stop()


def resolve(
    target: TargetLike,
    *,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    on_stderr: Callable[[str], None] | None = None,
    session: aiohttp.ClientSession | None = None,
) -> Target:
    """Read a target. Raises `ConfigError` for what is none.

    resolve("http://127.0.0.1:8808/mcp")
    resolve("uvx mcp-server-time")
    """
    if isinstance(target, str) and target.startswith(("http://", "https://")):
        return HttpTarget(target, tuple((headers or {}).items()), session)
    if isinstance(target, InProcess):
        return InProcessTarget(target)
    words = _words(target)

    def open_link() -> Link:
        return StdioLink(words[0], words[1:], env=env, cwd=cwd, on_stderr=on_stderr)

    return LinkTarget(_shown(words), open_link, key=shlex.join(words))


def _shown(words: list[str]) -> str:
    """What names a command: no option and nothing after one, since arguments often carry tokens."""
    plain = itertools.takewhile(lambda word: not word.startswith("-") and "=" not in word and "://" not in word, words)
    return shlex.join([words[0], *list(plain)[1:3]])


def _words(target: str | Path | Sequence[str]) -> list[str]:
    if isinstance(target, Path) or (isinstance(target, str) and target.endswith(".py") and " " not in target):
        if not Path(target).is_file():
            raise ConfigError(f"There is no file {target}")
        return [sys.executable, str(target)]
    words = shlex.split(target) if isinstance(target, str) else [str(word) for word in target]
    if not words:
        raise ConfigError("The command is empty: give a URL, a command, a Python file or a server")
    return words
