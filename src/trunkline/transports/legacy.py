"""Legacy Streamable HTTP: sessions over POST, GET and DELETE.

What it is for: revisions 2025-11-25, 2025-06-18 and 2025-03-26 over HTTP (basic/transports of each).
What may live here: which session a request belongs to, and which stream carries the answer.
What may not: what the requests mean (that is `sessions`), how a stream is written (that is `streams`).
"""

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial

from msgspec import UNSET

from trunkline.engine.doors import SessionState
from trunkline.engine.engine import error_for
from trunkline.engine.principal import Principal
from trunkline.errors import InvalidRequest, ProtocolError, Refused, SealError
from trunkline.protocol import json, messages
from trunkline.protocol.headers import accepts_stream
from trunkline.protocol.messages import Message, result_message
from trunkline.protocol.revisions import LEGACY, REVISIONS
from trunkline.runtime.application import Application
from trunkline.transports.asgi import Headers, Receive, Send, respond
from trunkline.transports.batches import split
from trunkline.transports.http_session import HTTPSession
from trunkline.transports.news import News
from trunkline.transports.resuming import resume
from trunkline.transports.sessions import SessionLimits, negotiated, seal, unseal
from trunkline.transports.streams import LASTING, Connection, Stream


class Legacy:
    """The legacy era of one endpoint.

    Parameters:
        application: what is served.
        limits: bounds of sessions.
    """

    def __init__(self, application: Application, limits: SessionLimits) -> None:
        self._application = application
        self._limits = limits
        self._store = application.shared.sessions
        self._live: dict[str, HTTPSession] = {}
        self._news = News(application, self._live.get, self._end)
        self._tasks: set[asyncio.Task[None]] = set()

    async def post(
        self,
        message: Message,
        headers: Mapping[bytes, bytes],
        principal: Principal,
        receive: Receive,
        send: Send,
        extra: Headers,
    ) -> None:
        """Answer one legacy message."""
        _check_version(headers)
        self._permit(principal, message)
        if message.method == "initialize" and message.id is not UNSET:
            await self._initialize(message, principal, send, extra)
            return
        session, state = await self._session(headers, principal)
        try:
            if message.method is UNSET or message.id is UNSET:
                await self._take(session, message)
                await respond(send, 202, headers=extra)
                return
            stream = session.reply([message.id])
            await _start(session, message, state, principal, stream)
            await Connection(stream, self._application.inflight, receive, send, extra).run()
        finally:
            self._release(session)

    async def batch(
        self,
        body: bytes,
        headers: Mapping[bytes, bytes],
        principal: Principal,
        receive: Receive,
        send: Send,
        extra: Headers,
    ) -> None:
        """Answer a batch, which only sessions of 2025-03-26 know; `InvalidRequest` for all others."""
        if b"mcp-session-id" not in headers:
            raise messages.explain(body)
        _check_version(headers)
        session, state = await self._session(headers, principal)
        try:
            if not session.revision.batches:
                raise messages.explain(body)
            items = split(body)
            for item in items:
                if isinstance(item, Message):
                    self._permit(principal, item)
            asked = [item for item in items if isinstance(item, ProtocolError) or _is_request(item)]
            ids = [item.id for item in asked if isinstance(item, Message) and item.id is not UNSET]
            stream = session.reply(ids, len(asked), batch=True) if asked else None
            for item in items:
                if isinstance(item, ProtocolError):
                    assert stream is not None
                    await stream.answer(messages.error_message(item.request_id, item))
                elif _is_request(item):
                    assert stream is not None
                    await _start(session, item, state, principal, stream)
                else:
                    await self._take(session, item)
            if stream is None:
                await respond(send, 202, headers=extra)
            else:
                await Connection(stream, self._application.inflight, receive, send, extra).run()
        finally:
            self._release(session)

    async def get(
        self, headers: Mapping[bytes, bytes], principal: Principal, receive: Receive, send: Send, extra: Headers
    ) -> None:
        """Open the stream of unsolicited messages, or go on with a stream that broke (`Last-Event-ID`)."""
        _check_version(headers)
        if not accepts_stream(headers.get(b"accept", b"")):
            raise Refused(406, "The Accept header must list text/event-stream")
        session, state = await self._session(headers, principal)
        try:
            last = headers.get(b"last-event-id", b"").decode("latin-1")
            name = last.rpartition("/")[0]
            if name and not name.startswith(LASTING):
                await resume(session, name, last, partial(Connection, receive=receive, send=send, extra=extra))
                return
            stream = await session.hear(principal, state)
            connection = Connection(stream, self._application.inflight, receive, send, extra)
            await connection.run(await self._heard(session, stream, connection, last))
            if stream is session.ear and stream.connection is None:
                session.leave_alone()
        finally:
            self._release(session)

    async def delete(self, headers: Mapping[bytes, bytes], principal: Principal, send: Send, extra: Headers) -> None:
        """End the session (Session Management, item 5)."""
        _check_version(headers)
        session, _ = await self._session(headers, principal)
        key = session.facts.key
        await self._store.end(key)
        self._live.pop(key, None)
        await session.end()
        self._news.ended(key)
        await self._application.shared.events.forget(key)
        await respond(send, 204, headers=extra)

    def _permit(self, principal: Principal, message: Message) -> None:
        """Whether the credentials allow it, before an answer with another status has begun."""
        if principal.access is not None:
            method = "" if message.method is UNSET else message.method
            self._application.engine.permit(principal, method, messages.decode_params(message))

    async def _initialize(self, message: Message, principal: Principal, send: Send, extra: Headers) -> None:
        assert message.id is not UNSET
        try:
            facts = negotiated(message, principal)
            sealed = seal(self._application.engine.keys, self._application.name, principal, facts)
        except ProtocolError as error:
            await respond(send, 200, messages.error_message(message.id, error), extra)
            return
        await self._store.begin(facts.key)
        result = self._application.engine.initialize_result(REVISIONS[facts.revision])
        await respond(send, 200, result_message(message.id, result), [*extra, (b"mcp-session-id", sealed.encode())])

    async def _session(self, headers: Mapping[bytes, bytes], principal: Principal) -> tuple[HTTPSession, SessionState]:
        sealed = headers.get(b"mcp-session-id")
        if sealed is None:
            raise InvalidRequest("This request needs the Mcp-Session-Id header of a session; begin with initialize")
        try:
            keys, endpoint = self._application.engine.keys, self._application.name
            facts = unseal(keys, endpoint, principal, sealed, self._limits.life)
        except SealError:
            raise _ended() from None
        state = await self._store.load(facts.key)
        if state is None:
            raise _ended()
        session = self._live.get(facts.key)
        if session is None:
            session = HTTPSession(self._application, facts, self._limits, self._news, self._spawn, self._settle)
            self._live[facts.key] = session
        session.holders += 1
        return session, state

    async def _heard(self, session: HTTPSession, ear: Stream, connection: Connection, last: str) -> str | None:
        """The event a GET stream goes on after.

        A client that comes back after its stream was given up gets what is left of that one first, and then this one.
        """
        if last.startswith(ear.name + "/"):
            return last
        missed = await self._application.shared.events.after(session.facts.key, last) if last else None
        connection.queue.extend(missed.events if missed is not None else ())
        return ear.sent or None

    async def _take(self, session: HTTPSession, message: Message) -> None:
        """A notification or a response, which may be for another replica; what nobody waits for is taken in silence."""
        if session.take(message):
            return
        if message.method is not UNSET:
            self._news.cancelled(session.facts.key, message)
            return
        replica = session.questions.elsewhere(message)
        if replica is not None:
            await self._news.answered(replica, session.facts.key, message)

    def _end(self, session: HTTPSession) -> None:
        """The session was ended at another replica."""
        self._live.pop(session.facts.key, None)
        self._spawn(session.end())

    def _release(self, session: HTTPSession) -> None:
        """A request is done with the session."""
        session.holders -= 1
        self._settle(session)

    def _settle(self, session: HTTPSession) -> None:
        """Forget the session's part in this process when nothing of it is left."""
        if session.idle and self._live.get(session.facts.key) is session:
            del self._live[session.facts.key]

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _start(
    session: HTTPSession, message: Message, state: SessionState, principal: Principal, stream: Stream
) -> None:
    """Start a request; one that cannot start is answered at once, with status 200 like every request's error."""
    try:
        session.start(message, state, principal, stream)
    except ProtocolError as error:
        wire = {"jsonrpc": "2.0", "id": message.id, "error": error_for(session.revision, error)}
        await stream.answer(json.encode(wire))


def _is_request(message: Message) -> bool:
    return message.method is not UNSET and message.id is not UNSET


def _check_version(headers: Mapping[bytes, bytes]) -> None:
    """Protocol Version Header: 400 for what is not served; without one the session knows its revision."""
    version = headers.get(b"mcp-protocol-version")
    if version is None:
        return
    revision = REVISIONS.get(version.decode("latin-1"))
    if revision is None or revision.era != "legacy" or not revision.served:
        served = ", ".join(name for name in LEGACY if REVISIONS[name].served)
        raise InvalidRequest(f"MCP-Protocol-Version {version[:64]!r} is not served in sessions; use one of {served}")


def _ended() -> Refused:
    return Refused(404, "The session has ended or is not yours; begin a new one with initialize")
