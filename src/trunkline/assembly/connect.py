"""The pages on which a caller connects an account of its own at an upstream.

What it is for: `per: principal`: a person comes with a link that only their client got, agrees, signs in at the
upstream's authorization server, and comes back; from then on their calls use that account.
What may live here: these pages and what ties them together. What may not: how signing in works (`auth/`).

The link holds whose account it will be, sealed. What comes back counts only in the browser that left (the cookie), for
the attempt it left on (`state`), and at the one exact address.
"""

import asyncio
import contextlib
import hmac
import html
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookies import CookieError, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from trunkline.assembly.gateway import Gateway
from trunkline.auth.addresses import is_loopback
from trunkline.auth.registration import ClientMetadata
from trunkline.client.client import Client
from trunkline.engine.principal import Principal
from trunkline.errors import ConfigError, ProtocolError, SealError, SignInError, SignInNeeded, TrunklineError
from trunkline.gateway.credentials import Client as Known
from trunkline.gateway.credentials import oauth
from trunkline.portable.model import Entry
from trunkline.protocol.headers import read
from trunkline.protocol.messages import error_message
from trunkline.transports.asgi import ASGIApp, Headers, Receive, Scope, Send, error_headers, read_body, respond
from trunkline.transports.guard import Guard

_log = logging.getLogger("trunkline.gateway")

PLACE = "/connect"
BACK = f"{PLACE}/callback"
DOCUMENT = f"{PLACE}/client.json"

