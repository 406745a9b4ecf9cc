"""`trunkline call`, `read`, `prompt`: use what a server offers."""

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from trunkline.assembly.serving import run as run_loop
from trunkline.cli.asking import Terminal
from trunkline.cli.pairs import read_pairs
from trunkline.cli.reach import reach
from trunkline.client.client import Client
from trunkline.client.reports import LogMessage
from trunkline.client.results import CallResult, Content, Contents, plain
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
    tools = {tool.name: tool for tool in await client.tools()}
    tool = tools.get(arguments.name)
    if tool is None:
        raise ConfigError(_no_such_tool(arguments.name, list(tools)))
    given = read_pairs(arguments.pairs, arguments.arguments, tool.input_schema)
    with shown.working():
        result = await client.call(arguments.name, given, progress=shown.progress, log=shown.log, check=False)
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
