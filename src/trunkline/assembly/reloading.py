"""A changed configuration becomes a changed gateway.

What it is for: files are watched; what they say is checked whole, then applied as a difference, or not at all.
What may live here: when to look, what may change while running, what is said about it.
What may not: how upstreams are exchanged (`gateway/`), reading (`plan.py`).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from trunkline.assembly.gateway import Gateway
from trunkline.assembly.hangup import on_hangup
from trunkline.assembly.lockfile import lock_path
from trunkline.assembly.plan import Plan, Remembered, document_faults, fill_in
from trunkline.assembly.serving import guard_of
from trunkline.assembly.settings import read_settings
from trunkline.assembly.watching import Watch
from trunkline.errors import ConfigError

_log = logging.getLogger("trunkline.configuration")

PERIOD = 1.0
"""Seconds between two looks at the files."""


class Reloader:
    """Keeps a gateway what its configuration says.

    Parameters:
        gateway: running.
        environment: what `${VAR}` stands for.
        remembered: the answers that were given when it started.
        period: seconds between two looks.
    """

    def __init__(
        self,
        gateway: Gateway,
        environment: Mapping[str, str],
        remembered: Remembered,
        period: float = PERIOD,
    ) -> None:
        self._gateway = gateway
        self._path = gateway.name
        self._environment = environment
        self._remembered = remembered
        self._period = period
        # The lock file is looked at although nothing may be pinned: one that is bad or gone may be good again later.
        self._own = frozenset({Path(self._path), lock_path(self._path)})
        self._files = self._own | gateway.plan.files
        self._watch = Watch(self._files)
        self._wanted = asyncio.Event()
        remembered.stop_asking()

    def wake(self) -> None:
        """Read the configuration now, changed or not."""
        self._wanted.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._period)
            try:
                # Files may lie on a network, and the keyring may be slow.
                if self._wanted.is_set() or await asyncio.to_thread(self._watch.changed):
                    self._wanted.clear()
                    await self.reload()
            except Exception:
                _log.exception("the configuration could not be reloaded")

    async def reload(self) -> None:
        """Read the configuration and apply it, or say why not."""
        try:
            plan = await asyncio.to_thread(self._read)
            if plan is None:
                # Somebody is still writing, and what was read is already out of date; or it is read again, watched.
                self.wake()
                await asyncio.sleep(0.05)
                return
            self._refuse(plan)
            self._gateway.apply(plan)
        except ConfigError as error:
            self._gateway.fault = f"not reloaded, the former one holds: {error.message}"
            _log.warning("configuration %s was not reloaded: %s", self._path, error.message)

    def _read(self) -> Plan | None:
        """The plan of what the files say now; None when they changed meanwhile, or others than those watched were read.

        What is read is looked at before: an edit right after the reading is then no part of what was looked at.
        """
        self._watch = Watch(self._files)
        settings = read_settings(self._path)
        if not self._files.issuperset(settings.includes):
            self._files |= set(settings.includes)
            return None
        if settings.faults:
            raise ConfigError("\n".join(settings.faults))
        plan = fill_in(settings, self._environment, self._remembered, self._gateway.pins)
        files = self._own | plan.files
        if files != self._files:
            self._files = files
            return None
        if self._watch.changed():
            return None
        wrong = document_faults(plan, self._gateway.plan.entries)
        if wrong:
            raise ConfigError("\n".join(wrong))
        return plan

    def _refuse(self, plan: Plan) -> None:
        """Raise `ConfigError` for a plan that would make things worse."""
        guard_of(plan.settings.listen)
        known = {problem.server for problem in self._gateway.problems}
        found = [problem.message for problem in plan.problems if problem.server not in known]
        if found:
            raise ConfigError("\n".join(found))
        before = self._gateway.plan
        if (before.tokens is not None or before.auth is not None) and plan.tokens is None and plan.auth is None:
            gone = "auth" if before.tokens is None else "tokens"
            raise ConfigError(f"`{gone}` is gone, and everybody could call: start trunkline again if that is meant")


@contextlib.asynccontextmanager
async def reloading(reloader: Reloader) -> AsyncIterator[None]:
    """Watch for as long as the block runs, and read again on SIGHUP."""
    task = asyncio.create_task(reloader.run(), name="trunkline-reload")
    try:
        with on_hangup(reloader.wake):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
