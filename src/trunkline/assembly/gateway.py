"""A configuration file becomes a gateway.

What it is for: read, fill in, federate; one broken entry is shown and holds up nobody.
What may live here: that path, and what an operator asks of the running gateway.
What may not: serving it, drawing it.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trunkline.assembly.auth_settings import AuthSettings
from trunkline.assembly.configuration import Listen
from trunkline.assembly.durable import Durable
from trunkline.assembly.logs import CallLog
from trunkline.assembly.plan import Plan, Remembered, make_plan
from trunkline.assembly.settings import together
from trunkline.assembly.sharing import MEMORY, Sharing, at_home, key_ring, shared_by
from trunkline.assembly.sign_ins import accounts as accounts_of
from trunkline.assembly.sign_ins import accounts_for_one
from trunkline.assembly.signing_in import resource_server
from trunkline.auth.replay import LocalWindow
from trunkline.auth.resource_server import ResourceServer
from trunkline.engine.doors import Authenticator, Extension, Interceptor, KeyRing
from trunkline.engine.engine import Engine
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.gateway import Carrying, Endpoint, Face, Federation, ProgressiveEngine, UpstreamStatus
from trunkline.gateway.credentials import Accounts
from trunkline.policy.limits import Limiter
from trunkline.portable.interpolate import Ask
from trunkline.portable.model import PinMode, Problem
from trunkline.runtime.application import Application

if TYPE_CHECKING:
    from trunkline.extensions.tasks.carrier import Carrier
    from trunkline.extensions.tasks.worker import Pace

_log = logging.getLogger("trunkline.configuration")

_UNSETTLED = frozenset({"starting", "stopped"})

_PATIENCE = 30.0
"""Seconds a gateway that has just started is not ready because of servers that have neither answered nor failed yet."""


class Gateway:
    """A gateway over one configuration.

    Attributes:
        application: what transports serve.
        federation: the provider under it.
        limiter: what keeps calls within limits, if anything does.
        plan: what it was made of, last.
        sharing, shared: what it shares with other replicas, and the doors to it.
        keys: what clients carry is sealed with.
        accounts: its credentials at upstreams.
        name: for people.
        fault: why a change of the configuration was not taken over; empty when it was.
        pending: what of it waits for the next start; empty when nothing does.
        pins: what the command line says of them, if anything.
        durable: its tasks; None where no server had any when it was made.

    Parameters:
        plan: what to make.
        authenticator, call_timeout: go before what the configuration says, now and later.
        limits: values of `CallLimits` that do as well; None leaves the configuration's.
        progressive: tools are found by search instead of being listed.
        sharing: goes before what the configuration says.
        home: keep what nothing is said of in a file of this machine, so that sessions outlive this process.
        pins: goes before the configuration's `pins`, now and later; the plan was made with it.
        prefix: as `prefix` in the configuration; None leaves the configuration's.
        task_pace: how many tasks this process runs at once.
        accounts: its credentials at upstreams; by default those that replicas share.

    Raises `ConfigError` when names are to stay as they are and there are several servers.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        authenticator: Authenticator | None = None,
        call_timeout: float | None = None,
        limits: Mapping[str, int | float | None] | None = None,
        progressive: bool = False,
        sharing: Sharing | None = None,
        home: bool = False,
        pins: PinMode | None = None,
        prefix: bool | None = None,
        task_pace: "Pace | None" = None,
        accounts: Accounts | None = None,
    ) -> None:
        self.name = plan.settings.path
        self.plan = plan
        self.fault = ""
        self.pending = ""
        self.pins = pins
        self._listen = plan.settings.listen
        self._limits = plan.settings.limits
        self._planned = plan.sharing
        merged = plan.sharing.under(sharing or Sharing())
        self.sharing = at_home(merged, Path(plan.settings.path)) if home else merged
        self._authenticator = authenticator
        self._call_timeout = call_timeout
        self.shared = shared_by(self.sharing)
        self._prefix = prefix
        followed = key_ring(self.sharing)
        self.keys: KeyRing = followed or Keys()
        self.accounts = accounts or accounts_of(plan, merged, self.shared, self.keys)
        self.federation = Federation(
            plan.entries,
            info=own_info(),
            pins=plan.pins,
            prefix=self._prefixed(plan),
            shared=self.shared,
            accounts=self.accounts,
        )
        self.limiter = _limiter(plan, limits or {}, self.federation)
        self.durable = Durable(self.federation, self.shared, plan.tasks, task_pace) if plan.tasks else None
        interceptors = (self.limiter,) if self.limiter else ()
        self.application = self.beside(
            self.federation,
            "",
            interceptors=interceptors,
            tasks=None if self.durable is None else self.durable.extensions,
            progressive=progressive,
            settled=self._is_worth_asking,
        )
        self.federation.join(self.application.inflight)
        self._seen = LocalWindow()
        self._resource: tuple[AuthSettings, ResourceServer] | None = None
        self.application.authenticate_with(self._authentication(plan))
        self.application.call_timeout = call_timeout or plan.settings.listen.call_timeout
        if followed is not None:
            followed.follow_with(self.application)
        self._asked_at: float | None = None
        self._read_at = time.time()

    def beside(
        self,
        provider: Face | Endpoint,
        name: str,
        *,
        interceptors: Sequence[Interceptor],
        tasks: "Callable[[Carrier], Sequence[Extension]] | None" = None,
        progressive: bool = False,
        settled: Callable[[], bool] | None = None,
    ) -> Application:
        """An application over a part of the gateway, with the same keys, sharing the same.

        Parameters:
            provider: the part.
            name: tells its sessions from those of other parts.
            interceptors: around every request of it.
            tasks: makes the tasks extension of it, with what carries tasks of upstreams; None where that is all.
            progressive: tools are found by search instead of being listed.
            settled: whether it is as good as it will be soon.
        """
        made = ProgressiveEngine if progressive else Engine
        engine = made(provider, interceptors=interceptors, keys=self.keys, observer=CallLog())
        carrying = Carrying(provider, self.keys, name)
        engine.extend(*((carrying.extension(),) if tasks is None else tasks(carrying)))
        return Application(engine, name=name, shared=self.shared, settled=settled)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Entries that could not be used, and why."""
        return self.plan.problems

    def statuses(self) -> list[UpstreamStatus]:
        """A row for each entry of the configuration, broken ones last."""
        broken = [
            UpstreamStatus(problem.server or "(the file)", "", "failed", self._read_at, error=problem.message)
            for problem in self.problems
        ]
        for state, said in (("failed", self.fault), ("restart_needed", self.pending)):
            if said:
                broken.append(UpstreamStatus("(configuration)", "", state, self._read_at, error=said))
        return [*self.federation.statuses(), *broken]

    def apply(self, plan: Plan) -> None:
        """Become what a plan says, in one step and without dropping a call. Raises `ConfigError`, changing nothing."""
        before = {entry.name: entry for entry in self.plan.entries}
        after = {entry.name: entry for entry in plan.entries}
        self.federation.replace(plan.entries, plan.pins, prefix=self._prefixed(plan))
        self.plan = plan
        self.application.authenticate_with(self._authentication(plan))
        self.application.call_timeout = self._call_timeout or plan.settings.listen.call_timeout
        moved = [
            f"listen.{name}"
            for name in Listen.__struct_fields__
            if name != "call_timeout" and getattr(plan.settings.listen, name) != getattr(self._listen, name)
        ]
        if plan.settings.limits != self._limits:
            moved.append("limits")
        if self.durable is not None:
            self.durable.become(plan.tasks)
        elif plan.tasks:
            moved.append("tasks")
        moved += [name for name in ("storage", "keys") if getattr(plan.sharing, name) != getattr(self._planned, name)]
        self.pending = f"changed, and takes effect at the next start: {', '.join(moved)}" if moved else ""
        self.fault = ""
        self._read_at = time.time()
        facts = {
            "added": sorted(after.keys() - before.keys()),
            "changed": sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            "removed": sorted(before.keys() - after.keys()),
        }
        _log.info("configuration reloaded", extra={name: ",".join(servers) for name, servers in facts.items()})

    def _authentication(self, plan: Plan) -> Authenticator | None:
        """Who says who calls. What a resource server knows of tokens stays, as long as its settings do."""
        if self._authenticator is not None or plan.tokens is not None or plan.auth is None:
            return self._authenticator or plan.tokens
        if self._resource is None or self._resource[0] != plan.auth:
            self._resource = plan.auth, resource_server(plan.auth, self._seen)
        return self._resource[1]

    def _prefixed(self, plan: Plan) -> bool:
        settings = plan.settings
        prefix = settings.prefix if self._prefix is None else self._prefix
        others = None if prefix else together(settings.servers, settings.problems)
        if others:
            raise ConfigError(f"{settings.path}: only one server alone can go without prefix, and there are {others}")
        return prefix

    def settled(self) -> bool:
        """Whether every upstream has answered or failed at least once."""
        return not any(
            status.state in _UNSETTLED or (status.state == "ready" and status.tools is None)
            for status in self.federation.statuses()
        )

    def _is_worth_asking(self) -> bool:
        """Whether a balancer may send requests: slow servers are waited for, but do not hold up the others for long."""
        now = time.monotonic()
        self._asked_at = now if self._asked_at is None else self._asked_at
        return self.settled() or now - self._asked_at > _PATIENCE

    def suggestion(self) -> str | None:
        """A tool that can be called without arguments, for someone's first call; None while there is none."""
        tools = self.federation.catalog.page("tools", None).get("tools")
        for tool in tools if isinstance(tools, list) else ():
            if _needs_nothing(tool):
                return str(tool["name"])
        return None


