"""Calls that need something another replica has: a call it holds open, a process it runs.

What it is for: any replica may get the request; the one that has what it needs answers it, and the first one carries
progress, log messages, questions and the answer between that one and the client.
What may live here: that conversation. What may not: which replica it is, what the call does there.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import msgspec

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import InputRequest, Replicas, Result
from trunkline.errors import InternalError, Interrupted, ProtocolError, RemoteError, ReplicaLost, StorageUnavailable
from trunkline.gateway import words
from trunkline.gateway.handovers import SessionNote
from trunkline.gateway.sessions import Key
from trunkline.gateway.words import Answered, AskedOf, Begin, Cancelled, Ended, Refused, Reply, Told, Word
from trunkline.protocol import json
from trunkline.runtime.errands import Errands
from trunkline.runtime.inflight import InFlight

_log = logging.getLogger("trunkline.gateway")

TOPIC = "calls"

_LOOK = 2.0
"""Seconds between two looks whether the other replica still lives."""

_OUTAGE = 120.0
"""Seconds for which a database may be out of reach until what is at another replica is given up."""

_ANSWERING = 900.0
"""Seconds a person may take to answer; whoever asks them has a bound of its own that is shorter."""

Serve = Callable[[str, Context, Mapping[str, object]], Awaitable[Result]]
"""`(upstream, context, params)`: answers a call of another replica with what is here."""

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
        self.inflight = InFlight()
        """What a stop waits for; calls of others are among it."""
        self._serve = serve
        self._asked = asked
        self._questions = Errands(replicas, "questions", self._put)
        self._outgoing: dict[str, asyncio.Queue[Reply]] = {}
        self._incoming: dict[str, _Work] = {}
        self._asking: dict[tuple[str, int], asyncio.Future[Answered]] = {}
        self._stopped = False
        self._telling: set[asyncio.Task[bool]] = set()
        self._leave: Callable[[], None] | None = None

    def start(self) -> None:
        """Answer others from now on."""
        self._stopped = False
        if self._leave is None:
            self._leave = self.replicas.receive(TOPIC, self._heard)
        self._questions.start()

    async def stop(self) -> None:
        """Stop what runs for others, who are told; what they ask for from now on is refused, as long as it is heard."""
        self._stopped = True
        self._questions.stop()
        tasks = [work.task for work in self._incoming.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._telling, return_exceptions=True)

    async def call(self, replica: str, upstream: str, context: Context, params: Mapping[str, object]) -> Result:
        """Have another replica answer a call.

        Raises what it raises there, and `ReplicaLost` when that one is gone or about to end; `delivered` of that error
        tells whether the call may have run.
        """
        id = secrets.token_urlsafe(9)
        told: asyncio.Queue[Reply] = asyncio.Queue()
        self._outgoing[id] = told
        questions: dict[int, asyncio.Task[None]] = {}
        try:
            begin = words.encode(words.begin(id, upstream, context, params))
            await self._hand_over(replica, begin)
            while True:
                word = await self._next(told, replica, begin)
                if isinstance(word, Ended):
                    return words.outcome(word, context)
                if isinstance(word, Refused):
                    raise ReplicaLost(delivered=False)
                if isinstance(word, Told):
                    await context.exchange.notify(word.message)
                elif word.number not in questions:
                    questions[word.number] = asyncio.create_task(self._ask(replica, word, context))
        except asyncio.CancelledError:
            self._tell_soon(replica, Cancelled(id))
            raise
        finally:
            del self._outgoing[id]
            for task in questions.values():
                task.cancel()

    async def ask_others(
        self, note: SessionNote, upstream: str, key: Key, method: str, params: dict[str, object]
    ) -> dict[str, object] | None:
        """The same as `ask`, at whoever else uses a session."""
        others = await note.others()
        return await self.ask(others, upstream, key, method, params) if others else None

    async def ask(
        self, replicas: Iterable[str], upstream: str, key: Key, method: str, params: dict[str, object]
    ) -> dict[str, object] | None:
        """Have the client asked whose call runs at one of these replicas; None where it runs at none of them.

        Raises `RemoteError` for an answer that is an error.
        """
        owner, capabilities, _ = key
        question = words.encode(words.Question(upstream, owner, capabilities, method, json.encode(params)))
        for replica in replicas:
            answer = words.decode_answer(await self._questions.ask(replica, question, _ANSWERING) or b"null")
            if answer is not None and answer.error is not None:
                raise RemoteError(answer.error.code, answer.error.message, json.parse(answer.error.data))
            if answer is not None:
                result = json.parse(answer.result)
                assert isinstance(result, dict)
                return result
        return None

    async def _put(self, sender: str, message: bytes) -> bytes:
        """Have a client of this replica answer what an upstream asked of another one."""
        question = words.decode_question(message)
        params = json.parse(question.params)
        assert isinstance(params, dict)
        key = (question.owner, question.capabilities, 0)
        try:
            result = await self._asked(question.upstream, key, question.method, params)
        except ProtocolError as error:
            return msgspec.json.encode(words.Answer(error=words.failure(error)))
        return b"null" if result is None else msgspec.json.encode(words.Answer(json.encode(result)))

    async def _hand_over(self, replica: str, begin: bytes) -> None:
        """Raises `ReplicaLost` where the replica is not there, or nobody knows whether it heard."""
        try:
            sent = await self.replicas.send(replica, TOPIC, begin)
        except StorageUnavailable:
            raise ReplicaLost from None
        if not sent:
            raise ReplicaLost(delivered=False)

    async def _next(self, told: "asyncio.Queue[Reply]", replica: str, begin: bytes) -> Reply:
        look = _Look(self.replicas, replica)
        while True:
            try:
                async with asyncio.timeout(_LOOK):
                    return await told.get()
            except TimeoutError:
                if await look.lost() and told.empty():
                    raise ReplicaLost(delivered=not await self._recalled(replica, begin)) from None

    async def _recalled(self, replica: str, begin: bytes) -> bool:
        """Whether a replica that is gone had not yet seen the call."""
        try:
            return await self.replicas.recall(replica, TOPIC, begin)
        except StorageUnavailable:
            return False

    async def _ask(self, replica: str, asked: AskedOf, context: Context) -> None:
        """Carry a question to the client of this replica, and its answers back."""
        requests = words.requests(asked.requests)
        try:
            answers = await context.exchange.ask(requests)
        except ProtocolError as error:
            answers = dict.fromkeys(requests, error)
        given = {key: answer for key, answer in answers.items() if not isinstance(answer, Exception)}
        refused = {key: words.refusal(answer) for key, answer in answers.items() if isinstance(answer, Exception)}
        await self._tell(replica, Answered(asked.id, asked.number, json.encode(given), refused))

    def _heard(self, sender: str, raw: bytes) -> None:
        try:
            word: Word = words.decode(raw)
        except msgspec.MsgspecError:
            _log.warning("replica %s says of a call what this one does not understand", sender)
            return
        if isinstance(word, Begin):
            self._begin(sender, word)
        elif isinstance(word, Cancelled):
            if word.id in self._incoming:
                self._incoming[word.id].task.cancel()
        elif isinstance(word, Answered):
            future = self._asking.get((word.id, word.number))
            if future is not None and not future.done():
                future.set_result(word)
        elif word.id in self._outgoing:
            self._outgoing[word.id].put_nowait(word)

    def _begin(self, sender: str, begin: Begin) -> None:
        """Answer a call of another replica; one that is about to end begins nothing that another one can."""
        held = begin.replay is not None and words.decode_replay(begin.replay).held is not None
        if self._stopped or (self.inflight.draining and not held):
            self._tell_soon(sender, Refused(begin.id))
            return
        task = asyncio.get_running_loop().create_task(self._work(sender, begin))
        work = self._incoming[begin.id] = _Work(task)
        self.inflight.enter(work)

        def over(_: object) -> None:
            self._incoming.pop(begin.id, None)
            self.inflight.calls.discard(work)

        task.add_done_callback(over)

    async def _work(self, sender: str, begin: Begin) -> None:
        ended = Ended(begin.id)
        try:
            context = words.context_of(begin, _Far(begin, partial(self._say, sender), partial(self._wait, sender)))
            params = json.parse(begin.params)
            assert isinstance(params, dict)
            ended.result = json.encode(await self._serve(begin.upstream, context, params))
        except rounds.InputRequired as signal:
            ended.required = json.encode({key: request.wire() for key, request in signal.requests.items()})
            ended.replay = json.encode(context.replay)
        except ProtocolError as error:
            ended.error = words.failure(error)
        except asyncio.CancelledError:
            ended.error = words.failure(Interrupted(begin.method))
            self._tell_soon(sender, ended)
            raise
        except Exception:
            _log.exception("a call of replica %s failed", sender)
            ended.error = words.failure(InternalError())
        await self._tell(sender, ended)

    async def _wait(self, sender: str, asked: AskedOf) -> Answered:
        """The answers to a question, from the client of another replica. Raises `ReplicaLost` when that one is gone."""
        future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._asking[asked.id, asked.number] = future
        try:
            if not await self._tell(sender, asked):
                raise ReplicaLost
            look = _Look(self.replicas, sender)
            while not (await asyncio.wait([future], timeout=_LOOK))[0]:
                if await look.lost():
                    raise ReplicaLost
            return future.result()
        finally:
            del self._asking[asked.id, asked.number]

    async def _say(self, replica: str, word: Word, *, patient: bool = False) -> bool:
        return await self.replicas.send(replica, TOPIC, words.encode(word), patient=patient)

    async def _tell(self, replica: str, word: Word) -> bool:
        """Say what must arrive: while the database is out of reach, it is waited for. False where nobody is there."""
        loop = asyncio.get_running_loop()
        # Longer than whoever waits for it does.
        deadline = loop.time() + 2 * _OUTAGE
        while True:
            try:
                return await self._say(replica, word, patient=True)
            except StorageUnavailable as error:
                if loop.time() > deadline or self._stopped:
                    _log.warning("replica %s cannot be told of a call: %s", replica, error)
                    return False
                await asyncio.sleep(error.retry_after)

    def _tell_soon(self, replica: str, word: Word) -> None:
        task = asyncio.get_running_loop().create_task(self._tell(replica, word))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


class _Look:
    """Looks whether another replica is lost: it does not live, or nobody could tell for too long."""

    def __init__(self, replicas: Replicas, name: str) -> None:
        self._replicas = replicas
        self._name = name
        self._untold = 0.0

    async def lost(self) -> bool:
        """Whether what is there is given up; asked each `_LOOK` seconds."""
        try:
            alive = await self._replicas.alive(self._name)
        except StorageUnavailable:
            self._untold += _LOOK
            return self._untold > _OUTAGE
        self._untold = 0.0
        return not alive


class _Work:
    """A call of another replica, as the registry of calls in flight sees it."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task

    def sweep(self, now: float) -> None:
        """Its deadline and its client are looked after where the client is."""

    def drain(self) -> None:
        """It finishes by itself."""

    def stop(self) -> None:
        """The time to finish is over."""
        self.task.cancel()


class _Far:
    """The exchange of a call whose client hangs on another replica."""

    def __init__(
        self,
        begin: Begin,
        say: Callable[[Word], Awaitable[bool]],
        wait: Callable[[AskedOf], Awaitable[Answered]],
    ) -> None:
        self.interactive = begin.interactive
        self._id = begin.id
        self._say = say
        self._wait = wait
        self._asked = 0

    async def notify(self, message: bytes) -> None:
        """Tell the client; what cannot be told on the way is not worth a call."""
        with contextlib.suppress(StorageUnavailable):
            await self._say(Told(self._id, message))

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, object]:
        """Ask the client."""
        self._asked += 1
        encoded = json.encode({key: request.wire() for key, request in requests.items()})
        answered = await self._wait(AskedOf(self._id, self._asked, encoded))
        answers = json.parse(answered.answers)
        assert isinstance(answers, dict)
        return {**answers, **{key: RemoteError(code, text) for key, (code, text) in answered.refused.items()}}

    async def suspend(self, retry: int) -> None:
        """The connection is not ours."""
