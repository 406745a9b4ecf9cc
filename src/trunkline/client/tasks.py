"""Calls whose results come later.

What it is for: follow a task until it ends, answer what it asks, and hand it to the user as an object.
What may live here: `TaskHandle`, and that loop. What may not: what a server's answers mean.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from trunkline.client.connection import Connection
from trunkline.client.news import Hearing, News
from trunkline.client.repeating import AWAY, passing
from trunkline.client.reports import OnProgress, called
from trunkline.client.results import CallResult, plain
from trunkline.client.rounds import Answer, answered
from trunkline.errors import InvalidAnswer, RemoteError, TaskExpired, TransportError, TrunklineError
from trunkline.extensions.tasks import polling
from trunkline.extensions.tasks.polling import TaskState, Watch

JsonObject = dict[str, object]
Finish = Callable[[JsonObject, bool], CallResult]
"""Makes the object of a result that came; whether a tool that failed raises `ToolError`."""

_log = logging.getLogger("trunkline.client")
_FAREWELL = 2.0
"""Seconds a caller that is cancelled waits until the server knows that its task is."""


class Tasks:
    """What following tasks takes of a client.

    Parameters:
        connection: to the server. answer: answers one question.
        timeout: seconds one request may take. maximum: seconds without any answer after which a server is given up.
        rounds: how often a task may ask.
    """

    def __init__(self, connection: Connection, answer: Answer, timeout: float, maximum: float, rounds: int) -> None:
        self._connection = connection
        self._answer = answer
        self._timeout = timeout
        self._maximum = maximum
        self._rounds = rounds
        self._hearing = Hearing()

    async def look(self, watch: Watch, *, within: float = AWAY) -> TaskState:
        """The task as it is now. Raises `TaskExpired` or `RemoteError` for one that is not there, `TransportError`."""
        try:
            shown = await self._ask("tasks/get", {"taskId": watch.id}, within)
        except RemoteError as error:
            refused = error
        else:
            state = polling.detailed({key: plain(value) for key, value in shown.items()}, watch.id)
            watch.saw(state, time.monotonic())
            return state
        raise polling.explained(refused, watch.id, seen=watch.state is not None)

    async def cancel(self, id: str) -> None:
        """Ask the server to end a task; one that has ended stays as it is (tasks, Cancel)."""
        await self._ask("tasks/cancel", {"taskId": id})

    async def abandon(self, watch: Watch) -> None:
        """Cancel a task nobody waits for any more, as well as that is possible in a moment."""
        if watch.state is None or not watch.state.ended:
            with contextlib.suppress(TrunklineError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self.cancel(watch.id)

    async def outcome(self, watch: Watch, report: OnProgress | None = None) -> JsonObject:
        """Follow a task to its end. Raises what it failed with, `TaskCancelled` or `TaskExpired`.

        Parameters:
            report: takes what the server says of the task, each time it says something else.
        """
        said: str | None = None
        number = 0
        async with aclosing(self.follow(watch)) as states:
            async for state in states:
                if report is not None and state.message and state.message != said:
                    said, number = state.message, number + 1
                    await called(report(number, None, said))
                if state.ended:
                    return polling.outcome(state)
        raise AssertionError("a task was followed and has not ended")

    async def complete(self, created: JsonObject, report: OnProgress | None) -> JsonObject:
        """The result of a call that became a task. Nobody else knows of it: it is cancelled when its caller leaves."""
        watch = await self.begun(created)
        try:
            return await self.outcome(watch, report)
        except TaskExpired:
            raise
        except BaseException:
            await self.abandon(watch)
            raise

    async def handle(self, result: JsonObject, finish: Finish) -> "TaskHandle":
        """What a call gave, as a handle: a task, or a result that is there already."""
        if result.get("resultType") == "task":
            return TaskHandle(self, await self.begun(result), finish)
        return TaskHandle(self, Watch("", polling.direct(result), time.monotonic()), finish)

    async def resume(self, id: str, finish: Finish) -> "TaskHandle":
        """A handle of a task that was begun elsewhere. Raises `TaskExpired` or `RemoteError`."""
        watch = Watch(id, None, time.monotonic())
        await self.look(watch)
        return TaskHandle(self, watch, finish)

    async def begun(self, created: JsonObject) -> Watch:
        """The task a call became. Raises `InvalidAnswer` where the server may make none of it."""
        peer = await self._connection.peer()
        if peer.era != "modern":
            raise InvalidAnswer(f"{peer.name} answered with a task, which its protocol version {peer.revision} has not")
        state = polling.created(created)
        return Watch(state.id, state, time.monotonic())

    async def follow(self, watch: Watch) -> AsyncGenerator[TaskState, None]:
        """The states of a task, whenever status, message or questions changed, its end last; questions are answered.

        A connection that is lost is made again. Raises `TaskExpired`, `RemoteError`, and `TransportError` for a server
        that cannot be reached for long.
        """
        last: object = None
        async with News(self._connection, self._hearing, watch.id) as news:
            while True:
                state = watch.state
                if state is not None and state.known:
                    shown = (state.status, state.message, state.requests)
                    if shown != last:
                        yield state
                    if state.ended:
                        return
                    last = shown
                    await self._answer_new(watch)
                await self._next(watch, news)

    async def _next(self, watch: Watch, news: News) -> None:
        """Until the server has shown the task again."""
        seen = watch.state
        while watch.state is seen:
            try:
                if watch.unsent:
                    await self._send_answers(watch)
                if watch.wait(time.monotonic()) > 0:
                    await news.open()
                wait = watch.wait(time.monotonic(), news.since)
                if wait <= 0:
                    await self._poll(watch)
                elif (told := await news.wait(wait)) is not None:
                    watch.saw(told, time.monotonic())
            except (TransportError, RemoteError) as error:
                await asyncio.sleep(self._left_alone(watch, error))

    async def _poll(self, watch: Watch) -> None:
        state = await self.look(watch, within=0)
        if watch.over(time.monotonic()) and not state.ended:
            raise TaskExpired(f"The task {watch.id} is still {state.status} after its published life", watch.id)

    def _left_alone(self, watch: Watch, error: TransportError | RemoteError) -> float:
        """Seconds until what failed is tried again; raises what failed where that is vain."""
        wait, now = passing(error), time.monotonic()
        if wait is None or self._connection.closed or watch.silent(now) > self._maximum:
            raise error
        if watch.over(now):
            raise TaskExpired(f"The task {watch.id} cannot be reached until its end: {error}", watch.id) from error
        return watch.missed(now, wait)

    async def _answer_new(self, watch: Watch) -> None:
        """Answer the questions that are new; what is asked again was answered, or is being."""
        new = watch.ask()
        if watch.rounds > self._rounds:
            raise InvalidAnswer(f"The task {watch.id} asked for input {self._rounds} times and is still not complete")
        try:
            for key, request in new.items():
                watch.unsent[key] = await answered(key, request, self._answer)
        except BaseException:
            # Whoever follows the task next asks again.
            watch.unask(new)
            raise

    async def _send_answers(self, watch: Watch) -> None:
        """Those of one look together: a server need not take them one by one (tasks, Update)."""
        responses = dict(watch.unsent)
        try:
            await self._ask("tasks/update", {"taskId": watch.id, "inputResponses": responses}, within=0)
        except RemoteError as error:
            if passing(error) is not None:
                raise
            # It is over, perhaps, or these are not wanted any more: the next look tells.
            _log.info("%s does not take answers to task %s: %s", self._connection.target.name, watch.id, error)
        for key in responses:
            watch.unsent.pop(key, None)

    async def _ask(self, method: str, params: JsonObject, within: float = AWAY) -> JsonObject:
        """One request about a task: each may be sent any number of times (tasks, Get, Update, Cancel)."""
        return await self._connection.request(
            method, params, timeout=self._timeout, maximum=self._maximum, repeatable=True, within=within
        )


class TaskHandle:
    """A call that goes on without its caller; from `Client.start` and `Client.resume`.

    `id` is all that is needed to come back to it, from any process, with `Client.resume`; it is empty where the server
    answered at once. Nothing is cancelled but by `cancel`: whoever stops waiting can wait again.

        handle = await client.start("report", year=2026)
        async for state in handle:
            print(state.status, state.message)
        print((await handle.result()).text)
    """

    def __init__(self, tasks: Tasks, watch: Watch, finish: Finish) -> None:
        self._tasks = tasks
        self._watch = watch
        self._finish = finish

    def __repr__(self) -> str:
        state = self._watch.state
        return f"<TaskHandle {self.id} {state.status if state else ''}>"

    @property
    def id(self) -> str:
        """The task's id."""
        return self._watch.id

    @property
    def done(self) -> bool:
        """Whether it is known to have ended."""
        return self._watch.state is not None and self._watch.state.ended

    async def result(self, *, check: bool = True) -> CallResult:
        """Wait for the result; questions of the task are answered meanwhile.

        Parameters:
            check: raise `ToolError` when the tool failed; False returns the result with `is_error`.

        Raises the `RemoteError` of a task that failed, `TaskCancelled`, `TaskExpired`, and `TransportError` for a
        server that cannot be reached for long.
        """
        return self._finish(await self._tasks.outcome(self._watch), check)

    async def status(self) -> TaskState:
        """How it is now. Raises `TaskExpired` or `RemoteError` when it is not there any more."""
        state = self._watch.state
        if state is not None and state.ended and state.known:
            return state
        return await self._tasks.look(self._watch)

    async def cancel(self) -> None:
        """Ask the server to end it. It may still complete: `result` tells."""
        if not self.done:
            await self._tasks.cancel(self.id)

    def __aiter__(self) -> AsyncGenerator[TaskState, None]:
        """Its states as they change, the end last; questions are answered meanwhile."""
        return self._tasks.follow(self._watch)