def own_info() -> dict[str, object]:
    """The gateway's `Implementation` record: what clients and servers are told of it."""
    return {"name": "trunkline", "version": version("trunkline")}


def read_gateway(
    path: str,
    *,
    ask: Ask | None = None,
    authenticator: Authenticator | None = None,
    call_timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    remembered: Remembered | None = None,
    limits: Mapping[str, int | float | None] | None = None,
    progressive: bool = False,
    sharing: Sharing | None = None,
    home: bool = False,
    pins: PinMode | None = None,
    prefix: bool | None = None,
    task_pace: "Pace | None" = None,
) -> Gateway:
    """Read a configuration, `trunkline.yaml` or any client's, and make the gateway over it; nothing is started.

    Parameters:
        path: the file.
        ask: asks the person for an `${input:…}`; each is asked for once.
        authenticator, call_timeout: go before what the file says.
        limits: values of `CallLimits` that go before the file's; None leaves those.
        progressive: tools are found by search instead of being listed.
        sharing: storage and keys that go before the file's.
        home: keep what nothing is said of in a file of this machine.
        pins: goes before the file's `pins`; what a server says for itself holds all the same.
        prefix: goes before the file's; None leaves that.
        task_pace: how many tasks this process runs at once.
        environment: what `${VAR}` stands for; by default this process's.
        remembered: in place of `ask`, to share what was answered with later readings.

    Raises `ConfigError` when the file cannot be used at all; a server that cannot is among `problems`.
    """
    plan = make_plan(path, os.environ if environment is None else environment, remembered or Remembered(ask), pins)
    return Gateway(
        plan,
        authenticator=authenticator,
        call_timeout=call_timeout,
        limits=limits,
        progressive=progressive,
        sharing=sharing,
        home=home,
        task_pace=task_pace,
        pins=pins,
        prefix=prefix,
    )


