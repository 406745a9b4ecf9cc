"""How often a person is asked.

What it is for: requests repeat themselves, connections come back, and streams reconnect for ever; a browser window for
each of them would be a nuisance, and a way to have people agree to anything.
What may live here: the pauses and limits. What may not: asking.
"""

import time
from collections.abc import Callable

from trunkline.auth.addresses import shown
from trunkline.errors import SignInError

STEPS = 2
"""How often the same scopes are asked for in vain until that counts as permanent (Step-Up Authorization Flow, 4): the
request is sent three times."""

_STEP_SECONDS = 600.0
"""Seconds after which they may be asked for again."""

_PAUSE, _LONGEST = 30.0, 3600.0
"""Seconds after a sign-in that failed in which nobody is asked: the first time, and at most; each is twice as long."""


class Asking:
    """What was asked of people, for one server.

    Parameters:
        clock: seconds, which only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = ""
        self._until = 0.0
        self._pause = _PAUSE
        self._steps: dict[frozenset[str], tuple[int, float]] = {}

    def check(self) -> None:
        """Somebody is to be asked now. Raises `SignInError` so soon after they said no, or did not come back."""
        left = self._until - self._clock()
        if left > 0:
            raise SignInError(f"{self._said}; nobody is asked again for {left:.0f} seconds")

    def failed(self, error: Exception) -> None:
        """They were asked, and it led to nothing."""
        self._said = str(error)
        self._until = self._clock() + self._pause
        self._pause = min(self._pause * 2, _LONGEST)

    def succeeded(self) -> None:
        """They signed in."""
        self._until, self._pause = 0.0, _PAUSE

    def step(self, server: str, missing: frozenset[str]) -> None:
        """Scopes are to be asked for. Raises `SignInError` where that was done in vain, often enough."""
        now = self._clock()
        self._steps = {scopes: step for scopes, step in self._steps.items() if now - step[1] <= _STEP_SECONDS}
        tries, _ = self._steps.get(missing, (0, now))
        if tries >= STEPS:
            raise SignInError(
                f"{shown(server)} wants the scopes {shown(' '.join(sorted(missing)))}, and still does after they were "
                f"asked for {STEPS} times: who signed in may not have them"
            )
        self._steps[missing] = (tries + 1, now)
