"""One bound: so many calls at once, so many a second, and a short fair queue before it.

What it is for: nobody waits without end, and no caller takes the turn of another.
What may live here: the bucket, the queue, who goes next. What may not: what is bounded, what is said of it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from trunkline.errors import TrunklineError


class Full(TrunklineError):
    """There is no place.

    Parameters:
        after: seconds after which there may be one.
    """

    def __init__(self, after: float) -> None:
        super().__init__("There is no place in the queue")
        self.after = after


class Gate:
    """Lets calls through, in turns between those who wait.

    Parameters:
        concurrent: calls at once; None for any number.
        rate: calls a second, as many of them at once as a second allows; None for any number.
        queue: calls that may wait.
        wait: seconds one may wait.
        clock: monotonic seconds.

    A call that finds the gate open costs no timer, task or future.
    """

    __slots__ = ("_burst", "_clock", "_concurrent", "_filled", "_queue", "_rate", "_running", "_timer", "_tokens",
                 "_wait", "_waiting", "_waits")  # fmt: skip

    def __init__(
        self, concurrent: int | None, rate: float | None, queue: int, wait: float, clock: Callable[[], float]
    ) -> None:
        self._concurrent = concurrent
        self._rate = rate
        self._queue = queue
        self._wait = wait
        self._clock = clock
        self._burst = max(1.0, rate or 1.0)
        self._tokens = self._burst
        self._filled = clock()
        self._running = 0
        self._waiting = 0
        # Who waits, each with their calls in order; the first one has the next turn.
        self._waits: dict[str, deque[asyncio.Future[None]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether forgetting it makes no difference."""
        self._fill()
        return self._running == 0 and self._waiting == 0 and self._tokens >= self._burst

    def pass_now(self) -> bool:
        """Go through if that needs no waiting; paired with `leave`."""
        if self._waiting or not self._open():
            return False
        self._take()
        return True

    async def pass_in_turn(self, who: str) -> None:
        """Wait for a turn; paired with `leave`. Raises `Full`.

        Parameters:
            who: those who wait take turns, however many calls each has waiting.
        """
        if not self._worth_waiting():
            raise Full(self._after())
        if self._waiting >= self._queue:
            self._make_room(who)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waits.setdefault(who, deque()).append(turn)
        self._waiting += 1
        self._schedule()
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except BaseException as error:
            self._give_up(who, turn)
            if isinstance(error, TimeoutError):
                raise Full(self._after()) from None
            raise

    def leave(self) -> None:
        """One that went through is done."""
        self._running -= 1
        if self._waiting:
            self._admit()

    def _fill(self) -> None:
        if self._rate is not None:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
            self._filled = now

    def _open(self) -> bool:
        self._fill()
        return self._tokens >= 1.0 and (self._concurrent is None or self._running < self._concurrent)

    def _take(self) -> None:
        self._running += 1
        if self._rate is not None:
            self._tokens -= 1.0

    def _admit(self) -> None:
        """Let through who may go, in turns."""
        while self._waiting and self._open():
            who = next(iter(self._waits))
            turns = self._waits.pop(who)
            turn = turns.popleft()
            self._waiting -= 1
            if turns:
                self._waits[who] = turns
            if not turn.done():
                self._take()
                turn.set_result(None)
        self._schedule()

    def _schedule(self) -> None:
        """One timer, and only while calls wait for the rate."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and self._rate is not None and self._tokens < 1.0:
            self._timer = asyncio.get_running_loop().call_later((1.0 - self._tokens) / self._rate + 0.001, self._admit)

    def _make_room(self, who: str) -> None:
        """In a full queue the latest call of whoever has most waiting makes room for one who has fewer."""
        greedy = max(self._waits, key=lambda one: len(self._waits[one]), default=None)
        mine = len(self._waits.get(who, ()))
        if greedy is None or len(self._waits[greedy]) <= mine + 1:
            raise Full(self._after())
        turn = self._waits[greedy].pop()
        self._waiting -= 1
        if not turn.done():
            turn.set_exception(Full(self._after()))

    def _give_up(self, who: str, turn: "asyncio.Future[None]") -> None:
        turns = self._waits.get(who)
        if turns is not None and turn in turns:
            turns.remove(turn)
            self._waiting -= 1
            if not turns:
                del self._waits[who]
        elif turn.done() and not turn.cancelled() and turn.exception() is None:
            # It was let through in the moment it gave up.
            self.leave()

    def _worth_waiting(self) -> bool:
        return self._rate is None or (self._waiting + 1 - self._tokens) / self._rate <= self._wait

    def _after(self) -> float:
        """When there may be a place: known for a rate, a guess for calls that are running."""
        if self._rate is None:
            return 1.0
        return max((self._waiting + 1 - self._tokens) / self._rate, 0.001)
