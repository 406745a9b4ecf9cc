"""Calls that need something another replica has: a call it holds open, a process it runs.

What it is for: any replica may get the request; the one that has what it needs answers it, and the first one carries
progress, log messages, questions and the answer between that one and the client.
What may live here: that conversation. What may not: which replica it is, what the call does there.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import msgspec
from msgspec import Struct

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import InputRequest, Replicas, Result
from trunkline.engine.principal import Principal
from trunkline.engine.rounds import Replay
from trunkline.errors import InternalError, ProtocolError, RemoteError, ReplicaLost
from trunkline.gateway.sessions import Key
from trunkline.protocol import json
from trunkline.protocol.messages import Id, Message, decode_params
from trunkline.protocol.revisions import REVISIONS
from trunkline.runtime.errands import Errands

_log = logging.getLogger("trunkline.gateway")

TOPIC = "calls"

_LOOK = 2.0
"""Seconds between two looks whether the other replica still lives."""

_ANSWERING = 900.0
"""Seconds a person may take to answer; whoever asks them has a bound of its own that is shorter."""

Serve = Callable[[str, Context, Mapping[str, object]], Awaitable[Result]]
"""`(upstream, context, params)`: answers a call of another replica with what is here."""


class _Begin(Struct, tag="begin"):
    id: str
    upstream: str
    request: Id
    method: str
    raw: bytes
    params: bytes
    revision: str
    issuer: str
    subject: str
    client: str | None
    capabilities: bytes
    client_info: bytes
    log_level: str | None
    seconds: float | None
    interactive: bool
    replay: bytes | None


class _Told(Struct, tag="told"):
    id: str
    message: bytes


class _Asked(Struct, tag="asked"):
    id: str
    number: int
    requests: bytes


class _Answered(Struct, tag="answered"):
    id: str
    number: int
    answers: bytes = b"{}"
    refused: dict[str, tuple[int, str]] = {}


class _Error(Struct):
    code: int
    message: str
    data: bytes = b"null"


class _Answer(Struct):
    result: bytes = b""
    error: _Error | None = None


class _Ended(Struct, tag="ended"):
    id: str
    result: bytes | None = None
    error: _Error | None = None
    required: bytes | None = None
    replay: bytes | None = None


class _Cancelled(Struct, tag="cancelled"):
    id: str


class _Question(Struct):
    upstream: str
    owner: str
    capabilities: bytes
    method: str
    params: bytes


_Word = _Begin | _Told | _Asked | _Answered | _Ended | _Cancelled
_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(_Question).decode
_decode_answer = msgspec.json.Decoder(_Answer | None).decode
_decode_replay = msgspec.json.Decoder(Replay).decode
_decode = msgspec.msgpack.Decoder(_Begin | _Told | _Asked | _Answered | _Ended | _Cancelled).decode

Asked = Callable[[str, Key, str, dict[str, object]], Awaitable[dict[str, object] | None]]
"""`(upstream, key, method, params)`: has the client of a call that runs here asked; None where none does."""


class Elsewhere:
    """The calls this replica has others answer, and those it answers for others.

    Parameters:
        replicas: the way to them.
        serve: answers a call of another one.
        asked: has a question answered that reached another one, and belongs to a call here.

        result = await elsewhere.call("k3v9x2m7qa", "search", context, params)
    """

    def __init__(self, replicas: Replicas, serve: Serve, asked: Asked) -> None:
        self.replicas = replicas
        self._serve = serve
        self._asked = asked
        self._questions = Errands(replicas, "questions", self._put)
        self._outgoing: dict[str, asyncio.Queue[_Told | _Asked | _Ended]] = {}
        self._incoming: dict[str, asyncio.Task[None]] = {}
        self._asking: dict[tuple[str, int], asyncio.Future[_Answered]] = {}
        self._leave: Callable[[], None] | None = None

    def start(self) -> None:
        """Answer others from now on."""
        if self._leave is None:
            self._leave = self.replicas.receive(TOPIC, self._heard)
            self._questions.start()

    async def stop(self) -> None:
        """Stop what runs for others; they are told."""
        if self._leave is not None:
            self._leave()
            self._leave = None
        self._questions.stop()
        tasks = list(self._incoming.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, replica: str, upstream: str, context: Context, params: Mapping[str, object]) -> Result:
        """Have another replica answer a call. Raises what it raises there, `ReplicaLost` when that one is gone."""
        id = secrets.token_urlsafe(9)
        words: asyncio.Queue[_Told | _Asked | _Ended] = asyncio.Queue()
        self._outgoing[id] = words
        questions: set[asyncio.Task[None]] = set()
        try:
            if not await self._say(replica, _begin(id, upstream, context, params)):
                raise ReplicaLost
            while True:
                word = await self._next(words, replica)
                if isinstance(word, _Ended):
                    return _outcome(word, context)
                if isinstance(word, _Told):
                    await context.exchange.notify(word.message)
                else:
                    questions.add(asyncio.create_task(self._ask(replica, word, context)))
        except asyncio.CancelledError:
            await asyncio.shield(self._say(replica, _Cancelled(id)))
            raise
        finally:
            del self._outgoing[id]
            for task in questions:
                task.cancel()

    async def ask(
        self, replicas: Iterable[str], upstream: str, key: Key, method: str, params: dict[str, object]
    ) -> dict[str, object] | None:
        """Have the client asked whose call runs at one of these replicas; None where it runs at none of them.

        Raises `RemoteError` for an answer that is an error.
        """
        owner, capabilities, _ = key
        question = _encode(_Question(upstream, owner, capabilities, method, json.encode(params)))
        for replica in replicas:
            answer = _decode_answer(await self._questions.ask(replica, question, _ANSWERING) or b"null")
            if answer is not None and answer.error is not None:
                raise RemoteError(answer.error.code, answer.error.message, json.parse(answer.error.data))
            if answer is not None:
                result = json.parse(answer.result)
                assert isinstance(result, dict)
                return result
        return None

    async def _put(self, sender: str, message: bytes) -> bytes:
        """Have a client of this replica answer what an upstream asked of another one."""
        question = _decode_question(message)
        params = json.parse(question.params)
        assert isinstance(params, dict)
        key = (question.owner, question.capabilities, 0)
        try:
            result = await self._asked(question.upstream, key, question.method, params)
        except ProtocolError as error:
            return msgspec.json.encode(_Answer(error=_error(error)))
        return b"null" if result is None else msgspec.json.encode(_Answer(json.encode(result)))

    async def _next(self, words: "asyncio.Queue[_Told | _Asked | _Ended]", replica: str) -> _Told | _Asked | _Ended:
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    return await words.get()
            except TimeoutError:
                if not await self.replicas.alive(replica) and words.empty():
                    raise ReplicaLost from None

    async def _ask(self, replica: str, asked: _Asked, context: Context) -> None:
        """Carry a question to the client of this replica, and its answers back."""
        requests = _requests(asked.requests)
        try:
            answers = await context.exchange.ask(requests)
        except ProtocolError as error:
            answers = dict.fromkeys(requests, error)
        given = {key: answer for key, answer in answers.items() if not isinstance(answer, Exception)}
        refused = {key: _refusal(answer) for key, answer in answers.items() if isinstance(answer, Exception)}
        await self._say(replica, _Answered(asked.id, asked.number, json.encode(given), refused))

    def _heard(self, sender: str, raw: bytes) -> None:
        try:
            word: _Word = _decode(raw)
        except msgspec.MsgspecError:
            _log.warning("replica %s says of a call what this one does not understand", sender)
            return
        if isinstance(word, _Begin):
            task = asyncio.get_running_loop().create_task(self._work(sender, word))
            self._incoming[word.id] = task
            task.add_done_callback(lambda _: self._incoming.pop(word.id, None))
        elif isinstance(word, _Cancelled):
            if word.id in self._incoming:
                self._incoming[word.id].cancel()
        elif isinstance(word, _Answered):
            future = self._asking.get((word.id, word.number))
            if future is not None and not future.done():
                future.set_result(word)
        elif word.id in self._outgoing:
            self._outgoing[word.id].put_nowait(word)

    async def _work(self, sender: str, begin: _Begin) -> None:
        """Answer a call of another replica."""
        ended = _Ended(begin.id)
        try:
            context = self._context(sender, begin)
            params = json.parse(begin.params)
            assert isinstance(params, dict)
            ended.result = json.encode(await self._serve(begin.upstream, context, params))
        except rounds.InputRequired as signal:
            ended.required = json.encode({key: request.wire() for key, request in signal.requests.items()})
            ended.replay = json.encode(context.replay)
        except ProtocolError as error:
            ended.error = _error(error)
        except asyncio.CancelledError:
            ended.error = _error(ReplicaLost())
            await asyncio.shield(self._say(sender, ended))
            raise
        except Exception:
            _log.exception("a call of replica %s failed", sender)
            ended.error = _error(InternalError())
        await self._say(sender, ended)

    def _context(self, sender: str, begin: _Begin) -> Context:
        params = decode_params(Message("2.0", begin.request, begin.method, msgspec.Raw(begin.raw)))
        principal = Principal(begin.issuer, begin.subject, begin.client)
        exchange = _Far(begin, partial(self._say, sender), partial(self._wait, sender))
        context = Context(
            begin.request,
            begin.method,
            params,
            REVISIONS[begin.revision],
            principal,
            exchange,
            msgspec.json.decode(begin.capabilities),
            msgspec.json.decode(begin.client_info),
            begin.log_level,
        )
        context.deadline = None if begin.seconds is None else time.monotonic() + begin.seconds
        context.replay = None if begin.replay is None else _decode_replay(begin.replay)
        return context

    async def _wait(self, sender: str, asked: _Asked) -> _Answered:
        """The answers to a question, from the client of another replica. Raises `ReplicaLost` when that one is gone."""
        future: asyncio.Future[_Answered] = asyncio.get_running_loop().create_future()
        self._asking[asked.id, asked.number] = future
        try:
            if not await self._say(sender, asked):
                raise ReplicaLost
            while not (await asyncio.wait([future], timeout=_LOOK))[0]:
                if not await self.replicas.alive(sender):
                    raise ReplicaLost
            return future.result()
        finally:
            del self._asking[asked.id, asked.number]

    async def _say(self, replica: str, word: _Word) -> bool:
        return await self.replicas.send(replica, TOPIC, _encode(word))


class _Far:
    """The exchange of a call whose client hangs on another replica."""

    def __init__(
        self,
        begin: _Begin,
        say: Callable[[_Word], Awaitable[bool]],
        wait: Callable[[_Asked], Awaitable[_Answered]],
    ) -> None:
        self.interactive = begin.interactive
        self._id = begin.id
        self._say = say
        self._wait = wait
        self._asked = 0

    async def notify(self, message: bytes) -> None:
        """Tell the client."""
        await self._say(_Told(self._id, message))

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Ask the client."""
        self._asked += 1
        encoded = json.encode({key: request.wire() for key, request in requests.items()})
        answered = await self._wait(_Asked(self._id, self._asked, encoded))
        answers = json.parse(answered.answers)
        assert isinstance(answers, dict)
        return {**answers, **{key: RemoteError(code, text) for key, (code, text) in answered.refused.items()}}

    async def suspend(self, retry: int) -> None:
        """The connection is not ours."""


