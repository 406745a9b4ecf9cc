"""Taking a person to a page and hearing where it sent them.

What it is for: the browser of this machine with a listener on loopback (RFC 8252, 7.3), and where there is no browser,
an address to open elsewhere and to bring back.
What may live here: that. What may not: what the addresses mean.
"""

import asyncio
import os
import sys
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from trunkline.auth.addresses import is_loopback
from trunkline.errors import ConfigError, SignInError, SignInNeeded

if TYPE_CHECKING:
    from aiohttp import web

SECONDS = 300.0
"""Seconds a person has to sign in, unless said otherwise."""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>trunkline</title>
<body><p>{}</p></body></html>"""
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Visit(Protocol):
    """A person can be sent away now, and will come back to `redirect_uri`."""

    redirect_uri: str

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """Open a page; the address the person comes back with.

        Parameters:
            is_answer: whether an address is what is waited for; others are turned away, and the wait goes on.

        Raises `SignInError` when nobody comes back in time.
        """


class UserAgent(Protocol):
    """A way to take a person to a page: the browser of this machine, or a message to wherever they are."""

    def visit(self, redirect_uri: str | None) -> AbstractAsyncContextManager[Visit]:
        """Get ready to send a person away.

        Parameters:
            redirect_uri: where they must come back to; None leaves it open.

        Raises `SignInError` when that is not possible.
        """


class Browser:
    """The browser of this machine.

    The address is also printed, for those who have to open it elsewhere; they can bring back the address they end at.

    Parameters:
        open: opens an address, and says whether that worked; by default the system's browser, where there is a screen.
        say: takes lines for the person; by default the standard error output.
        paste: reads one line from the person; by default the standard input where that is a terminal; None for nobody.
        seconds: the person has.

        SignIn(agent=Browser(seconds=60))
    """

    def __init__(
        self,
        *,
        open: Callable[[str], bool] | None = None,
        say: Callable[[str], None] | None = None,
        paste: Callable[[], Awaitable[str]] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._open = open or open_page
        self._say = say or _say
        self._paste = paste or (_line if sys.stdin is not None and sys.stdin.isatty() else None)
        self._seconds = seconds

    @asynccontextmanager
    async def visit(self, redirect_uri: str | None) -> AsyncIterator[Visit]:
        """Listen on loopback; on any free port unless the address names one (RFC 8252, 7.3)."""
        # A server of web pages, which the gateway never needs: it has its own page to connect an account.
        from aiohttp import web

        host, port, path = _place(redirect_uri)
        visit = _LoopbackVisit(self._open, self._say, self._paste, self._seconds)
        runner = web.ServerRunner(web.Server(visit.handle), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise SignInError(
                    f"Cannot listen at {host}:{port} for the answer to the sign-in: {error.strerror or error}"
                ) from None
            bound = runner.addresses[0][1]
            visit.expect(redirect_uri or f"http://{host}:{bound}{path}", path)
            yield visit
        finally:
            await runner.cleanup()


class _LoopbackVisit:
    """A listener that waits for one request."""

    def __init__(
        self,
        open: Callable[[str], bool],
        say: Callable[[str], None],
        paste: Callable[[], Awaitable[str]] | None,
        seconds: float,
    ) -> None:
        self.redirect_uri = ""
        self._open = open
        self._say = say
        self._paste = paste
        self._seconds = seconds
        self._path = ""
        self._is_answer: Callable[[str], bool] = lambda address: False
        self._came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def expect(self, redirect_uri: str, path: str) -> None:
        """From now on an answer may come at this address."""
        self.redirect_uri, self._path = redirect_uri, path

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """See `Visit.go`."""
        self._is_answer = is_answer
        opened = await asyncio.to_thread(self._open, url)
        self._say(
            "Sign in in the browser window that opened, or open this address:" if opened else "Open this address:"
        )
        self._say(f"\n    {url}\n")
        waits: list[asyncio.Future[str]] = [self._came]
        if self._paste is not None:
            self._say(f"If the browser runs on another machine, paste the address it ends at, {self.redirect_uri}...:")
            waits.append(asyncio.ensure_future(self._pasted(self._paste)))
        try:
            done, _ = await asyncio.wait(waits, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise SignInNeeded(f"Nobody signed in within {self._seconds:g} seconds")
            return done.pop().result()
        finally:
            for wait in waits[1:]:
                wait.cancel()
            await asyncio.gather(*waits[1:], return_exceptions=True)

    async def handle(self, request: "web.BaseRequest") -> "web.StreamResponse":
        """A request to the listener; nothing it says is shown."""
        from aiohttp import web

        address = f"{self.redirect_uri.partition('?')[0]}?{request.query_string}"
        place = request.method == "GET" and request.path == self._path
        # A page elsewhere can have its own name resolve to loopback; it cannot choose the Host header.
        if not place or request.host != urlsplit(self.redirect_uri).netloc:
            return web.Response(status=404, headers=_HEADERS, text=_PAGE.format("There is nothing here."))
        if not self._is_answer(address):
            text = "This is not the answer to the sign-in that is under way."
            return web.Response(status=400, headers=_HEADERS, text=_PAGE.format(text))
        if not self._came.done():
            self._came.set_result(address)
        text = "Thank you. You can close this window and go back to where you came from."
        return web.Response(headers={**_HEADERS, "Connection": "close"}, text=_PAGE.format(text))

    async def _pasted(self, paste: Callable[[], Awaitable[str]]) -> str:
        while True:
            address = (await paste()).strip()
            if self._is_answer(address):
                return address
            self._say("That is not the address the sign-in ends at. Copy all of it from the browser's address bar:")


def open_page(url: str) -> bool:
    """Open an address in the system's browser; whether there is one, and a screen to see it on."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def _place(redirect_uri: str | None) -> tuple[str, int, str]:
    """Where to listen."""
    if redirect_uri is None:
        return "127.0.0.1", 0, "/callback"
    parts = urlsplit(redirect_uri)
    host = parts.hostname or ""
    if parts.scheme != "http" or not is_loopback(host) or not parts.port or parts.query:
        raise ConfigError(
            f"{redirect_uri[:200]!r} is not an address this machine can listen at: it has to be like "
            "http://127.0.0.1:3000/callback"
        )
    return host, parts.port, parts.path or "/"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


async def _line() -> str:
    """One line of the terminal; when nobody waits for it any more, nothing reads on."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sys.stdin, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
        line = sys.stdin.readline()
    finally:
        loop.remove_reader(sys.stdin)
    if not line:
        await loop.create_future()
    return line
