"""The connections of one upstream, and what they are shown as.

What it is for: the gateway's own connection and those of its callers, each with the credentials that are its own.
What may live here: that, and what a caller is told who has to connect an account. What may not: calls, restarts.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial

from trunkline.auth.doors import Credentials
from trunkline.engine import rounds
from trunkline.engine.context import Context, elicitation
from trunkline.engine.doors import Notes
from trunkline.errors import RemoteError, SignInNeeded, TransportError, TrunklineError
from trunkline.gateway import relaying
from trunkline.gateway.credentials import Accounts
from trunkline.gateway.dialling import Call, Connection, Dial
from trunkline.gateway.elsewhere import Elsewhere
from trunkline.gateway.failures import unavailable
from trunkline.gateway.handovers import SessionNote
from trunkline.gateway.masking import Mask
from trunkline.gateway.sessions import Session
from trunkline.portable.model import Entry

_QUESTION = "dev.trunkline/connect"
_PAGES_FIRST = -32042
"""URL elicitation required: 2025-11-25, client/elicitation, Error Handling."""

_BELIEVED, _MOST = 30.0, 10_000
"""Seconds for which a caller that had an account counts as having one, and callers of whom that is remembered."""

_WAIT = 60.0
_LOOK = 0.5
"""Seconds a call waits for a person who said that they open the page, and between two looks whether they are done."""


class Connecting:
    """Connects an upstream for the gateway and for its callers.

    Parameters:
        entry: the upstream. dial: makes connections. accounts: what it is shown.
        hear: takes what it writes beside its messages.
        mask: takes secrets out of errors.
    """

    def __init__(
        self,
        entry: Entry,
        dial: Dial,
        accounts: Accounts,
        elsewhere: Elsewhere,
        notes: Notes,
        hear: Callable[[str], None],
        mask: Mask,
    ) -> None:
        self.each = entry.per_principal
        """Whether each caller has an account of its own there."""
        self._entry = entry
        self._dial = dial
        self._accounts = accounts
        self._elsewhere = elsewhere
        self._notes = notes
        self._hear = hear
        self._mask = mask
        self._credentials = accounts.of(entry)
        self._known: dict[str, float] = {}
        """Callers that had an account a moment ago, until when that is believed."""

    async def own(self) -> Connection:
        """The gateway's own connection: lists, changes, and all calls where nothing is kept for a caller."""
        together = self._entry.transport == "stdio" and self._entry.processes in ("shared", "stateless")
        offered = {} if together else relaying.EVERYTHING
        try:
            return await self._dial(Call(self._entry, offered, self._hear, credentials=self._credentials))
        except TrunklineError as error:
            self._mask.hide(error)
            raise

    async def of(self, session: Session) -> Connection:
        """The connection of a caller's session."""

        async def hear(method: str, params: dict[str, object]) -> None:
            if not await session.hear(method, params):
                self._hear(relaying.log_line(params))

        note = SessionNote(self._entry, session.key, self._notes, self._elsewhere.replicas)
        session.elsewhere = partial(self._elsewhere.ask_others, note, self._entry.name, session.key)
        shown: Credentials | None = self._credentials
        if self.each:
            shown = self._accounts.of_caller(self._entry, session.key[0])
        call = Call(self._entry, session.capabilities, self._hear, session.answer, hear, note, shown)
        return await self._dial(call)

    async def admit(self, context: Context) -> None:
        """See that a caller has an account there, or have it connect one.

        Raises what asks the caller's person to open a page: `InputRequired` where input comes in rounds, the error of
        2025-11-25, else `UpstreamUnavailable` with the page in its text.
        """
        answers = context.replay.answers if context.replay is not None else {}
        # The upstream did not ask this, and is not told.
        answer = answers.pop(_QUESTION, None)
        if await self._has(context.principal.owner):
            return
        if isinstance(answer, dict):
            if answer.get("action") == "accept" and await self._connected(context):
                return
            raise unavailable(self._entry.name, "needs an account of yours, and none was connected", retry=False)
        raise self.invitation(context)

    def invitation(self, context: Context) -> BaseException:
        """What tells a caller to connect an account."""
        url = self._accounts.invite(self._entry, context.principal)
        name = self._entry.title or self._entry.name
        if url is None:
            what = "needs an account of each caller, which takes HTTP at an address they can open (listen.public_url)"
            return unavailable(self._entry.name, what, retry=False)
        message = f"To use {name}, connect your account there"
        if context.can("elicitation.url") and not context.exchange.interactive:
            return rounds.InputRequired({_QUESTION: elicitation(message, url=url)})
        if context.can("elicitation.url") and context.revision.name == "2025-11-25":
            page = {"mode": "url", "elicitationId": url.rpartition("=")[2][-32:], "url": url, "message": message}
            return RemoteError(_PAGES_FIRST, message, {"elicitations": [page]})
        return unavailable(self._entry.name, f"needs an account of yours: open {url} and try again", retry=False)

    def outcome(self, context: Context, error: TransportError) -> BaseException | None:
        """What a caller is told whose account is not good any more; None for every other failure."""
        if not (self.each and isinstance(error, SignInNeeded)):
            return None
        self._known.pop(context.principal.owner, None)
        return self.invitation(context)

    async def _has(self, owner: str) -> bool:
        """Whether a caller has an account; the store is not asked for each call."""
        now = time.monotonic()
        if self._known.get(owner, 0.0) > now:
            return True
        if not await self._accounts.has(self._entry, owner):
            return False
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[owner] = now + _BELIEVED
        return True

    async def _connected(self, context: Context) -> bool:
        ends = time.monotonic() + _WAIT
        while time.monotonic() < ends:
            if await self._has(context.principal.owner):
                return True
            await asyncio.sleep(_LOOK)
        return False