def _begin(id: str, upstream: str, context: Context, params: Mapping[str, object]) -> _Begin:
    principal, raw = context.principal, context.params.raw
    return _Begin(
        id,
        upstream,
        context.request_id,
        context.method,
        bytes(raw),
        json.encode(params),
        context.revision.name,
        principal.issuer,
        principal.subject,
        principal.client,
        json.encode(context.capabilities),
        json.encode(context.client_info),
        context.log_level,
        None if context.deadline is None else context.deadline - time.monotonic(),
        context.exchange.interactive,
        None if context.replay is None else json.encode(context.replay),
    )


def _outcome(ended: _Ended, context: Context) -> Result:
    """The result of a call that ended elsewhere. Raises what it raised there."""
    if ended.required is not None:
        context.replay = None if ended.replay is None else _decode_replay(ended.replay)
        raise rounds.InputRequired(_requests(ended.required))
    if ended.error is not None:
        raise RemoteError(ended.error.code, ended.error.message, json.parse(ended.error.data))
    result = json.parse(ended.result or b"{}")
    assert isinstance(result, dict)
    return result


def _requests(encoded: bytes) -> dict[str, InputRequest]:
    asked = json.parse(encoded)
    assert isinstance(asked, dict)
    return {key: InputRequest(wire["method"], wire.get("params")) for key, wire in asked.items()}


def _error(error: ProtocolError) -> _Error:
    wire = error.wire()
    code = wire["code"]
    assert isinstance(code, int)
    return _Error(code, str(wire["message"]), json.encode(wire.get("data")))


def _refusal(error: Exception) -> tuple[int, str]:
    return (getattr(error, "remote_code", getattr(error, "code", InternalError.code)), str(error))
