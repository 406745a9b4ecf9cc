"""Durable tasks on a terminal, and as JSON.

What it is for: one task as a row, a line, a page or an object; never what it was called with, unless that is asked for.
What may live here: drawing. What may not: the database.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trunkline.cli.plain import plain
from trunkline.extensions.tasks.records import Attempt, Task, shown_as

WIDE = 130
"""Columns of a terminal from which on more is shown."""

_COLOURS = {
    "waiting": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "lost": "red",
    "input_required": "magenta",
    "completed": "green",
    "failed": "red",
    "cancelled": "dim",
    "expired": "dim",
}


def console() -> Console:
    """Where tables go; into a file or pipe they are as wide as they have to be."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=max(WIDE, made.width, 400))


def table(tasks: Sequence[Task], now: float, *, wide: bool) -> Table:
    """A row for each task; `wide` says whose it is and what it says of itself as well."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    made.add_column("task", no_wrap=True, overflow="ignore", style="bold")
    made.add_column("status", no_wrap=True)
    made.add_column("tool", overflow="fold")
    for title in ("try", "queued", "ran", "age"):
        made.add_column(title, justify="right", no_wrap=True)
    if wide:
        made.add_column("server", overflow="fold")
        made.add_column("owner", overflow="fold")
        made.add_column("message", overflow="fold", ratio=1)
    for task in tasks:
        row: list[str | Text] = [
            task.id,
            _status(task, now),
            plain(task.tool),
            f"{task.attempt}/{task.policy.retry.attempts}",
            _short(_queued(task, now)),
            _short(_ran(task, now)),
            _short(now - task.created),
        ]
        more = [plain(task.scope), plain(task.owner), plain(task.message or "")] if wide else []
        made.add_row(*(one if isinstance(one, Text) else Text(one) for one in (*row, *more)))
    return made


def line(task: Task, now: float) -> str:
    """One line about a change, for logs."""
    at = datetime.fromtimestamp(task.updated, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    tries = f"{task.attempt}/{task.policy.retry.attempts}"
    said = f"  {plain(task.message)}" if task.message else ""
    return f"{at}  {task.id}  {_status(task, now).plain:14}  {plain(task.tool)}  {tries}{said}"


def page(task: Task, attempts: Sequence[Attempt], now: float) -> Table:
    """Everything about one task but what it was called with and what it gave."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")

    def add(name: str, value: str | Text | None) -> None:
        if value:
            made.add_row(name, value if isinstance(value, Text) else Text(plain(value)))

    add("task", task.id)
    add("status", _status(task, now))
    add("message", task.message)
    add("tool", task.tool)
    add("server", task.scope)
    add("owner", task.owner)
    add("client", task.client)
    add("key", task.key)
    add("created", _when(task.created, now))
    add("queued for", _long(_queued(task, now)))
    add("ran for", _long(_ran(task, now)))
    if task.worker is not None:
        add("worker", f"{task.worker}, its lease {'ends' if task.until > now else 'ended'} {_when(task.until, now)}")
    if shown_as(task, now) == "retrying" and task.due is not None:
        add("next attempt", _when(task.due, now))
    add("ended", None if task.finished is None else _when(task.finished, now))
    if task.erased:
        add("expired", None if task.ends is None else _when(task.ends, now))
    else:
        add("expires", "never" if task.ends is None else _when(task.ends, now))
    if task.questions:
        add("asks", ", ".join(task.questions))
    add("attempts", f"{task.attempt} of {task.policy.retry.attempts}")
    for one in attempts:
        add(f"  {one.number}", _attempt(one, now))
    return made


def facts(task: Task, now: float) -> dict[str, object]:
    """The same as an object; times are ISO 8601 in UTC, spans seconds."""
    queued, ran = _queued(task, now), _ran(task, now)
    next_at = task.due if shown_as(task, now) == "retrying" else None
    return {
        "id": task.id,
        "status": shown_as(task, now),
        "message": task.message,
        "tool": task.tool,
        "server": task.scope,
        "owner": task.owner,
        "client": task.client,
        "attempt": task.attempt,
        "attempts": task.policy.retry.attempts,
        "cancelling": task.cancelling,
        "questions": list(task.questions),
        "created": _iso(task.created),
        "updated": _iso(task.updated),
        "ended": _iso(task.finished),
        "expires": _iso(task.ends),
        "nextAttempt": _iso(next_at),
        "worker": task.worker,
        "leaseEnds": None if task.worker is None else _iso(task.until),
        "queuedSeconds": None if queued is None else round(queued, 3),
        "ranSeconds": None if ran is None else round(ran, 3),
    }


def attempt_facts(attempt: Attempt) -> Mapping[str, object]:
    """One attempt as an object."""
    return {
        "number": attempt.number,
        "began": _iso(attempt.began),
        "ended": _iso(attempt.ended),
        "worker": attempt.worker,
        "why": attempt.why,
    }


def _status(task: Task, now: float) -> Text:
    shown = shown_as(task, now)
    text = "cancelling" if shown == "running" and task.cancelling else shown.replace("_", " ")
    if shown == "retrying" and task.due is not None:
        text = f"retry in {_short(task.due - now)}"
    return Text(text, style=_COLOURS.get(shown, ""))


def _attempt(attempt: Attempt, now: float) -> str:
    if attempt.began is None:
        return "not begun" if attempt.ended is None else attempt.why or ""
    took = _long((attempt.ended or now) - attempt.began)
    by = f" at {attempt.worker}" if attempt.worker else ""
    why = f": {attempt.why}" if attempt.why else ""
    return f"{_when(attempt.began, now)}, {took}{by}{why}"


def _queued(task: Task, now: float) -> float | None:
    """Seconds until it began, where it is in its first attempt: later ones wait on purpose."""
    if task.attempt > 1:
        return None
    return (task.began or task.finished or now) - task.created


def _ran(task: Task, now: float) -> float | None:
    """Seconds since the attempt it is in began, or the last one took; what it waits for its client is part of that."""
    return None if task.began is None else (task.finished or now) - task.began


def _short(seconds: float | None) -> str:
    if seconds is None:
        return ""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _long(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [
        f"{number} {unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (left, "s")) if number
    ]
    return " ".join(parts[:2])


def _when(seconds: float, now: float) -> str:
    at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{at}, {_short(now - seconds)} ago" if seconds <= now else f"{at}, in {_short(seconds - now)}"


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
