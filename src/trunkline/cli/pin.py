"""`trunkline pin`: look at what servers say, and approve it.

What it is for: what is new, changed or gone against the lock file, part by part, for someone who decides.
What may live here: drawing it, and the exit code. What may not: asking servers, comparing, the lock file.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator

from msgspec import json
from rich.console import Console
from rich.text import Text

from trunkline.assembly import logs
from trunkline.assembly.lockfile import Pins, lock_path, read_lock, write_lock
from trunkline.assembly.pinning import Difference, Seen, Survey, Tell, counted, difference, survey
from trunkline.assembly.serving import run as run_loop
from trunkline.assembly.target import classify
from trunkline.cli.asking import ask_input
from trunkline.cli.plain import distinct, plain
from trunkline.errors import ConfigError
from trunkline.gateway.listing import Item
from trunkline.gateway.pins import contents, words
from trunkline.portable.interpolate import Ask
from trunkline.portable.model import Input

_LEFT_OUT = 5
"""Tools that cannot be used, of one server, that are told."""


def run(arguments: argparse.Namespace) -> int:
    """Compare, show, and write, unless this is a check; 1 when that finds something, or a server could not be asked."""
    logs.set_up("error")
    if classify(arguments.file).kind != "config":
        raise ConfigError(f"`trunkline pin` takes a configuration (trunkline.yaml, mcp.json), not {arguments.file!r}")
    before = read_lock(arguments.file)
    with _waiting() as (ask, tell):
        found = run_loop(lambda: survey(arguments.file, arguments.servers, ask, tell))
    pins = found.pins(before or {}, whole=not arguments.servers)
    report = _Report(Console(highlight=False, soft_wrap=True))
    report.all(found, before or {}, pins)
    path = lock_path(arguments.file)
    if before is None and not pins:
        raise ConfigError(f"{path} is not written: no server could be asked")
    complete = all(seen.pins is not None for seen in found.seen.values())
    if pins == before:
        report.end(f"{path} holds{'' if complete else ', as far as could be asked'}", pins)
    elif arguments.check:
        print(f"{path} is not what the servers say: run `trunkline pin {arguments.file}` to accept it", file=sys.stderr)
        return 1
    else:
        write_lock(pins, arguments.file)
        report.end(f"{path} written", pins)
    return 0 if complete else 1


@contextlib.contextmanager
def _waiting() -> Iterator[tuple[Ask, Tell]]:
    """Tell of each server that is done with and, on a terminal, show that others are waited for; ask in between."""
    console = Console(stderr=True)
    status = console.status("connecting to the servers")

    def tell(name: str, what: str) -> None:
        console.print(Text(f"{plain(name)}: {plain(what)}", style="dim"), soft_wrap=True)

    def ask(wanted: Input) -> str:
        status.stop()
        try:
            return ask_input(wanted, console)
        finally:
            status.start()

    with status:
        yield ask, tell


class _Report:
    """Nothing of it is cut short, however long: what is not seen is approved all the same."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def all(self, found: Survey, before: Pins, after: Pins) -> None:
        """What differs at each server."""
        for name, seen in found.seen.items():
            if seen.pins is None:
                stay = "; what is pinned of it stays" if name in before else ""
                self._line(f"{distinct(name)}: not pinned, it could not be asked: {plain(seen.error)}{stay}", "red")
            else:
                self._server(name, seen, difference(before.get(name), seen.pins))
        for name in sorted(before.keys() - after.keys()):
            what = "says `pins: off`" if name in found.unpinned else "is no server of the configuration any more"
            self._line(f"{distinct(name)}: {what}", "red")

    def end(self, what: str, pins: Pins) -> None:
        """The last line."""
        tools = sum(len(one.tools) for one in pins.values())
        self._line(f"{what}: {counted(tools, 'tool')} of {counted(len(pins), 'server')}", "bold")

    def _server(self, name: str, seen: Seen, found: Difference) -> None:
        if found or seen.faults:
            self._line(distinct(name), "bold")
        for fault in seen.faults[:_LEFT_OUT]:
            self._line(f"  left out of {plain(fault)}", "dim")
        if found.instructions:
            self._line(
                f"  {_SIGNS[found.instructions]} instructions {found.instructions}", _COLOURS[found.instructions]
            )
            self._text("instructions", seen.instructions)
        for tool in found.new:
            self._line(f"  + {distinct(tool)} new", "green")
            for part, value in contents(seen.tools[tool]).items():
                self._text(words([part]), value if isinstance(value, str) else json.encode(value).decode())
        for tool, parts in found.changed.items():
            self._line(f"  ~ {distinct(tool)} {words(parts)} changed", "yellow")
            self._parts(seen.tools[tool], parts)
        for tool in found.gone:
            self._line(f"  - {distinct(tool)} gone", "red")

    def _parts(self, item: Item, parts: Iterable[str]) -> None:
        there = contents(item)
        for part in parts:
            self._text(words([part]), there.get(part))

    def _text(self, title: str, value: object) -> None:
        """What a part says now; what it said before is not kept anywhere."""
        if value is None:
            self._line(f"      {title}: there is none any more", "dim")
            return
        text = value if isinstance(value, str) else json.format(json.encode(value), indent=2).decode()
        self._line(f"      {title}:", "dim")
        for line in text.split("\n"):
            self._line(f"        {plain(line)}")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))


_SIGNS = {"new": "+", "changed": "~", "gone": "-"}
_COLOURS = {"new": "green", "changed": "yellow", "gone": "red"}
