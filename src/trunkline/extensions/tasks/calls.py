"""Calls that become tasks.

What it is for: the interceptor: when does a `tools/call` become a task, and what does its client get.
What may live here: that decision for each trigger, and the service for clients that know nothing of tasks.
What may not: how a task runs, what the store keeps.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, InputRequest, Result
from trunkline.errors import InvalidParams, Overloaded, RemoteError, ResourceNotFound, StorageUnavailable
from trunkline.extensions.tasks.declaring import declares, missing
from trunkline.extensions.tasks.listening import Listeners, settled
from trunkline.extensions.tasks.names import KEY, LINK, NARROWED
from trunkline.extensions.tasks.policy import TaskPolicy
from trunkline.extensions.tasks.records import NewTask, Task
from trunkline.extensions.tasks.running import Running, encode_replay, origin
from trunkline.extensions.tasks.showing import created, shown
from trunkline.extensions.tasks.store import TaskStore
from trunkline.extensions.tasks.worker import Rule, Worker
from trunkline.protocol import json

_MARGIN = 1.0
"""Seconds before its deadline in which a waiting call is answered."""


class _Wishes(Struct, frozen=True):
    """What a client may say about the task of a call."""

    key: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = field(default=UNSET, name=KEY)
    narrowed: dict[str, object] | UnsetType = field(default=UNSET, name=NARROWED)


class _Said(Struct):
    meta: _Wishes = field(default=_Wishes(), name="_meta")


_decode_said = msgspec.json.Decoder(_Said).decode


class Calls:
    """The interceptor of the extension.

    Parameters:
        store: where tasks are.
        worker: runs them here.
        rules: what there is to know about a tool; None for one that never is a task.
        listeners: tell of changes.
        part: of what application the calls are that it is given, as in `doors.Run`.
        elsewhere: whether whoever answers the calls of a tool remembers their idempotency keys.
    """

    def __init__(
        self,
        store: Callable[[], TaskStore],
        worker: Callable[[], Worker],
        rules: Callable[[str], Rule | None],
        listeners: Listeners,
        part: str = "",
        elsewhere: Callable[[str], bool] | None = None,
    ) -> None:
        self._store = store
        self._worker = worker
        self._rules = rules
        self._listeners = listeners
        self._part = part
        self._elsewhere = elsewhere

    def __call__(self, context: Context, call_next: CallNext) -> Awaitable[Result]:
        """Answer a call of a tool that may be a task; everything else goes its way, at the cost of this look."""
        if context.method == "tools/call":
            rule = self._rules(context.params.name)  # type: ignore[arg-type]
            if rule is not None and context.principal.may_call(str(context.params.name)):
                return self._call(context, rule, call_next)
            refuse_key(context, self._elsewhere)
        elif context.method == "resources/read" and str(context.params.uri).startswith(LINK):
            return self._read(context)
        return call_next(context)

    async def _call(self, context: Context, rule: Rule, call_next: CallNext) -> Result:
        declared = declares(context)
        if not declared and rule.policy.mode == "required":
            raise missing(f"The tool {context.params.name!r} only runs as a task")
        replay = context.replay
        if replay is not None and replay.task is not None:
            # A client without the extension brings answers to a task that does its work.
            task = await self._store().answer(replay.task, context.principal.owner, replay.answers)
            if task is None:
                raise InvalidParams(
                    "Invalid params: the task this requestState belongs to is gone; call the tool again"
                )
            return await self._serve(context, rule, task)
        wishes = _wishes(context)
        policy = rule.policy if wishes.narrowed is UNSET else rule.policy.narrowed(wishes.narrowed)
        answered = replay is not None and bool(replay.answers)
        at_once = policy.trigger == "at_once" or (policy.trigger == "after_input" and answered)
        # A key is remembered with a task alone.
        if at_once or wishes.key is not UNSET:
            task, _ = await self._worker().create(self._new(context, policy, wishes))
        else:
            outcome = await self._inside(context, policy, wishes, call_next)
            if not isinstance(outcome, Task):
                return outcome
            task = outcome
        return created(task) if declared else await self._serve(context, rule, task)

    async def _inside(
        self, context: Context, policy: TaskPolicy, wishes: _Wishes, call_next: CallNext
    ) -> Result | Task:
        """Run a call in its request; one that runs long goes on as the first attempt of a task."""
        context.replay = context.replay or rounds.begin()
        running = Running(self._store(), policy, context.exchange, self._part)
        inner = running.inside(context)
        work: asyncio.Future[Result] = asyncio.ensure_future(call_next(inner))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=policy.after)
                # While its client is being asked it can neither move nor is it slow.
                if not work.done() and not running.asking:
                    try:
                        return await self._worker().adopt(running, work, inner, self._new(inner, policy, wishes))
                    except (Overloaded, StorageUnavailable):
                        # As a plain call it can still be answered.
                        await asyncio.wait({work})
            return work.result()
        except asyncio.CancelledError:
            if running.id is None:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)
            raise

    # -- clients that know nothing of tasks ------------------------------------------------------------------------

    async def _serve(self, context: Context, rule: Rule, task: Task) -> Result:
        """Wait for a task on behalf of a client without the extension (DESIGN, Tasks).

        When the client leaves, the task goes on: `tasks/cancel` alone cancels one that exists (tasks, section 5).
        """
        store, id = self._store(), task.id
        steps = 0

        said: str | None = None

        async def report(now: Task) -> None:
            nonlocal steps, said
            if now.message is not None and now.message != said:
                steps, said = steps + 1, now.message
                await context.progress(steps, message=now.message)

        left = _patience(context, task.policy.wait)
        while True:
            began = time.monotonic()
            found = await settled(store, self._listeners, id, left, report)
            if found is None:
                return _later(id, rule)
            if found.status != "input_required":
                return await self._outcome(found)
            if not context.exchange.interactive:
                raise _round(context, found)
            left -= time.monotonic() - began
            failure = await self._ask(context, found)
            if failure is not None:
                return failure

    async def _ask(self, context: Context, task: Task) -> Result | None:
        """Ask a legacy client what its task asks; where it cannot answer, the task has nobody to go on for."""
        requests = {key: _request(wire) for key, wire in task.questions.items()}
        answers = await context.exchange.ask(requests)
        for key, answer in answers.items():
            if isinstance(answer, Exception):
                await self._store().cancel(task.id, task.owner)
                self._worker().cancel(task.id)
                return _error(f"The client could not answer {key!r}: {answer}")
        await self._store().answer(task.id, task.owner, answers)
        return None

    async def _outcome(self, task: Task) -> Result:
        """What the call would have given."""
        payload = None if task.erased else await self._store().outcome(task.id)
        if task.status == "cancelled":
            return _error("The task was cancelled")
        if payload is None:
            return _error("The task has expired; its outcome was erased")
        outcome = json.parse(payload)
        assert isinstance(outcome, dict)
        if task.status == "failed":
            raise RemoteError(outcome["code"], outcome["message"], outcome.get("data"))
        return outcome

    async def _read(self, context: Context) -> Result:
        """What became of a task, for its owner: the resource that a client without the extension was linked to."""
        uri = str(context.params.uri)
        store = self._store()
        task = await store.load(uri.removeprefix(LINK))
        if task is None or task.owner != context.principal.owner or task.erased:
            raise ResourceNotFound(uri[:200])
        found = await shown(store, task)
        if found is None:
            raise ResourceNotFound(uri[:200])
        text = json.encode(found).decode()
        contents = {"uri": uri, "mimeType": "application/json", "text": text}
        return {"contents": [contents], "ttlMs": 0, "cacheScope": "private"}

    def _new(self, context: Context, policy: TaskPolicy, wishes: _Wishes) -> NewTask:
        arguments = context.params.arguments
        plain = {} if isinstance(arguments, UnsetType) else json.plain(arguments)
        return NewTask(
            owner=context.principal.owner,
            client=context.principal.client,
            tool=str(context.params.name),
            policy=policy,
            request=origin(context, self._part),
            replay=encode_replay(context.replay or rounds.begin()),
            key=None if wishes.key is UNSET else wishes.key,
            digest=_digest(plain),
        )


def has_key(context: Context) -> bool:
    """Whether a call comes with an idempotency key."""
    meta = context.params.meta
    return meta is not UNSET and meta.idempotency_key is not UNSET


def refuse_key(context: Context, elsewhere: Callable[[str], bool] | None = None) -> None:
    """A key that nothing would remember is refused: whoever sends one relies on it (task-lifecycle, section 4).

    Parameters:
        elsewhere: as in `Calls`, by the name the call has.
    """
    if has_key(context) and not (elsewhere is not None and elsewhere(str(context.params.name))):
        raise InvalidParams(
            f"Invalid params: _meta {KEY}: calls of {str(context.params.name)[:128]!r} never become tasks, so that no "
            "key is remembered; send the call without one",
            {"dev.trunkline/reason": "key_not_honoured"},
        )


def _digest(arguments: object) -> bytes:
    """Of what is asked: written with other blanks or in another order it is the same."""
    return hashlib.sha256(msgspec.json.encode(arguments, order="sorted")).digest()


def _wishes(context: Context) -> _Wishes:
    try:
        return _decode_said(context.params.raw).meta
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidParams(f"Invalid params: _meta: {error}") from None


def _patience(context: Context, wait: float) -> float:
    """Seconds to wait: what the policy says, and not until the request is stopped as too long."""
    if context.deadline is None:
        return wait
    return max(0.0, min(wait, context.deadline - time.monotonic() - _MARGIN))


def _round(context: Context, task: Task) -> rounds.InputRequired:
    """Ask in an input round whose state remembers the task."""
    context.replay = rounds.begin()
    context.replay.task = task.id
    return rounds.InputRequired({key: _request(wire) for key, wire in task.questions.items()})


def _request(wire: Mapping[str, object]) -> InputRequest:
    return msgspec.convert(wire, InputRequest)


def _later(id: str, rule: Rule) -> Result:
    """The task goes on; under the link the client finds what became of it."""
    text = f"This takes longer than the call can wait. It goes on; read the resource {LINK}{id} for its outcome."
    link = {"type": "resource_link", "uri": f"{LINK}{id}", "name": id, "mimeType": "application/json"}
    result: Result = {"content": [{"type": "text", "text": text}, link]}
    if rule.structured:
        # Clients refuse a success without the structured content that the tool's schema promises.
        result["isError"] = True
    return result


def _error(text: str) -> Result:
    return {"content": [{"type": "text", "text": text}], "isError": True}
