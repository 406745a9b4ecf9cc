"""`trunkline tools`, `resources`, `prompts`: what a server offers."""

import argparse
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trunkline.assembly.serving import run as run_loop
from trunkline.cli.reach import reach, say
from trunkline.client.client import Client
from trunkline.client.results import Prompt, Resource, Template, Tool, plain
from trunkline.errors import MethodNotFound, RemoteError

Entry = Tool | Prompt | Resource | Template


def run(arguments: argparse.Namespace) -> int:
    """List one kind of thing, as a table or as JSON."""
    return run_loop(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    async with reach(arguments) as client:
        entries = await _fetch(client, arguments.what)
        if arguments.json:
            print(json.dumps([plain(entry.raw) for entry in entries], indent=2, ensure_ascii=False))
            return 0
        server = await client.server()
        say(f"{server.name} {server.version} · {server.era}, {server.revision}")
        Console().print(_table(arguments.what, entries))
        say(f"{len(entries)} {arguments.what if len(entries) != 1 else arguments.what.removesuffix('s')}")
    return 0


async def _fetch(client: Client, what: str) -> list[Entry]:
    """All entries of a kind; a server that does not have the kind has none."""
    lists: dict[str, tuple[Callable[[], Awaitable[Sequence[Entry]]], ...]] = {
        "tools": (client.tools,),
        "prompts": (client.prompts,),
        "resources": (client.resources, client.templates),
    }
    entries: list[Entry] = []
    for fetch in lists[what]:
        try:
            entries += await fetch()
        except RemoteError as error:
            if error.remote_code != MethodNotFound.code:
                raise
    return entries


def _table(what: str, entries: Iterable[Entry]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column(
        {"tools": "tool", "prompts": "prompt", "resources": "resource"}[what],
        style="cyan",
        no_wrap=True,
        overflow="ignore",
    )
    if what != "resources":
        table.add_column("arguments", overflow="fold")
    table.add_column("description", overflow="fold")
    for entry in entries:
        table.add_row(*_row(entry))
    return table


def _row(entry: Entry) -> list[str]:
    summary = escape((entry.description or entry.title or "").strip().split("\n", 1)[0])
    if isinstance(entry, Resource):
        return [escape(entry.uri), summary]
    if isinstance(entry, Template):
        return [escape(entry.uri_template), summary]
    return [escape(entry.name), escape(" ".join(_arguments(entry))), summary]


def _arguments(entry: Tool | Prompt) -> list[str]:
    """`name:type` of each argument, with `?` where it may be left out."""
    if not isinstance(entry, Tool):
        return [f"{argument.name}{'' if argument.required else '?'}" for argument in entry.arguments]
    properties, required = entry.input_schema.get("properties"), entry.input_schema.get("required")
    if not isinstance(properties, Mapping):
        return []
    needed = required if isinstance(required, list) else []
    return [f"{name}{'' if name in needed else '?'}{_kind(schema)}" for name, schema in properties.items()]


def _kind(schema: object) -> str:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    return f":{kind}" if isinstance(kind, str) else ""
