"""Tools of upstreams whose calls become tasks of the gateway.

What it is for: what the tasks extension has to know of an upstream's tools, at the gateway's endpoint and its paths.
What may live here: the way from a configuration and what upstreams list to rules; what calls are under other names.
What may not: tasks themselves, the names upstreams' tools have.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Raw
from msgspec.structs import replace

from trunkline.assembly.task_settings import TaskSettings
from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Extension, Result
from trunkline.engine.principal import Principal
from trunkline.extensions.tasks.calls import Calls, has_key, refuse_key
from trunkline.extensions.tasks.extension import Tasks
from trunkline.extensions.tasks.versions import TASKS
from trunkline.extensions.tasks.worker import Pace, Rule
from trunkline.gateway import Federation, names, relaying
from trunkline.gateway.catalog import Catalog, Part
from trunkline.protocol import json
from trunkline.protocol.annotations import may_run_twice
from trunkline.protocol.messages import Params
from trunkline.transports.stored import Stored

if TYPE_CHECKING:
    from trunkline.extensions.tasks.carrier import Carrier
    from trunkline.runtime.shared import Shared
    from trunkline.storage.storage import Storage


class Durable:
    """The tasks of one gateway: one store and one worker, whichever of its paths a call came by.

    Parameters:
        federation: whose tools they are; tasks are kept under the names it has.
        shared: what the replicas share; made to have the tables of tasks.
        settings: of each server that has any.
        pace: how much this process runs at once.
    """

    def __init__(
        self,
        federation: Federation,
        shared: "Shared",
        settings: Mapping[str, TaskSettings],
        pace: Pace | None = None,
    ) -> None:
        self._federation = federation
        self._shared = shared
        self._settings = dict(settings)
        self._catalog: Catalog | None = None
        self._rules: dict[str, Rule] = {}
        if isinstance(shared, Stored):
            shared.include(TASKS)
        self._tasks = Tasks(
            self.rule,
            lambda: list(self._known()),
            "",
            self._storage,
            pace=pace,
            elsewhere=federation.remembers_keys,
        )

    def become(self, settings: Mapping[str, TaskSettings]) -> None:
        """Have these settings from now on; tasks that exist keep what they were made with."""
        self._settings, self._catalog = dict(settings), None

    def rule(self, tool: str) -> Rule | None:
        """What there is to know of a tool, by the gateway's name; None where it never is a task."""
        return self._known().get(tool)

    def unknown(self, tool: object, context: Context) -> bool:
        """Whether it cannot be told yet, and the call depends on it: its server has not listed it, and may."""
        catalog = self._federation.catalog
        if not isinstance(tool, str) or catalog.find("tools", tool) is not None:
            return False
        owner = catalog.owner(tool)
        return owner in self._settings or (owner is not None and has_key(context))

    def elsewhere(self, tool: str) -> bool:
        """Whether the server of a tool remembers idempotency keys itself."""
        return self._federation.remembers_keys(tool)

    async def learn(self, tool: str) -> None:
        """Wait until it can be told. Raises what calling the tool would."""
        await self._federation.learn(tool)

    def extensions(self, carrier: "Carrier") -> tuple[Extension, ...]:
        """For the engine of the gateway's own endpoint, with whose application tasks live."""
        return self._tasks.extensions(_AtOnce(self, self._tasks.calls()), carrier)

    def beside(
        self, carrier: "Carrier", meant: Callable[[Context], Params | None], part: str = ""
    ) -> tuple[Extension, ...]:
        """For the engine of a path beside it.

        Parameters:
            carrier: of the tasks that upstreams keep, under ids of that path.
            meant: a call under the gateway's name for its tool; None for one that goes nowhere.
            part: as in `doors.Run`.
        """
        calls = self._tasks.calls(part)
        return self._tasks.beside(_Beside(self, calls, meant, self._federation.call_tool), carrier)

    def _known(self) -> dict[str, Rule]:
        catalog = self._federation.catalog
        if catalog is not self._catalog:
            self._rules = {
                shown: rule
                for part in catalog.parts
                if part.upstream in self._settings
                for shown, rule in _rules(part, self._settings[part.upstream])
            }
            self._catalog = catalog
        return self._rules

    def _storage(self) -> "Storage | None":
        return self._shared.storage if isinstance(self._shared, Stored) else None


class _AtOnce:
    """The interceptor of the gateway's own endpoint: a tool nobody has heard of yet is waited for."""

    def __init__(self, durable: Durable, calls: Calls) -> None:
        self._durable = durable
        self._calls = calls

    def __call__(self, context: Context, call_next: CallNext) -> Awaitable[Result]:
        if context.method == "tools/call" and self._durable.unknown(context.params.name, context):
            return self._learned(context, call_next)
        return self._calls(context, call_next)

    async def _learned(self, context: Context, call_next: CallNext) -> Result:
        name = str(context.params.name)
        if context.principal.may_call(name):
            await self._durable.learn(name)
        return await self._calls(context, call_next)


class _Beside:
    """The interceptor of a path beside it: what becomes a task there is kept as a call of the gateway's tool."""

    def __init__(
        self, durable: Durable, calls: Calls, meant: Callable[[Context], Params | None], answer: CallNext
    ) -> None:
        self._durable = durable
        self._calls = calls
        self._meant = meant
        self._answer = answer

    def __call__(self, context: Context, call_next: CallNext) -> Awaitable[Result]:
        if context.method != "tools/call":
            return self._calls(context, call_next)
        params = self._meant(context)
        if params is None or not context.principal.may_call(str(context.params.name)):
            return call_next(context)
        return self._call(context, params, call_next)

    async def _call(self, context: Context, params: Params, call_next: CallNext) -> Result:
        name = str(params.name)
        if self._durable.unknown(name, context):
            await self._durable.learn(name)
        if self._durable.rule(name) is None:
            refuse_key(context, lambda _: self._durable.elsewhere(name))
            return await call_next(context)
        inner = context.instead(_in_full(context, params))
        one = context.principal
        # What this caller may call is written in the names of the path, and was looked at.
        inner.principal = Principal(one.issuer, one.subject, one.client, one.scopes)
        try:
            return await self._calls(inner, self._answer)
        finally:
            # What was noted for the next round is sealed with the request as its client wrote it.
            context.replay = inner.replay


def renamed(named: Callable[[str], str]) -> Callable[[Context], Params | None]:
    """What a call at a server's own path is to the gateway.

    Parameters:
        named: the gateway's name for a tool, from its own.
    """

    def meant(context: Context) -> Params | None:
        name = context.params.name
        return replace(context.params, name=named(name)) if isinstance(name, str) else None

    return meant


def _in_full(context: Context, params: Params) -> Params:
    """The same parameters with their name written out, for whoever reads what is stored."""
    given = relaying.parameters(context.instead(params))
    given["name"] = params.name
    return replace(params, raw=Raw(json.encode(given)))


def _rules(part: Part, settings: TaskSettings) -> Sequence[tuple[str, Rule]]:
    """The tools of one upstream, listed now or not: a server that restarts has the same."""
    share = part.lists.get("tools")
    if share is None:
        return []
    own = [str(item["name"]) for item in share.items]
    shown = own if part.label is None else names.federated(part.label, own)
    made = []
    for item, name, seen in zip(share.items, own, shown, strict=True):
        policy = None if name in share.refused else settings.policy(name)
        if policy is not None:
            safe = settings.idempotent_tool(name, may_run_twice(item))
            made.append((seen, Rule(policy, idempotent=safe, structured="outputSchema" in item)))
    return made
