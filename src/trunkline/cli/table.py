"""What `trunkline up` shows while it runs: one row an upstream, then how to use the endpoint.

What it is for: a live table on a terminal, plain lines elsewhere.
What may live here: rendering. What may not: anything that changes what is shown.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from trunkline.assembly.logs import printable

if TYPE_CHECKING:
    from trunkline.assembly.endpoints import EndpointStatus
    from trunkline.gateway import UpstreamStatus

Statuses = Callable[[], Sequence["UpstreamStatus"]]

_COLOURS = {
    "ready": "green",
    "starting": "yellow",
    "backing_off": "red",
    "failed": "red",
    "disabled": "dim",
    "stopping": "dim",
    "stopped": "dim",
    "restart_needed": "yellow",
}
_SETTLED = frozenset({"ready", "failed", "disabled", "backing_off"})


def upstream_table(statuses: Sequence["UpstreamStatus"]) -> Table:
    """The table: upstream, transport, era and revision, state, tools, last error."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("upstream", "transport", "era", "revision", "state"):
        table.add_column(title, no_wrap=True)
    table.add_column("tools", justify="right", no_wrap=True)
    table.add_column("last error", overflow="fold", ratio=1)
    for status in statuses:
        table.add_row(
            escape(status.name),
            status.transport,
            status.era or "",
            status.revision or "",
            _state(status),
            "" if status.tools is None else str(status.tools),
            Text(printable(_said(status)), style="red" if status.state != "ready" or status.refused else "dim"),
        )
    return table


def endpoint_table(endpoints: Sequence["EndpointStatus"], base: str) -> Table:
    """The endpoints of the configuration: where each is, what it shows, what it names and nobody has."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("endpoint", "url"):
        table.add_column(title, no_wrap=True)
    table.add_column("tools", justify="right", no_wrap=True)
    table.add_column("problem", overflow="fold", ratio=1)
    for one in endpoints:
        count = "" if one.tools is None else f"{one.tools}{' by search' if one.progressive else ''}"
        problems = Text(printable("; ".join(one.problems)), style="red")
        table.add_row(escape(one.name), Text(base + one.path, style="cyan"), count, problems)
    return table


def _said(status: "UpstreamStatus") -> str:
    """What of it is refused, what went wrong; where neither, what changed."""
    refused = f"{len(status.refused)} refused: {status.refused[0]}" if status.refused else ""
    return " | ".join(filter(None, [refused, status.error])) or _changed(status)


def _changed(status: "UpstreamStatus") -> str:
    """The latest change of its tools, where nothing is wrong."""
    return f"{status.changes[-1]} ({len(status.changes)} changes since start)" if status.changes else ""


def _state(status: "UpstreamStatus") -> Text:
    if status.state == "ready" and status.circuit != "closed":
        return Text("not answering", style="red")
    return Text(status.state.replace("_", " "), style=_COLOURS.get(status.state, ""))


def how_to_use(url: str, tool: str | None) -> RenderableType:
    """The endpoint, a line to paste into a client, and a command to try."""
    client = json.dumps({"mcpServers": {"trunkline": {"type": "http", "url": url}}})
    lines = Text()
    lines.append("endpoint   ", style="bold")
    lines.append(url + "\n", style="cyan")
    lines.append("in a client", style="bold")
    lines.append(f" {client}\n")
    lines.append("try        ", style="bold")
    lines.append(f"trunkline call {url} {tool}" if tool else f"trunkline tools {url}")
    return lines


def settled(statuses: Sequence["UpstreamStatus"]) -> bool:
    """Whether every upstream is up and has told its tools, or is known to be in trouble."""
    return all(status.state in _SETTLED and not _is_silent(status) for status in statuses)


def _is_silent(status: "UpstreamStatus") -> bool:
    return status.state == "ready" and status.tools is None and not status.error


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: the endpoint's URL, what paths are put behind, and where the rest is asked for each time."""

    url: str
    base: str
    statuses: Statuses
    endpoints: "Callable[[], Sequence[EndpointStatus]]"
    suggestion: Callable[[], str | None]

    def parts(self) -> list[RenderableType]:
        """The upstreams, the endpoints over them if there are any, and how to use it all."""
        endpoints = self.endpoints()
        over = [endpoint_table(endpoints, self.base)] if endpoints else []
        return [upstream_table(self.statuses()), *over, how_to_use(self.url, self.suggestion())]


class LiveTable:
    """The table on a terminal, redrawn as things change; log lines scroll above it."""

    def __init__(self, console: Console, view: View) -> None:
        self._view = view
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=False)

    def __enter__(self) -> "LiveTable":
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _render(self) -> RenderableType:
        blank = Text()
        return Group(*(one for part in self._view.parts() for one in (blank, part)), blank)


def log_handler(console: Console) -> logging.Handler:
    """A log handler that prints above the live table."""
    return RichHandler(console=console, show_time=False, show_level=False, show_path=False, markup=False)
