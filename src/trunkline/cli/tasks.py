"""`trunkline tasks`: durable tasks, for whoever runs the servers.

What it is for: look at the tasks in a database, and end, repeat or erase them.
What may live here: the actions, what they print, exit codes. What may not: drawing (`task_view`), watching
(`task_watch`), SQL.
"""

import argparse
import asyncio
import contextlib
import json
import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

from rich.console import Console
from rich.prompt import Confirm

from trunkline.assembly import logs
from trunkline.assembly.databases import database_of
from trunkline.assembly.serving import run as run_loop
from trunkline.cli import task_view
from trunkline.cli.plain import plain
from trunkline.cli.reach import say
from trunkline.cli.task_watch import watch
from trunkline.errors import ConfigError
from trunkline.extensions.tasks.operating import AllTasks
from trunkline.extensions.tasks.records import Task, TaskFilter
from trunkline.extensions.tasks.running import arguments_of
from trunkline.extensions.tasks.states import ENDS
from trunkline.extensions.tasks.versions import TASKS
from trunkline.storage import schema
from trunkline.storage.location import locate
from trunkline.storage.storage import open_storage

_BATCH = 500
"""Tasks that are looked for or erased at a time."""


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 where a task is not known, or nothing can be done for it."""
    logs.set_up("error")
    return run_loop(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    actions: dict[str, Callable[[AllTasks, argparse.Namespace], Awaitable[int]]] = {
        "list": _list,
        "show": _show,
        "watch": _watch,
        "cancel": _cancel,
        "retry": _retry,
        "purge": _purge,
    }
    async with _opened(arguments.where) as everything:
        return await actions[arguments.what](everything, arguments)


@contextlib.asynccontextmanager
async def _opened(where: str) -> AsyncIterator[AllTasks]:
    """The tasks in a database that has some; none is made, and none is brought up to date."""
    url = database_of(where)
    [(_, version)] = await asyncio.to_thread(schema.status, url, [TASKS])
    if version is None:
        name = locate(url).name
        raise ConfigError(f"No server has kept tasks in {name} yet. Is it the database that your server uses?")
    async with open_storage(url, branches=[TASKS]) as storage:
        yield AllTasks(storage)


async def _filter(everything: AllTasks, arguments: argparse.Namespace) -> TaskFilter:
    now = await everything.now()
    return TaskFilter(
        shown=tuple(arguments.status),
        tool=arguments.tool,
        owner=arguments.owner,
        scope=arguments.server,
        since=None if arguments.since is None else now - arguments.since,
        until=None if arguments.older_than is None else now - arguments.older_than,
    )


async def _list(everything: AllTasks, arguments: argparse.Namespace) -> int:
    filter = await _filter(everything, arguments)
    if arguments.after is not None and await _one(everything, arguments.after) is None:
        return 1
    found = await everything.list(filter, arguments.after, arguments.limit + 1)
    tasks, more = found[: arguments.limit], len(found) > arguments.limit
    now = await everything.now()
    if arguments.json:
        print(json.dumps([task_view.facts(task, now) for task in tasks], indent=2, ensure_ascii=False))
        return 0
    console = task_view.console()
    if tasks:
        console.print(task_view.table(tasks, now, wide=console.width >= task_view.WIDE))
    if more:
        say(f"{len(tasks)} tasks, and there are more: {_next_page(arguments, tasks[-1].id)}")
    else:
        say(f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}")
    return 0


def _next_page(arguments: argparse.Namespace, last: str) -> str:
    words: list[str] = list(arguments.words)
    if "--after" in words:
        at = words.index("--after")
        del words[at : at + 2]
    return shlex.join(["trunkline", *words, "--after", last])


async def _show(everything: AllTasks, arguments: argparse.Namespace) -> int:
    task = await _one(everything, arguments.id)
    if task is None:
        return 1
    now = await everything.now()
    attempts = await everything.attempts(task)
    secret = await _secrets(everything, task, arguments)
    if arguments.json:
        whole = {
            **task_view.facts(task, now),
            "idempotencyKey": task.key,
            "eachAttempt": [task_view.attempt_facts(one) for one in attempts],
            **secret,
        }
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return 0
    task_view.console().print(task_view.page(task, attempts, now))
    for name, value in secret.items():
        print(f"\n{name}\n{_printable(value)}")
    return 0


async def _secrets(everything: AllTasks, task: Task, arguments: argparse.Namespace) -> dict[str, object]:
    """What nobody sees who does not ask for it: what a task was called with, asks, gave."""
    found: dict[str, object] = {}
    if arguments.arguments:
        request = await everything.request(task)
        found["arguments"] = "(erased)" if request is None else arguments_of(request)
    if arguments.outcome:
        found["questionsAsked"] = dict(task.questions)
        outcome = await everything.outcome(task)
        found["outcome"] = None if outcome is None else json.loads(outcome)
    return found


def _printable(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(plain(line) for line in text.split("\n"))


async def _watch(everything: AllTasks, arguments: argparse.Namespace) -> int:
    if arguments.id is not None and await _one(everything, arguments.id) is None:
        return 1
    filter = await _filter(everything, arguments)
    return await watch(everything, filter, arguments.id, as_json=arguments.json)


async def _cancel(everything: AllTasks, arguments: argparse.Namespace) -> int:
    async def cancel(task: Task) -> bool:
        after = await everything.cancel(task)
        if task.status in ENDS:
            say(f"{task.id}: had ended already, as {task.status}")
        elif after.status in ENDS:
            print(f"{task.id}: {after.status}")
        else:
            print(f"{task.id}: told to stop; `trunkline tasks watch` shows when it has")
        return True

    return await _each(everything, arguments.ids, cancel)


async def _retry(everything: AllTasks, arguments: argparse.Namespace) -> int:
    async def retry(task: Task) -> bool:
        done = await everything.retry(task, anew=arguments.anew)
        if done.how == "refused":
            say(f"{task.id}: nothing was done: {done.why}")
        elif done.how == "hastened":
            print(f"{task.id}: attempt {done.task.attempt} begins as soon as a worker has room")
        else:
            print(f"{task.id}: runs again as {done.task.id}")
        return done.how != "refused"

    return await _each(everything, arguments.ids, retry)


async def _purge(everything: AllTasks, arguments: argparse.Namespace) -> int:
    filter = await _filter(everything, arguments)
    unfinished = set(filter.shown) - {*ENDS, "expired"}
    if unfinished:
        raise ConfigError(f"Only tasks that have ended are purged, not {min(unfinished)} ones: cancel those first")
    if arguments.ids:
        return await _each(everything, arguments.ids, partial(_purge_one, everything, arguments))
    shown = filter.shown or ((*sorted(ENDS), "expired") if arguments.tombstones else tuple(sorted(ENDS)))
    filter = TaskFilter(None, filter.owner, filter.tool, filter.scope, shown, True, filter.since, filter.until)
    number = await everything.count(filter)
    if number == 0:
        print("No task that has ended is like that")
        return 0
    _confirm(arguments, f"{'Remove' if arguments.tombstones else 'Erase'} {number} task{'' if number == 1 else 's'}")
    gone = 0
    status = Console(stderr=True).status(f"0 of {number} purged")
    with status if number > _BATCH else contextlib.nullcontext():
        after = None
        while batch := await everything.list(filter, after, _BATCH):
            gone += await everything.purge([task.id for task in batch], whole=arguments.tombstones)
            status.update(f"{gone} of {number} purged")
            # Those that stay as they are, such as tombstones, are passed by; those that go are not found again.
            left = await everything.find([batch[-1].id])
            after = batch[-1].id if left else None
    print(f"{gone} task{'' if gone == 1 else 's'} purged")
    return 0


async def _purge_one(everything: AllTasks, arguments: argparse.Namespace, task: Task) -> bool:
    if task.status not in ENDS:
        say(f"{task.id}: it has not ended; cancel it first")
        return False
    _confirm(arguments, f"{'Remove' if arguments.tombstones else 'Erase'} {task.id}")
    gone = await everything.purge([task.id], whole=arguments.tombstones)
    print(f"{task.id}: {'purged' if gone else 'is erased already; --tombstones removes what is left of it'}")
    return True


def _confirm(arguments: argparse.Namespace, what: str) -> None:
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("Purging asks first, and there is no terminal to ask on: say --yes")
    if not Confirm.ask(f"{what}?", default=False, console=Console(stderr=True)):
        raise ConfigError("Nothing was purged")


async def _one(everything: AllTasks, id: str) -> Task | None:
    """A task by its id; one that is not known is said to be so."""
    found = (await everything.find([id])).get(id)
    if found is None:
        say(f"trunkline: There is no task {plain(id)[:100]} here; `trunkline tasks list` shows which there are")
    return found


async def _each(everything: AllTasks, ids: Sequence[str], act: Callable[[Task], Awaitable[bool]]) -> int:
    """Do something to each task; 1 where it could not be done to all."""
    code = 0
    for id in dict.fromkeys(ids):
        task = await _one(everything, id)
        if task is None or not await act(task):
            code = 1
    return code