_LINK, _FORM = "connect-link", "connect-form"
_COOKIE, _AT = "trunkline-connect", "trunkline-connect-at"
_ANSWER, _OUTCOME = "connect-answer", "connect-outcome"
_NOT_MINE = 400, "This is not the answer to anything that was begun in this browser. Start again."
_SECONDS = 600.0
"""Seconds a link is good, and that a person has at the authorization server."""
_PATIENCE = 30.0
_MOST, _MOST_EACH = 256, 4
_LONGEST = 16_384

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Connect an account</title>
<body>{}</body></html>"""
_HEADERS: Headers = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class _Ticket(msgspec.Struct, frozen=True):
    """Whose account at which upstream a link connects, until when."""

    server: str
    owner: str
    subject: str
    ends: float


class _Relayed(msgspec.Struct, frozen=True):
    """What comes back at one replica of a person that left from another one; a code in it is sealed."""

    state: str
    sealed: str


class _Outcome(msgspec.Struct, frozen=True):
    state: str
    status: int
    text: str


class _Cookies(NamedTuple):
    """Which browser it is, and the replica it left from."""

    browser: str
    home: str


class _Attempt:
    """A person on their way to an authorization server and back; a `UserAgent` and its `Visit`."""

    def __init__(self, owner: str, browser: str, redirect_uri: str) -> None:
        self.owner = owner
        self.browser = browser
        self.redirect_uri = redirect_uri
        loop = asyncio.get_running_loop()
        self.page: asyncio.Future[str] = loop.create_future()
        self.answer: asyncio.Future[str] = loop.create_future()
        self.is_answer: Callable[[str], bool] = lambda address: False
        self.task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def visit(self, redirect_uri: str | None) -> AsyncIterator["_Attempt"]:
        """See `UserAgent.visit`: there is one address to come back to."""
        if redirect_uri != self.redirect_uri:
            raise SignInError("This gateway is served at another address than the one that was registered")
        yield self

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """See `Visit.go`."""
        self.is_answer = is_answer
        self.page.set_result(url)
        try:
            async with asyncio.timeout(_SECONDS):
                return await self.answer
        except TimeoutError:
            raise SignInNeeded(f"Nobody signed in within {_SECONDS:g} seconds") from None


class ConnectPaths:
    """An ASGI application for these pages; every other path is `beside`'s.

    Parameters:
        gateway: whose upstreams. guard: which hosts it is served under. beside: serves the rest.

    Attributes:
        base: what stands before the path in the gateway's own address; links are made once it is set.
    """

    def __init__(self, gateway: Gateway, guard: Guard, beside: ASGIApp) -> None:
        self.base = ""
        self._gateway = gateway
        self._guard = guard
        self._beside = beside
        self._attempts: dict[str, _Attempt] = {}
        self._waiting: dict[str, asyncio.Future[_Outcome]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._replicas = gateway.shared.replicas
        self._leaves = (
            self._replicas.receive(_ANSWER, self._answered),
            self._replicas.receive(_OUTCOME, self._heard),
        )
        gateway.accounts.invite = self._invite

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        served = {
            ("GET", PLACE): self._ask,
            ("POST", PLACE): self._leave,
            ("GET", BACK): self._return,
            ("GET", DOCUMENT): self._document,
        }.get((scope["method"], scope["path"]))
        if served is None or not self.base:
            await self._beside(scope, receive, send)
            return
        try:
            headers = read(scope["headers"])
            self._guard.check_host(headers)
            cookies = _cookies(headers.get(b"cookie", b""))
            query = scope.get("query_string", b"").decode("latin-1")
            form = query
            if scope["method"] == "POST":
                form = (await read_body(receive, headers.get(b"content-length"), _LONGEST) or b"").decode("latin-1")
            await served(send, cookies, form)
        except ProtocolError as error:
            await respond(send, error.status, error_message(None, error), error_headers(error))

    def serve_at(self, local: str) -> None:
        """Make links from now on, where people can follow them.

        Parameters:
            local: what stands before the path in the address that is listened at, where nobody configured another.

        Raises `ConfigError` when there are servers with accounts of callers, and people cannot come to this gateway:
        where they come back to is https or on loopback (Communication Security), and no address that proxies change.
        """
        parts = urlsplit(local)
        scope = {"type": "http", "scheme": parts.scheme, "path": ""}
        base = self._guard.external_url(scope, {b"host": parts.netloc.encode()}).rstrip("/")
        reached = urlsplit(base)
        if self._guard.known and (reached.scheme == "https" or is_loopback(reached.hostname or "")):
            self.base = base
            return
        each = [entry.name for entry in self._gateway.plan.entries if entry.per_principal and not entry.disabled]
        if each:
            where = base if self._guard.known else "the address that a proxy has"
            raise ConfigError(
                f"{', '.join(each)}: `per: principal` sends callers to pages of this gateway, and {where} is none that "
                "they could be sent to. Set `listen.public_url` (--public-url) to where they find the gateway, such as "
                "https://mcp.example.com: it is https, or on loopback where all callers are on this machine"
            )

    async def aclose(self) -> None:
        """Nobody waits any more."""
        for leave in self._leaves:
            leave()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _invite(self, entry: Entry, principal: Principal) -> str | None:
        if not self.base:
            return None
        ticket = _Ticket(entry.name, principal.owner, principal.subject, time.time() + _SECONDS)
        sealed = self._gateway.keys.seal(_LINK, b"", msgspec.json.encode(ticket))
        return f"{self.base}{PLACE}?{urlencode({'ticket': sealed})}"

    async def _ask(self, send: Send, cookies: _Cookies, query: str) -> None:
        """Say what would happen; a link alone, which anybody can be made to open, starts nothing."""
        sealed = _one(query, "ticket")
        found = self._opened(sealed)
        if found is None:
            await _say(send, 400, "This link is not good, or not any more. Call the tool again for another one.")
            return
        ticket, entry = found
        browser = cookies.browser or secrets.token_urlsafe(24)
        proof = self._gateway.keys.seal(_FORM, browser.encode(), sealed.encode())
        name, host = html.escape(entry.title or entry.name), html.escape(urlsplit(entry.url).netloc)
        fields = "".join(
            f'<input type="hidden" name="{field}" value="{html.escape(value)}">'
            for field, value in (("ticket", sealed), ("proof", proof))
        )
        text = (
            f"<p>You are about to let <b>{html.escape(ticket.subject)}</b>, a user of this gateway, use your account "
            f"at <b>{name}</b> ({host}).</p><p>Go on only if that is you, and if you asked for it just now: whoever "
            "sent you this link could otherwise act in your name.</p>"
            f'<form method="post">{fields}<button>Go on</button></form>'
        )
        await respond(send, 200, _PAGE.format(text).encode(), [*_HEADERS, self._kept(_COOKIE, browser)])

    async def _leave(self, send: Send, cookies: _Cookies, form: str) -> None:
        """The person agreed: begin, and send them to the authorization server."""
        sealed = _one(form, "ticket")
        found = self._opened(sealed)
        if found is None or not self._agreed(cookies.browser, sealed, _one(form, "proof")):
            await _say(send, 400, "This page was not opened in this browser, or is too old. Open the link again.")
            return
        if len(self._attempts) >= _MOST:
            await _say(send, 503, "Too many people are connecting accounts right now. Try again shortly.")
            return
        ticket, entry = found
        self._make_way(ticket.owner)
        attempt = _Attempt(ticket.owner, cookies.browser, self.base + BACK)
        attempt.task = asyncio.get_running_loop().create_task(self._connect(entry, ticket, attempt))
        attempt.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._tasks.add(attempt.task)
        attempt.task.add_done_callback(self._tasks.discard)
        waits: list[asyncio.Future[Any]] = [attempt.page, attempt.task]
        await asyncio.wait(waits, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not attempt.page.done():
            await _say(send, *_told(attempt))
            return
        page = attempt.page.result()
        state = _one(urlsplit(page).query, "state")
        self._attempts[state] = attempt
        attempt.task.add_done_callback(lambda task: self._attempts.pop(state, None) and None)
        fields = [*_HEADERS, (b"location", page.encode("ascii")), self._kept(_AT, self._replicas.name)]
        await respond(send, 303, b"", fields)

    async def _return(self, send: Send, cookies: _Cookies, query: str) -> None:
        """The person comes back, perhaps at another replica than the one they left from."""
        state = _one(query, "state")
        if cookies.home in ("", self._replicas.name) or state in self._attempts:
            await _say(send, *await self._finish(state, cookies.browser, query))
            return
        self._waiting[state] = asyncio.get_running_loop().create_future()
        payload = msgspec.json.encode([cookies.browser, query])
        relayed = _Relayed(state, self._gateway.keys.seal(_ANSWER, state.encode(), payload))
        try:
            async with asyncio.timeout(_PATIENCE):
                if not await self._replicas.send(cookies.home, _ANSWER, msgspec.json.encode(relayed)):
                    await _say(send, *_NOT_MINE)
                    return
                outcome = await self._waiting[state]
        except TimeoutError:
            outcome = _Outcome(state, 504, "That takes too long. Start again.")
        finally:
            self._waiting.pop(state, None)
        await _say(send, outcome.status, outcome.text)

    def _answered(self, sender: str, message: bytes) -> None:
        """A person came back at another replica."""
        task = asyncio.get_running_loop().create_task(self._relay(sender, msgspec.json.decode(message, type=_Relayed)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, sender: str, relayed: _Relayed) -> None:
        status, text = _NOT_MINE
        with contextlib.suppress(SealError):
            payload = self._gateway.keys.open(_ANSWER, relayed.state.encode(), relayed.sealed)
            browser, query = msgspec.json.decode(payload, type=tuple[str, str])
            status, text = await self._finish(relayed.state, browser, query)
        outcome = _Outcome(relayed.state, status, text)
        await self._replicas.send(sender, _OUTCOME, msgspec.json.encode(outcome))

    def _heard(self, sender: str, message: bytes) -> None:
        """What became of a person that left from another replica."""
        outcome = msgspec.json.decode(message, type=_Outcome)
        waiting = self._waiting.get(outcome.state)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)

    async def _finish(self, state: str, browser: str, query: str) -> tuple[int, str]:
        """Take what a person came back with; what they are told."""
        attempt = self._attempts.get(state)
        address = f"{self.base}{BACK}?{query}"
        # Somebody else's code must not end up with this person, nor this person's with somebody else.
        mine = attempt is not None and hmac.compare_digest(attempt.browser.encode(), browser.encode())
        if attempt is None or not mine or not attempt.is_answer(address) or attempt.answer.done():
            return _NOT_MINE
        attempt.answer.set_result(address)
        assert attempt.task is not None
        await asyncio.wait([attempt.task], timeout=_PATIENCE)
        return _told(attempt)

    async def _document(self, send: Send, cookies: _Cookies, query: str) -> None:
        """What the gateway says of itself as a client (client ID metadata document)."""
        document = ClientMetadata(
            client_id=self.base + DOCUMENT,
            client_name="trunkline",
            redirect_uris=(self.base + BACK,),
            grant_types=("authorization_code", "refresh_token"),
            response_types=("code",),
            token_endpoint_auth_method="none",  # noqa: S106
            application_type="web",
        )
        body = msgspec.json.encode(document)
        await respond(send, 200, body, [(b"content-type", b"application/json"), (b"cache-control", b"max-age=300")])

    async def _connect(self, entry: Entry, ticket: _Ticket, attempt: _Attempt) -> None:
        assert entry.auth is not None
        document = self.base + DOCUMENT if self.base.startswith("https://") else None
        credentials = oauth(
            entry.auth,
            self._gateway.accounts.store_of(ticket.owner),
            interactive=True,
            agent=attempt,
            client=Known(attempt.redirect_uri, document),
        )
        async with Client(entry.url, headers=entry.headers, auth=credentials) as client:
            await client.tools()

    def _make_way(self, owner: str) -> None:
        """Of one caller a few are on their way at most: the earliest gives up, so that nobody takes all the room."""
        mine = [attempt for attempt in self._attempts.values() if attempt.owner == owner]
        if len(mine) >= _MOST_EACH and mine[0].task is not None:
            mine[0].task.cancel()

    def _kept(self, name: str, value: str) -> tuple[bytes, bytes]:
        """A cookie for these pages alone."""
        parts = urlsplit(self.base)
        secure = "; Secure" if parts.scheme == "https" else ""
        cookie = f"{name}={value}; Path={parts.path}{PLACE}; HttpOnly; SameSite=Lax; Max-Age=3600{secure}"
        return b"set-cookie", cookie.encode()

    def _opened(self, sealed: str) -> tuple[_Ticket, Entry] | None:
        try:
            ticket = msgspec.json.decode(self._gateway.keys.open(_LINK, b"", sealed), type=_Ticket)
        except (SealError, msgspec.MsgspecError):
            return None
        entry = next((one for one in self._gateway.plan.entries if one.name == ticket.server), None)
        return (ticket, entry) if entry is not None and entry.per_principal and time.time() < ticket.ends else None

    def _agreed(self, cookie: str, sealed: str, proof: str) -> bool:
        try:
            return bool(cookie) and self._gateway.keys.open(_FORM, cookie.encode(), proof) == sealed.encode()
        except SealError:
            return False


def _told(attempt: _Attempt) -> tuple[int, str]:
    """What became of it."""
    task = attempt.task
    assert task is not None
    if not task.done():
        return 504, "That takes too long. Start again."
    if task.cancelled() or isinstance(task.exception(), TrunklineError):
        why = "" if task.cancelled() else str(task.exception())
        return 502, f"Your account was not connected. {why}"
    if task.exception() is not None:
        _log.error("an account could not be connected", exc_info=task.exception())
        return 500, "Your account was not connected; the log of the gateway has the details."
    return 200, "Your account is connected. Close this window and go back to where you came from."


async def _say(send: Send, status: int, text: str) -> None:
    await respond(send, status, _PAGE.format(f"<p>{html.escape(text)}</p>").encode(), _HEADERS)


def _one(query: str, name: str) -> str:
    """The one value of a parameter; none where it stands there twice."""
    values = parse_qs(query, max_num_fields=50).get(name, [])
    return values[0] if len(values) == 1 else ""


def _cookies(header: bytes) -> _Cookies:
    try:
        jar = SimpleCookie(header.decode("latin-1"))
    except CookieError:
        return _Cookies("", "")
    return _Cookies(*("" if (morsel := jar.get(name)) is None else morsel.value for name in (_COOKIE, _AT)))
