"""The gateway: the upstreams of a configuration, behind one face or each behind its own.

What it is for: make the upstreams once, and the providers over them.
What may live here: ownership. What may not: requests.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from trunkline.engine.context import Context
from trunkline.engine.doors import Result
from trunkline.errors import ConfigError
from trunkline.gateway import names
from trunkline.gateway.credentials import Accounts
from trunkline.gateway.dialling import Dial, Dialler
from trunkline.gateway.elsewhere import Elsewhere
from trunkline.gateway.face import Face
from trunkline.gateway.failures import unavailable
from trunkline.gateway.limits import Limits
from trunkline.gateway.listing import Listed
from trunkline.gateway.pins import OFF, Pinning
from trunkline.gateway.sessions import Key
from trunkline.gateway.status import UpstreamStatus
from trunkline.gateway.supervision import Backoff
from trunkline.gateway.upstream import Upstream
from trunkline.portable.model import Entry
from trunkline.runtime.inflight import InFlight
from trunkline.runtime.shared import Alone, Shared

_INFO: Mapping[str, object] = {"name": "trunkline", "version": "0"}


class Federation(Face):
    """A `Provider` over all configured upstreams, under names that tell whose they are.

    Parameters:
        entries: the configured servers, resolved, in the order lists follow; disabled ones are only shown.
        info: the gateway's `Implementation` record.
        instructions: guidance for the model.
        limits: what each upstream may cost.
        backoff: how restarts are spaced; by default it depends on the transport.
        pins: how each server is held to what was pinned of it; those that are not named are held to nothing.
        dial: makes connections; by default over stdio, Streamable HTTP and HTTP+SSE.
        shared: what the replicas of the gateway share; by default this process is alone.
        prefix: names begin with their server's; without, a server that is alone keeps its names and URIs.
        accounts: what remote servers are shown that are signed in to.

    Raises `ConfigError` when two servers have one name, or are to have no prefix.

        federation = Federation([Entry("time", "stdio", command="uvx", args=("mcp-server-time",))])
        application = Application(Engine(federation))
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        info: Mapping[str, object] | None = None,
        instructions: str | None = None,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        pins: Mapping[str, Pinning] | None = None,
        dial: Dial | None = None,
        shared: Shared | None = None,
        prefix: bool = True,
        accounts: Accounts | None = None,
    ) -> None:
        _check_names(entries, prefix)
        self.prefix = prefix
        self._entries = tuple(entries)
        made = info or _INFO
        allowed = limits or Limits()
        dialler = Dialler(made, connect=allowed.connect)
        self._singles: list[tuple[str, Face]] = []
        common = shared or Alone()
        self._elsewhere = Elsewhere(common.replicas, self._answer, self._asked)
        self._make = partial(
            Upstream,
            dial=dial or dialler,
            limits=allowed,
            elsewhere=self._elsewhere,
            notes=common.notes,
            backoff=backoff,
            accounts=accounts,
        )
        enabled = [self._make(entry) for entry in entries if not entry.disabled]
        super().__init__(
            enabled,
            _labels([upstream.name for upstream in enabled], prefix),
            info=made,
            instructions=instructions,
            limits=allowed,
            dialler=dialler,
        )
        self._pin(enabled, pins)

    def join(self, inflight: InFlight) -> None:
        """Let what is answered for other replicas, and what is held open, be among the calls that a stop waits for.

        application = Application(Engine(federation))
        federation.join(application.inflight)
        """
        self._elsewhere.inflight = inflight

    async def start(self) -> None:
        """Begin to connect, and to answer other replicas."""
        self._elsewhere.start()
        await super().start()

    async def stop(self) -> None:
        """Leave nothing behind: no process, no session, no connection."""
        await self._elsewhere.stop()
        await super().stop()

    def replace(
        self, entries: Sequence[Entry], pins: Mapping[str, Pinning] | None = None, *, prefix: bool = True
    ) -> None:
        """Have these servers and pins from now on, in one step; what has the same entry and prefix goes on untouched.

        Calls in flight on a changed or removed server finish on it, for its drain time; who calls now gets the new one.
        Clients that listen are told that the lists changed. Raises `ConfigError`, changing nothing, where
        making a federation of them would.

            federation.replace([Entry("time", "stdio", command="uvx", args=("mcp-server-time@2",))])
        """
        _check_names(entries, prefix)
        # Calls that are held open come back under the names they began with: what serves those retires with them.
        same, self.prefix = prefix == self.prefix, prefix
        upstreams: dict[str, Upstream] = {}
        for entry in entries:
            if not entry.disabled:
                known = self._upstreams.get(entry.name)
                keep = same and known is not None and known.entry == entry
                upstreams[entry.name] = known if known is not None and keep else self._make(entry)
        self._entries = tuple(entries)
        self._pin(upstreams.values(), pins)
        self.become(upstreams, _labels(upstreams, prefix))
        for name, face in self._singles:
            alone = upstreams.get(name)
            face.become({} if alone is None else {name: alone}, {name: None})

    def single(self, name: str) -> Face:
        """A provider over one upstream alone, for a path of its own: its names stay as they are.

        It shares the upstream with the federation, also when that is replaced; each is started and stopped for itself.
        Raises `ConfigError` when there is no such upstream.
        """
        upstream = self._named_upstream(name)
        face = Face(
            [upstream],
            {name: None},
            info=self._info,
            instructions=None,
            limits=self._limits,
            dialler=self._dialler,
        )
        self._singles.append((name, face))
        return face

    async def defined(self, name: str) -> tuple[str | None, Listed]:
        """What can be pinned of an upstream, its instructions and its tools, once it is connected.

        Raises `UpstreamUnavailable` when it cannot be had, `ConfigError` when there is no such upstream.
        """
        return await self._named_upstream(name).defined()

    async def learn(self, tool: str) -> None:
        """Wait until an upstream that may have a tool of this name has told. Raises what calling the tool would."""
        await self._named("tools", tool)

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The names of the enabled upstreams."""
        return tuple(self._upstreams)

    def statuses(self) -> list[UpstreamStatus]:
        """One record for each configured server, in the order of the configuration."""
        return [
            self._upstreams[entry.name].status
            if entry.name in self._upstreams
            else UpstreamStatus(entry.name, entry.transport, "disabled", 0.0)
            for entry in self._entries
        ]

    async def _answer(self, name: str, context: Context, params: Mapping[str, object]) -> Result:
        """Answer a call of another replica's client."""
        holder = self._retiring.holder(context)
        upstream = holder[0] if holder is not None else self._upstreams.get(name)
        if upstream is None:
            raise unavailable(name, "is not configured at the replica that has what this call needs", retry=True)
        return await upstream.answer(context, params)

    async def _asked(self, name: str, key: Key, method: str, params: dict[str, object]) -> dict[str, object] | None:
        """Have a client of this replica answer what an upstream asked of another one."""
        upstream = self._upstreams.get(name)
        return None if upstream is None else await upstream.asked(key, method, params)

    def _named_upstream(self, name: str) -> Upstream:
        upstream = self._upstreams.get(name)
        if upstream is None:
            raise ConfigError(f"there is no enabled server named {name!r}")
        return upstream

    def _pin(self, upstreams: Iterable[Upstream], pins: Mapping[str, Pinning] | None) -> None:
        for upstream in upstreams:
            upstream.approval.pin((pins or {}).get(upstream.name, OFF))


def _labels(upstreams: Iterable[str], prefix: bool) -> Mapping[str, str | None]:
    return names.labels(upstreams) if prefix else dict.fromkeys(upstreams)


def _check_names(entries: Sequence[Entry], prefix: bool) -> None:
    listed = [entry.name for entry in entries]
    twice = {name for name in listed if listed.count(name) > 1}
    if twice:
        raise ConfigError(f"two servers are named {min(twice)!r}: give each its own name")
    if not prefix and sum(not entry.disabled for entry in entries) > 1:
        raise ConfigError("only one server alone can go without prefix")
