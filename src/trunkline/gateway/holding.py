"""Upstream calls that stay open while a person thinks.

What it is for: a legacy upstream asks in the middle of a call; a modern client is answered with `input_required`, and a
later round of the same request finds the call here.
What may live here: held calls, their bounds and their clock. What may not: how an upstream is called, what it asks.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping

from msgspec import UNSET

from trunkline.client.patience import Patience
from trunkline.engine import rounds
from trunkline.engine.context import Context, fits
from trunkline.engine.doors import InputRequest, Result
from trunkline.errors import InternalError, MissingCapability, RemoteError, UpstreamUnavailable
from trunkline.gateway.failures import RAN_KEY, unavailable
from trunkline.gateway.limits import Limits
from trunkline.gateway.relaying import CARRIED, Relay, offered
from trunkline.protocol.messages import Params
from trunkline.protocol.revisions import INPUT_METHODS
from trunkline.runtime.inflight import InFlight

_log = logging.getLogger("trunkline.gateway")

_GATHER = 0.05
"""Seconds to wait for more questions after one, so that those asked side by side travel in one round."""

_AGAIN = 30.0
"""Seconds for which a request whose stream broke, or whose result was sent, may be issued again."""

_PAGES_FIRST = -32042
"""A 2025-11-25 server wants pages visited before the call (client/elicitation, URL Elicitation Required Error)."""

Start = Callable[[Relay], Awaitable[Result]]
"""Sends the request to the upstream and returns its result."""


def needed(context: Context) -> bool:
    """Whether a legacy upstream may ask this caller something, which only rounds can answer."""
    if context.exchange.interactive or context.method not in INPUT_METHODS:
        return False
    return any(name in CARRIED.values() for name in offered(context))


class Held(Relay):
    """One upstream call: what it waits for, and the round that attends to it at the moment.

    Parameters:
        context: the caller's request in its first round.
        patience: the clock of the call.
        start: makes the call.
        replica: where it is held; the handle tells it.
    """

    __slots__ = ("_moved", "_riders", "handle", "open", "shown", "task", "timer")

    def __init__(self, context: Context, patience: Patience, start: Start, replica: str) -> None:
        super().__init__(context, patience)
        self.handle = f"{replica}.{secrets.token_urlsafe(18)}"
        self.open: dict[str, tuple[InputRequest, asyncio.Future[dict[str, object]]]] = {}
        """The questions without an answer, as they were asked."""
        self.shown = False
        """Whether the caller was told of a question, and so may come back."""
        self.timer: asyncio.TimerHandle | None = None
        self._riders = 0
        self._moved = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._work(start))
        self.task.add_done_callback(self._ended)

    def sweep(self, now: float) -> None:
        """Its clock is its own."""

    def drain(self) -> None:
        """It finishes by itself, once its caller has answered."""

    @property
    def attended(self) -> bool:
        """Whether a round waits for it."""
        return self._riders > 0

    def attend(self, context: Context) -> None:
        """A round begins: its answers are delivered, and what comes from now on is told on its stream."""
        self.context = context
        self._riders += 1
        for key, answer in (context.replay.answers if context.replay is not None else {}).items():
            request, future = self.open.get(key, (None, None))
            # An answer that came before, or to nothing that is asked, changes nothing: a round may be repeated.
            if request is not None and future is not None and not future.done() and _fits(request, answer):
                future.set_result(answer)  # type: ignore[arg-type]
                del self.open[key]

    def leave(self) -> None:
        """A round is over."""
        self._riders -= 1

    async def turn(self) -> None:
        """Wait until the call has ended or asks something."""
        while not self.task.done():
            if not self.open:
                self._moved.clear()
                await self._moved.wait()
            elif not (await asyncio.wait([self.task], timeout=_GATHER))[0] and self.open:
                return

    async def on_notification(self, method: str, params: dict[str, object]) -> None:
        """Tell the round of the moment; between rounds nobody listens."""
        if not self.attended:
            return
        if method == "notifications/progress":
            token = _progress_token(self.context.params)
            if token is None:
                return
            # Each round is a request of its own, with a token of its own.
            params = {**params, "progressToken": token}
        await super().on_notification(method, params)

    async def ask(self, request: InputRequest) -> dict[str, object]:
        """Hold the question until a round brings its answer."""
        if not _answerable(self.context, request):
            raise MissingCapability({CARRIED[request.method]: {}})
        self._asked += 1
        key = f"upstream-{self._asked}"
        future: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        self.open[key] = (request, future)
        self._moved.set()
        try:
            return await future
        finally:
            self.open.pop(key, None)

    def stop(self) -> None:
        """End the call at the upstream, and its questions with it."""
        if self.timer is not None:
            self.timer.cancel()
        self.task.cancel()
        for _, future in list(self.open.values()):
            if not future.done():
                future.set_exception(InternalError("the question was not answered in time"))

    async def _work(self, start: Start) -> Result:
        while True:
            try:
                return await start(self)
            except RemoteError as error:
                pages = self._pages(error)
                if not pages:
                    raise
                answers = await asyncio.gather(*(self.on_request("elicitation/create", page) for page in pages))
                if not all(answer.get("action") == "accept" for answer in answers):
                    raise

    def _pages(self, error: RemoteError) -> list[dict[str, object]]:
        """What must be visited before the call works, where this client visits pages."""
        asked = error.data.get("elicitations") if isinstance(error.data, Mapping) else None
        if error.remote_code != _PAGES_FIRST or not isinstance(asked, list) or not self.context.can("elicitation.url"):
            return []
        return [page for page in asked[:100] if isinstance(page, dict) and page.get("mode") == "url"]

    def _ended(self, task: asyncio.Task[Result]) -> None:
        self._moved.set()
        if not task.cancelled():
            task.exception()  # whoever comes for it gets it; nobody may


class Holding:
    """The held calls of one upstream.

    Parameters:
        upstream: its name, for errors.
        limits: how many may be held, and how long.
        replica: the name of this one.
        inflight: gives the registry of calls that a stop of the server waits for.
    """

    def __init__(self, upstream: str, limits: Limits, replica: str, inflight: Callable[[], InFlight]) -> None:
        self._upstream = upstream
        self._inflight = inflight
        self._replica = replica
        self._limits = limits
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return sum(not held.task.done() for held in self._held.values())

    def __contains__(self, handle: str) -> bool:
        return handle in self._held

    async def begin(self, context: Context, patience: Patience, start: Start) -> Result:
        """The first round of a request. Raises `InputRequired` when the upstream asks something."""
        return await self._attend(Held(context, patience, start, self._replica), context)

    async def resume(self, context: Context, handle: str) -> Result:
        """A later round. Raises `UpstreamUnavailable` when the call is not held here any more."""
        held = self._held.get(handle)
        if held is None or held.context.principal.owner != context.principal.owner:
            raise not_held(self._upstream)
        return await self._attend(held, context)

    async def close(self) -> None:
        """End all."""
        tasks = [held.task for held in self._held.values()]
        for handle in list(self._held):
            self._drop(handle)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, held: Held, context: Context) -> Result:
        if held.timer is not None:
            held.timer.cancel()
        held.attend(context)
        rest = _AGAIN
        try:
            await held.turn()
            if held.task.done():
                return held.task.result()
            self._show(held, context)
            rest = self._limits.held_seconds
            raise rounds.InputRequired({key: request for key, (request, _) in held.open.items()})
        finally:
            held.leave()
            if not held.attended:
                self._rest(held, rest)

    def _show(self, held: Held, context: Context) -> None:
        """See that the questions may be shown, and seal the way back to the call."""
        for request, _ in held.open.values():
            if not _answerable(context, request):
                raise MissingCapability({CARRIED[request.method]: {}})
        if not held.shown:
            self._admit(context.principal.owner)
            held.shown = True
            self._held[held.handle] = held
            calls = self._inflight()
            calls.enter(held)
            held.task.add_done_callback(lambda _: calls.calls.discard(held))
        replay = context.replay or rounds.begin()
        replay.held, replay.answers = held.handle, {}
        context.replay = replay

    def _admit(self, owner: str) -> None:
        """Make room for one more. Results that are kept in case they are asked for again are the first to go."""
        theirs = sum(held.context.principal.owner == owner for held in self._held.values())
        for handle, held in list(self._held.items()):
            if held.attended or not held.task.done():
                continue
            his = held.context.principal.owner == owner
            if len(self._held) >= self._limits.held or (his and theirs >= self._limits.held_each):
                self._drop(handle)
                theirs -= his
        if len(self._held) >= self._limits.held or theirs >= self._limits.held_each:
            raise unavailable(
                self._upstream,
                f"holds {theirs} calls of this caller and {len(self._held)} in all open for answers, which is as many "
                "as it may; answer some first",
                retry=True,
            )

    def _rest(self, held: Held, seconds: float) -> None:
        """Wait for the next round, for a while; a call whose caller cannot come back ends now."""
        if not held.shown:
            held.stop()
        elif held.handle in self._held:
            held.timer = asyncio.get_running_loop().call_later(seconds, self._drop, held.handle)

    def _drop(self, handle: str) -> None:
        held = self._held.pop(handle)
        if not held.task.done():
            facts = {"request": held.context.trace, "method": held.context.method, "upstream": self._upstream}
            _log.info("upstream %s: a call waited for answers that did not come", self._upstream, extra=facts)
        held.stop()


def home_of(handle: str) -> str:
    """The replica that holds a call."""
    return handle.partition(".")[0]


def orphaned(context: Context, replica: str) -> bool:
    """Whether a round that is answered at `replica` was asked for by a process of another one, which is gone."""
    home = context.replay.home if context.replay is not None else None
    return home not in (None, replica)


def not_held(upstream: str) -> UpstreamUnavailable:
    """The error for a round whose call cannot be found any more."""
    what = "no longer holds this call open: it expired, or the process that held it is gone"
    failure = unavailable(upstream, f"{what}; send the request again without requestState", retry=True)
    assert isinstance(failure.data, dict)
    failure.data[RAN_KEY] = True
    return failure


def _answerable(context: Context, request: InputRequest) -> bool:
    url = request.params is not None and request.params.get("mode") == "url"
    return context.can(CARRIED[request.method] + (".url" if url else ""))


def _fits(request: InputRequest, answer: object) -> bool:
    try:
        return fits(request, answer)
    except (KeyError, ValueError):
        # The upstream's schema is none; what it makes of the answer is its own affair.
        return isinstance(answer, dict)


def _progress_token(params: Params) -> str | int | None:
    meta = params.meta
    if meta is UNSET or meta.progress_token is UNSET:
        return None
    return meta.progress_token
