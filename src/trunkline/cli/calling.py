"""`trunkline call`, `read`, `prompt`: use what a server offers."""

import argparse
import asyncio
import json
import shlex
import sys
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trunkline.assembly.serving import run as run_loop
from trunkline.cli.asking import Terminal
from trunkline.cli.pairs import read_pairs
from trunkline.cli.reach import reach, say
from trunkline.client.client import Client
from trunkline.client.reports import LogMessage
from trunkline.client.results import CallResult, Content, Contents, plain
from trunkline.client.tasks import TaskHandle
from trunkline.errors import ConfigError


def run(arguments: argparse.Namespace) -> int:
    """Call, read or get, and print the result."""
    return run_loop(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    shown = Shown(Console(stderr=True))
    terminal = None if arguments.no_input else Terminal(shown.console, shown.pause, shown.resume)
    async with reach(arguments, terminal) as client:
        if arguments.what == "call":
            return await _call(client, arguments, shown)
        if arguments.what == "read":
            read = await client.read(arguments.name)
            _print_json(read.raw) if arguments.json else _print_contents(read.contents)
            return 0
        prompt = await client.prompt(arguments.name, await _prompt_arguments(arguments))
        if arguments.json:
            _print_json(prompt.raw)
            return 0
        for message in prompt.messages:
            print(f"{message.role}: ", end="")
            _print_block(message.content)
        return 0


class Shown:
    """Progress and log messages of a call, on stderr; the bar appears with the first report."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Take one report."""
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True)
            self._task = self._bar.add_task("working", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=progress, total=total, description=escape(message or "working"))

    def log(self, message: LogMessage) -> None:
        """Take one log message."""
        text = message.data if isinstance(message.data, str) else json.dumps(plain(message.data))
        self.console.print(f"[dim]{escape(message.level)}[/dim] {escape(text)}")

    def pause(self) -> None:
        """Take the bar away while a question is asked."""
        if self._bar is not None:
            self._bar.stop()

    def resume(self) -> None:
        """Show the bar again."""
        if self._bar is not None:
            self._bar.start()

    def working(self) -> AbstractContextManager[object]:
        """Show that something is going on until it ends, where someone is looking."""
        return nullcontext() if not self.console.is_terminal else _Ending(self)


class _Ending:
    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._shown.pause()


async def _call(client: Client, arguments: argparse.Namespace, shown: Shown) -> int:
    if arguments.task is not None:
        return await _come_back(client, arguments, shown)
    # One that stands behind an option was taken for an argument.
    name, *pairs = [arguments.name, *arguments.pairs] if arguments.name else arguments.pairs or [""]
    tools = {tool.name: tool for tool in await client.tools()}
    tool = tools.get(name)
    if tool is None:
        raise ConfigError(_no_such_tool(name, list(tools)))
    given = read_pairs(pairs, arguments.arguments, tool.input_schema)
    key = arguments.idempotency_key
    with shown.working():
        if not arguments.target.startswith(("http://", "https://")):
            # Such a server ends with this command: a task nobody can come back to is cancelled with its call.
            result = await client.call(
                name, given, progress=shown.progress, log=shown.log, check=False, idempotency_key=key
            )
            return _printed(result, arguments)
        handle = await client.start(name, given, progress=shown.progress, log=shown.log, idempotency_key=key)
        if arguments.no_wait and not handle.done:
            print(handle.id)
            return 0
        return _printed(await _followed(handle, arguments, shown), arguments)


async def _come_back(client: Client, arguments: argparse.Namespace, shown: Shown) -> int:
    if arguments.name or arguments.pairs:
        raise ConfigError("--task comes back to a call that was made: leave out the tool and its arguments")
    handle = await client.resume(arguments.task)
    if arguments.cancel:
        await handle.cancel()
        say(f"The task {handle.id} " + ("had ended already" if handle.done else "is told to stop"))
        return 0
    with shown.working():
        return _printed(await _followed(handle, arguments, shown), arguments)


async def _followed(handle: TaskHandle, arguments: argparse.Namespace, shown: Shown) -> CallResult:
    """Show what a task says of itself until it ends; whoever interrupts that is told how to come back."""
    token = ["--token-env", arguments.token_env] if arguments.token_env else []
    again = shlex.join(["trunkline", "call", arguments.target, *token, "--task", handle.id])
    try:
        if not handle.done:
            shown.console.print(f"[dim]This goes on as the task {escape(handle.id)}.[/dim]")
            number = 0
            async for state in handle:
                number += 1
                shown.progress(number, None, state.message or state.status.replace("_", " "))
        return await handle.result(check=False)
    except asyncio.CancelledError:
        shown.pause()
        say(f"The task goes on. Come back to it with\n  {again}\nor end it with\n  {again} --cancel")
        raise


def _printed(result: CallResult, arguments: argparse.Namespace) -> int:
    if arguments.json:
        _print_json(result.raw)
    else:
        _print_result(result)
    return 1 if result.is_error else 0


async def _prompt_arguments(arguments: argparse.Namespace) -> dict[str, str]:
    given = read_pairs(arguments.pairs, arguments.arguments, {})
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}


def _no_such_tool(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    if not name:
        return "`trunkline call` needs the name of a tool, or --task ID. `trunkline tools` lists what there is."
    close = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`trunkline tools` lists what there is."
    return f"There is no tool {name!r}. {hint}"


def _print_result(result: CallResult) -> None:
    if result.is_error:
        print(f"The tool failed: {result.text}", file=sys.stderr)
        return
    for block in result.content:
        _print_block(block)
    if not result.content and result.structured is not None:
        _print_json(result.structured)


def _print_block(block: Content) -> None:
    if block.text is not None:
        print(block.text)
    elif block.resource is not None:
        _print_contents([block.resource])
    elif block.uri is not None:
        print(f"[{block.name or 'link'}] {block.uri}")
    elif block.data is not None:
        print(f"[{block.type}, {block.mime_type}, {len(block.data)} bytes; --json shows the data]")
    else:
        _print_json(block.raw)


def _print_contents(contents: list[Contents]) -> None:
    """Texts as they are; bytes as they are into a file or pipe, and as a note on a terminal."""
    for content in contents:
        if content.text is not None:
            print(content.text)
        elif content.blob is not None and not sys.stdout.isatty():
            sys.stdout.buffer.write(content.blob)
        elif content.blob is not None:
            print(f"[{content.mime_type or 'bytes'}, {len(content.blob)} bytes; redirect to a file to keep them]")


def _print_json(value: object) -> None:
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))
