"""The arguments of `trunkline tasks` and `trunkline worker`.

What it is for: their help and examples; nothing but argparse is imported.
What may live here: arguments. What may not: what a command does.
"""

import argparse

from trunkline.cli.forms import Commands, command, count, duration, natural, span

_DATABASE = "sqlite:///state.db"
_WHERE = "the URL of a database, or what keeps its tasks there: trunkline.yaml, mcp.json, server.py"
_SHOWN = (
    "working",
    "waiting",
    "running",
    "retrying",
    "lost",
    "input_required",
    "completed",
    "failed",
    "cancelled",
    "expired",
)
_STATUS = (
    "completed, failed, cancelled, input_required, or working: waiting for a worker, running at one, retrying when its "
    "time comes, or lost with its worker; or expired: only facts are left; repeat for any of several"
)


def tasks(commands: Commands) -> None:
    """`trunkline tasks` and its actions."""
    made = command(
        commands,
        "tasks",
        "look at the durable tasks in a database, and cancel, retry or purge them",
        "tasks",
        f"trunkline tasks list {_DATABASE}",
        "trunkline tasks list trunkline.yaml --status failed --since 1d",
        "trunkline tasks show postgresql://trunkline@db.example.com/trunkline t-4fZq8n2...",
        f"trunkline tasks watch {_DATABASE} --tool report",
        f"trunkline tasks retry {_DATABASE} t-4fZq8n2...",
        f"trunkline tasks purge {_DATABASE} --older-than 30d",
    )
    actions = made.add_subparsers(title="actions", metavar="ACTION", required=True)
    _looking(actions)
    _changing(actions)
    _purge(actions)


def worker(commands: Commands) -> None:
    """`trunkline worker`."""
    made = command(
        commands,
        "worker",
        "run the tasks of a server without serving anyone",
        "worker",
        "trunkline worker server.py --storage postgresql://trunkline@db.example.com/trunkline",
        "trunkline worker package.module:object --runs 4 --tools 'report_*'",
        "trunkline up server.py --task-runs 0 ...    beside it: serve, and leave all tasks to workers",
    )
    made.add_argument("target", help="server.py or package.module:object, or a configuration; as for `trunkline up`")
    made.add_argument("--storage", metavar="URL", help="the database that its server uses (default: as it says itself)")
    made.add_argument(
        "--keys", metavar="FILE", help="the file of keys that its server uses (default: as it says itself)"
    )
    made.add_argument("--runs", type=count, metavar="N", help="tasks it runs at once (default: 100)")
    made.add_argument("--lease", type=span, metavar="SECONDS", help=_LEASE)
    made.add_argument(
        "--tools", action="append", metavar="NAME", help="run the tasks of these tools only; * for any letters; repeat"
    )
    made.add_argument(
        "--drain-timeout",
        type=span,
        default=10.0,
        metavar="SECONDS",
        help="when stopping, let tasks finish for so long, then give them back (default: %(default)g)",
    )
    made.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    made.add_argument("--log-format", choices=("text", "json"), default="text", help="default: %(default)s")


_LEASE = "after which others take over what a process left that is gone (default: 30)"


def pace(up: argparse.ArgumentParser) -> None:
    """How much of the tasks a serving process runs."""
    up.add_argument(
        "--task-runs", type=natural, metavar="N", help="tasks to run at once; 0 leaves them to workers (default: 100)"
    )
    up.add_argument("--task-lease", type=span, metavar="SECONDS", help=_LEASE)


def _looking(actions: Commands) -> None:
    shown = _action(
        actions,
        "list",
        "list tasks, the newest first",
        f"trunkline tasks list {_DATABASE} --status running --status waiting",
        f"trunkline tasks list {_DATABASE} --older-than 1h --status working   what takes long",
        f"trunkline tasks list {_DATABASE} --json --limit 1000 | jq -r '.[].id'",
    )
    _filters(shown)
    shown.add_argument("--limit", type=count, default=50, metavar="N", help="at most so many (default: %(default)s)")
    shown.add_argument("--after", metavar="ID", help="the next page, behind the last task of the one before")
    shown.add_argument("--json", action="store_true", help="print them as a JSON array, for scripts")
    show = _action(
        actions,
        "show",
        "show one task with its attempts",
        f"trunkline tasks show {_DATABASE} t-4fZq8n2...",
        f"trunkline tasks show {_DATABASE} t-4fZq8n2... --arguments --outcome",
    )
    show.add_argument("id", metavar="ID", help="the task")
    show.add_argument("--arguments", action="store_true", help="also what it was called with, which may be secret")
    show.add_argument("--outcome", action="store_true", help="also its result or error, and what it asks its client")
    show.add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    watch = _action(
        actions,
        "watch",
        "watch tasks as they change; a line for each change where there is no terminal",
        f"trunkline tasks watch {_DATABASE}",
        f"trunkline tasks watch {_DATABASE} t-4fZq8n2...   until it ends; exit code 1 unless it completes",
        f"trunkline tasks watch {_DATABASE} --status failed --json >> failed.jsonl",
    )
    watch.add_argument("id", nargs="?", metavar="ID", help="one task, until it has ended")
    _filters(watch)
    watch.add_argument("--json", action="store_true", help="print each change as a line of JSON")


def _changing(actions: Commands) -> None:
    cancel = _action(
        actions,
        "cancel",
        "cancel tasks: what waits at once, what runs as soon as its worker hears of it",
        f"trunkline tasks cancel {_DATABASE} t-4fZq8n2...",
    )
    cancel.add_argument("ids", nargs="+", metavar="ID", help="a task; several")
    retry = _action(
        actions,
        "retry",
        "run failed or cancelled tasks again, as new ones; begin the next attempt of those that wait for it",
        f"trunkline tasks retry {_DATABASE} t-4fZq8n2...",
        f"trunkline tasks retry {_DATABASE} t-4fZq8n2... --anew",
    )
    retry.add_argument("ids", nargs="+", metavar="ID", help="a task; several")
    retry.add_argument(
        "--anew", action="store_true", help="do recorded steps again, and ask its client again, instead of going on"
    )


def _purge(actions: Commands) -> None:
    purge = _action(
        actions,
        "purge",
        "erase tasks that have ended before their time; what is left says that they expired",
        f"trunkline tasks purge {_DATABASE} --older-than 30d",
        f"trunkline tasks purge {_DATABASE} --owner 0::anonymous --tombstones --yes",
        f"trunkline tasks purge {_DATABASE} t-4fZq8n2...",
    )
    purge.add_argument("ids", nargs="*", metavar="ID", help="these tasks only")
    _filters(purge)
    purge.add_argument("--tombstones", action="store_true", help="leave nothing at all, and also remove what was left")
    purge.add_argument("--yes", action="store_true", help="do not ask")


def _action(actions: Commands, name: str, summary: str, *examples: str) -> argparse.ArgumentParser:
    made = command(actions, name, summary, "tasks", *examples)
    made.set_defaults(what=name)
    made.add_argument("where", metavar="WHERE", help=_WHERE)
    return made


def _filters(action: argparse.ArgumentParser) -> None:
    action.add_argument("--status", action="append", default=[], choices=_SHOWN, metavar="STATUS", help=_STATUS)
    action.add_argument("--tool", metavar="NAME", help="of this tool")
    action.add_argument("--owner", metavar="OWNER", help="of this principal, as `show` names it")
    action.add_argument("--server", metavar="NAME", help="of this server, where several share a database")
    action.add_argument("--since", type=duration, metavar="TIME", help="created within the last 90s, 10m, 2h, 1d")
    action.add_argument("--older-than", type=duration, metavar="TIME", help="created before that")
