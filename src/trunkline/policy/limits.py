"""How many calls a caller, a server and a tool may have at once and a second.

What it is for: one greedy caller or one slow server takes no more than its part.
What may live here: which bounds a call passes, and what is said where one is reached. What may not: identity, rights.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from msgspec import Meta, Struct

from trunkline.engine.context import Context
from trunkline.engine.doors import CallNext, Result
from trunkline.engine.patterns import matches
from trunkline.errors import Overloaded
from trunkline.policy.gate import Full, Gate

LIMITED = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete"})
"""What reaches a server; lists are answered from what is known."""

_CALLERS = 1000
"""Callers whose gates are kept before those that make no difference are looked for."""

Count = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0)]


class ToolLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all callers together may ask of the tools of one pattern."""

    tool: Annotated[
        Annotated[str, Meta(min_length=1)],
        Meta(description="The tools, named as callers see them; * is any text.", examples=["search__*"]),
    ]
    concurrent: Annotated[Count | None, Meta(description="Calls at once. Left out: any number.", examples=[1])] = None
    rate: Annotated[Rate | None, Meta(description="Calls a second. Left out: any number.", examples=[0.5])] = None


class CallLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many calls there may be at once and a second; beyond it they wait for a while, in turns between callers."""

    concurrent_per_caller: Annotated[
        Count | None, Meta(description="Calls one caller may have at once. Left out: any number.", examples=[20])
    ] = None
    rate_per_caller: Annotated[
        Rate | None, Meta(description="Calls a second of one caller. Left out: any number.", examples=[50])
    ] = None
    concurrent_per_server: Annotated[
        Count | None, Meta(description="Calls one server may have at once. Left out: any number.", examples=[50])
    ] = None
    rate_per_server: Annotated[
        Rate | None, Meta(description="Calls a second to one server. Left out: any number.", examples=[100])
    ] = None
    tools: Annotated[
        tuple[ToolLimits, ...],
        Meta(description="Limits of single tools, or of several together; the first that fits counts."),
    ] = ()
    queue: Annotated[
        Annotated[int, Meta(ge=0)], Meta(description="Calls that may wait at each of these limits.", examples=[20])
    ] = 100
    wait: Annotated[
        Annotated[float, Meta(gt=0)], Meta(description="Seconds a call may wait at each of them.", examples=[2])
    ] = 10.0

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        bounds = (self.concurrent_per_caller, self.rate_per_caller, self.concurrent_per_server, self.rate_per_server)
        return bool(self.tools) or any(bound is not None for bound in bounds)


class Limiter:
    """An interceptor that keeps calls within their limits.

    Parameters:
        limits: what they are.
        server: whose a request is; None when that is not known.
        clock: monotonic seconds.

        Engine(federation, interceptors=[Limiter(CallLimits(concurrent_per_caller=20), federation.server_of)])
    """

    def __init__(
        self, limits: CallLimits, server: Callable[[Context], str | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._server = server
        self._named: Callable[[str], str] = str
        self._clock = clock
        self._each_caller = limits.concurrent_per_caller is not None or limits.rate_per_caller is not None
        self._each_server = limits.concurrent_per_server is not None or limits.rate_per_server is not None
        self._callers: dict[str, Gate] = {}
        self._servers: dict[str, Gate] = {}
        self._tools = [(one.tool, self._gate(one.concurrent, one.rate)) for one in limits.tools]
        self._sweep_at = _CALLERS

    def alone(self, server: str, named: Callable[[str], str]) -> "Limiter":
        """The same limits, counted together with these, where one server is served alone.

        Parameters:
            named: what a tool is called here, from its own name.
        """
        one = copy.copy(self)
        one._server = lambda context: server
        one._named = named
        return one

    async def __call__(self, context: Context, call_next: CallNext) -> Result:
        """Answer within the limits. Raises `Overloaded` beyond them."""
        if context.method not in LIMITED:
            return await call_next(context)
        who = context.principal.owner
        passed: list[Gate] = []
        try:
            # Always in this order, and each for a bounded time: nobody waits for one who waits for them.
            for gate, what in self._gates(context, who):
                if not gate.pass_now():
                    with _told(what):
                        await gate.pass_in_turn(who)
                passed.append(gate)
            return await call_next(context)
        finally:
            for gate in passed:
                gate.leave()

    def _gates(self, context: Context, who: str) -> Iterator[tuple[Gate, str]]:
        limits = self._limits
        if self._each_caller:
            gate = self._callers.get(who)
            if gate is None:
                self._sweep()
                gate = self._callers[who] = self._gate(limits.concurrent_per_caller, limits.rate_per_caller)
            yield gate, "this caller has as many calls as it may"
        if self._each_server:
            server = self._server(context)
            if server is not None:
                gate = self._servers.get(server)
                if gate is None:
                    gate = self._servers[server] = self._gate(limits.concurrent_per_server, limits.rate_per_server)
                yield gate, f"the server {server} has as many calls as it may"
        name = context.params.name
        if self._tools and context.method == "tools/call" and isinstance(name, str):
            yield from self._of_tool(self._named(name))

    def _of_tool(self, name: str) -> Iterator[tuple[Gate, str]]:
        """The gate of the first pattern that fits: one for each pattern, so that unknown names cost nothing."""
        for pattern, gate in self._tools:
            if matches(pattern, name):
                yield gate, f"the tool {name[:100]} has as many calls as it may"
                return

    def _gate(self, concurrent: int | None, rate: float | None) -> Gate:
        return Gate(concurrent, rate, self._limits.queue, self._limits.wait, self._clock)

    def _sweep(self) -> None:
        """Callers come and go; what is kept of them grows with those who are here."""
        if len(self._callers) >= self._sweep_at:
            for who in [who for who, gate in self._callers.items() if gate.idle]:
                del self._callers[who]
            self._sweep_at = max(_CALLERS, 2 * len(self._callers))


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except Full as full:
        raise Overloaded(f"Overloaded: {what}; try again in {full.after:.1f} s", full.after) from None
