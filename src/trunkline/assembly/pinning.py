"""What the servers of a configuration are now, held against its lock file.

What it is for: `trunkline pin`: connect, compare, write.
What may live here: that step, as data. What may not: drawing it, the lock file's form, the running gateway.
"""

import asyncio
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trunkline.assembly.gateway import own_info
from trunkline.assembly.lockfile import Pins
from trunkline.assembly.plan import Plan, Remembered, fill_in
from trunkline.assembly.settings import Settings, read_settings
from trunkline.errors import ConfigError, TrunklineError
from trunkline.gateway import Federation
from trunkline.gateway.listing import Item
from trunkline.gateway.pins import ServerPins, differing, pins_of
from trunkline.portable.interpolate import Ask
from trunkline.portable.model import Entry

Tell = Callable[[str, str], None]
"""Takes the name of a server that is done with, and what became of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One server as it is now.

    Parameters:
        pins: what approves it so; None when it could not be asked.
        error: why not.
        instructions, tools: what it says, for people.
        faults: tools it lists that nobody can use, and why.
    """

    pins: ServerPins | None = None
    error: str = ""
    instructions: str | None = None
    tools: Mapping[str, Item] = dataclasses.field(default_factory=dict)
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not as it was pinned at one server.

    Parameters:
        new, gone: tools.
        changed: tools, each with its parts that are different.
        instructions: `new`, `changed`, `gone`, or empty where they are as they were.
    """

    new: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    gone: tuple[str, ...] = ()
    instructions: str = ""

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone or self.instructions)


@dataclass(frozen=True, slots=True)
class Survey:
    """The servers that were asked for, and what else the lock file should hold.

    Parameters:
        seen: each server that was to be pinned.
        unpinned: servers that say `pins: off`, and are left alone.
        known: every server of the configuration that may have pins, run or not.
    """

    seen: Mapping[str, Seen]
    unpinned: tuple[str, ...]
    known: frozenset[str]

    def pins(self, before: Pins, *, whole: bool) -> dict[str, ServerPins]:
        """What the lock file should hold: what was seen; the former pins of a server that was not.

        Parameters:
            whole: every server was asked for, so what is pinned of any other is forgotten.
        """
        kept = {name: pins for name, pins in before.items() if name in self.known or not whole}
        return kept | {name: seen.pins for name, seen in self.seen.items() if seen.pins is not None}


def difference(before: ServerPins | None, after: ServerPins | None) -> Difference:
    """What changed at one server; None stands for one nothing is pinned of."""
    old, new = before or ServerPins(), after or ServerPins()
    changed = {
        name: differing(old.tools[name], parts)
        for name, parts in sorted(new.tools.items())
        if name in old.tools and old.tools[name] != parts
    }
    said = ""
    if old.instructions != new.instructions:
        said = "new" if old.instructions is None else "gone" if new.instructions is None else "changed"
    come, gone = (tuple(sorted(one.tools.keys() - other.tools.keys())) for one, other in ((new, old), (old, new)))
    return Difference(come, changed, gone, said)


async def survey(path: str, servers: Sequence[str], ask: Ask | None, tell: Tell) -> Survey:
    """Ask the servers of a configuration what they are, all at once; nothing is pinned, changed or held to pins.

    Parameters:
        path: the configuration.
        servers: which; all of them when empty.
        ask: asks the person for an `${input:…}`.
        tell: told of each server as it is done with.

    Raises `ConfigError` for a configuration that cannot be used and for servers it does not have.
    """
    settings = read_settings(path)
    if settings.faults:
        raise ConfigError("\n".join(settings.faults))
    entries = {entry.name: entry for entry, _ in settings.servers}
    broken = [problem.server for problem in settings.problems if problem.server is not None]
    _check(path, servers, entries, broken)
    unpinned = tuple(name for name, entry in entries.items() if entry.pins == "off")
    known = [name for name in (*entries, *broken) if name not in unpinned]
    if not known:
        raise ConfigError(f"{path} has no server that can be pinned")
    wanted = servers or known
    plan = fill_in(_only(settings, wanted), os.environ, Remembered(ask))
    errors = {problem.server: Seen(error=problem.message) for problem in plan.problems if problem.server in wanted}
    for name, one in errors.items():
        tell(str(name), one.error)
    seen = errors | await _asked(plan, tell)
    return Survey({name: seen[name] for name in wanted if name in seen}, unpinned, frozenset(known))


def counted(number: int, what: str) -> str:
    """A number of things in words.

    counted(1, "tool")  # "1 tool"
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def _check(path: str, servers: Sequence[str], entries: Mapping[str, Entry], broken: Sequence[str]) -> None:
    for name in servers:
        if name not in entries and name not in broken:
            listed = ", ".join(sorted((*entries, *broken)))
            raise ConfigError(f"{path} has no server {name!r}; there are: {listed}")
        if name in entries and entries[name].disabled:
            raise ConfigError(f"{path}: server {name!r} is disabled, and cannot be asked")
        if name in entries and entries[name].pins == "off":
            raise ConfigError(f"{path}: server {name!r} says `pins: off`; take that out to pin it")


def _only(settings: Settings, servers: Sequence[str]) -> Settings:
    """The settings of these servers, held to nothing."""
    wanted = frozenset(servers)
    kept = ((entry, source) for entry, source in settings.servers if entry.name in wanted)
    loose = tuple((dataclasses.replace(entry, pins="off"), source) for entry, source in kept)
    return dataclasses.replace(settings, servers=loose, pins="off", tokens=())


async def _asked(plan: Plan, tell: Tell) -> dict[str, Seen]:
    # As the gateway would ask: a server may tell others something else.
    federation = Federation(plan.entries, info=own_info())
    await federation.start()

    async def ask(name: str) -> Seen:
        try:
            instructions, share = await federation.defined(name)
        except TrunklineError as error:
            seen = Seen(error=error.message)
        else:
            tools = {str(item["name"]): item for item in share.items}
            seen = Seen(pins_of(instructions, share.items), "", instructions, tools, share.faults)
        tell(name, seen.error or counted(len(seen.tools), "tool"))
        return seen

    try:
        names = federation.upstreams
        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))
    finally:
        await federation.stop()