def _limiter(plan: Plan, given: Mapping[str, int | float | None], federation: Federation) -> Limiter | None:
    """What keeps calls within limits; None where there are none, and then they cost nothing."""
    limits = replace(plan.settings.limits, **{name: value for name, value in given.items() if value is not None})
    return Limiter(limits, federation.server_of) if limits.any else None


@contextlib.asynccontextmanager
async def running_gateway(
    path: str, *, ask: Ask | None = None, tell: Callable[[str], None], patience: float = 60.0
) -> AsyncIterator[Gateway]:
    """A gateway for one command: started, and waited for until every upstream is up or known not to be.

    Parameters:
        tell: takes a line about each upstream that is missing.
        patience: seconds to wait for slow ones.
    """
    # One command shares nothing: it is no replica of the gateway that may run over the same file.
    plan = make_plan(path, os.environ, Remembered(ask))
    async with accounts_for_one(plan) as signed_in:
        gateway = Gateway(plan, sharing=Sharing(MEMORY), accounts=signed_in)
        async with _running(gateway, tell, patience):
            yield gateway


@contextlib.asynccontextmanager
async def _running(gateway: Gateway, tell: Callable[[str], None], patience: float) -> AsyncIterator[None]:
    await gateway.application.start()
    try:
        deadline = time.monotonic() + patience
        while not gateway.settled() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for status in gateway.statuses():
            if status.state not in ("ready", "disabled"):
                tell(f"{status.name}: {status.state.replace('_', ' ')}: {status.error or 'no answer yet'}")
        yield
    finally:
        await gateway.application.stop(drain=0)


def _needs_nothing(tool: object) -> bool:
    if not isinstance(tool, dict):
        return False
    schema, hints = tool.get("inputSchema"), tool.get("annotations")
    destructive = isinstance(hints, dict) and hints.get("destructiveHint") is True
    return isinstance(schema, dict) and not schema.get("required") and not destructive
