"""The arguments of every command, with their help and examples.

What it is for: `--help` answers at once: nothing but argparse is imported here.
What may live here: arguments. What may not: what a command does.
"""

import argparse

from trunkline.cli.forms import Commands, command, count, duration, rate, span
from trunkline.cli.sign_in_arguments import sign_in
from trunkline.cli.task_arguments import pace, tasks, worker

_DESCRIPTION = "Turn the MCP servers you have into one endpoint, and try any MCP server from the terminal."
_EXAMPLES = """examples:
  trunkline up mcp.json                       one endpoint over every server in the file
  trunkline up --stdio mcp.json               the same for a client that only launches commands
  trunkline up server.py                      serve a trunkline Server
  trunkline pin mcp.json                      approve what the tools of its servers say today
  trunkline tools http://127.0.0.1:8808/mcp   what it offers
  trunkline login https://mcp.example.com/mcp sign in to a server that wants it
  trunkline call http://127.0.0.1:8808/mcp time__get_current_time timezone=Europe/Paris

Each command has its own --help, with examples."""

_TARGET = "a URL, mcp.json, trunkline.yaml, server.py, package.module:object, or a command in quotes"
_HERE = "http://127.0.0.1:8808/mcp"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="trunkline",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.set_defaults(module=None)
    root.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = root.add_subparsers(title="commands", metavar="COMMAND")
    _up(commands)
    _tools(commands)
    _call(commands)
    _read(commands)
    _prompt(commands)
    _pin(commands)
    _config(commands)
    _keys(commands)
    _db(commands)
    sign_in(commands)
    tasks(commands)
    worker(commands)
    for name, what in (("resources", "list resources and resource templates"), ("prompts", "list prompts")):
        listing = command(commands, name, what, "listing", f"trunkline {name} {_HERE}")
        _reach(listing)
        listing.set_defaults(what=name)
    return root


def _up(commands: Commands) -> None:
    up = command(
        commands,
        "up",
        "serve a configuration or a trunkline Server as one endpoint",
        "up",
        "trunkline up mcp.json",
        "trunkline up trunkline.yaml",
        "trunkline up --stdio ~/.cursor/mcp.json",
        "trunkline up --port 9000 --tokens tokens.json .vscode/mcp.json",
        "trunkline up examples/weather.py",
    )
    up.add_argument(
        "target", help="trunkline.yaml, mcp.json (any client's format), server.py, or package.module:object"
    )
    up.add_argument("--stdio", action="store_true", help="serve on stdin and stdout instead of HTTP")
    up.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    up.add_argument("--port", type=int, help="port to listen on, 0 for a free one (default: 8808)")
    up.add_argument("--path", help="path of the endpoint (default: /mcp)")
    up.add_argument("--no-prefix", action="store_true", help="leave the names of a server that is alone as they are")
    up.add_argument("--progressive", action="store_true", help="list find_tools and call_tool in place of all tools")
    up.add_argument(
        "--pins",
        choices=("off", "changed", "strict"),
        help="refuse tools that changed since `trunkline pin`, or all that are not pinned too (strict)",
    )
    up.add_argument("--allow-remote", action="store_true", help="listen beyond this machine although nobody signs in")
    up.add_argument("--tokens", metavar="FILE", help="JSON file of bearer tokens and the tools each may call")
    up.add_argument("--public-url", metavar="URL", help="the URL clients use, when a proxy stands in front")
    up.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a Host header to accept; repeat"
    )
    up.add_argument(
        "--allowed-origin", action="append", default=[], metavar="ORIGIN", help="a web origin to accept; repeat"
    )
    up.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="NETWORK", help="believe its X-Forwarded-*; repeat"
    )
    _replicas(up)
    up.add_argument("--call-timeout", type=float, metavar="SECONDS", help="stop calls that run longer")
    up.add_argument("--max-concurrent-per-caller", type=count, metavar="N", help="calls one caller may have at once")
    up.add_argument("--max-concurrent-per-server", type=count, metavar="N", help="calls one server may have at once")
    up.add_argument("--max-rate-per-caller", type=rate, metavar="N", help="calls a second of one caller")
    up.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=None,
        help="default: warning with the table, else info",
    )
    up.add_argument("--log-format", choices=("text", "json"), default="text", help="default: %(default)s")
    up.add_argument("--no-table", action="store_true", help="print lines instead of the live table")


def _replicas(up: argparse.ArgumentParser) -> None:
    """Of several processes, and of the end of one."""
    up.add_argument(
        "--workers", type=count, metavar="N", help="processes that serve together; need --keys (default: 1)"
    )
    up.add_argument(
        "--storage", metavar="URL", help="database that replicas share, or memory (default: a file on this machine)"
    )
    pace(up)
    up.add_argument("--keys", metavar="FILE", help="keys that seal what clients carry, the same for all replicas")
    up.add_argument(
        "--drain-delay",
        type=span,
        metavar="SECONDS",
        help="when stopping, still take requests for so long while /readyz says 503 (default: 0; behind a balancer 5)",
    )
    up.add_argument(
        "--drain-timeout", type=span, metavar="SECONDS", help="then let calls finish for so long (default: 10)"
    )


def _tools(commands: Commands) -> None:
    tools = command(
        commands,
        "tools",
        "list the tools of an MCP server or gateway",
        "listing",
        f"trunkline tools {_HERE}",
        "trunkline tools mcp.json --json | jq '.[].name'",
        "trunkline tools 'uvx mcp-server-time'",
    )
    _reach(tools)
    tools.set_defaults(what="tools")


def _call(commands: Commands) -> None:
    call = command(
        commands,
        "call",
        "call a tool; questions it asks are asked here",
        "calling",
        f"trunkline call {_HERE} time__get_current_time timezone=Europe/Paris",
        "trunkline call server.py forecast city=Oslo days:=3",
        'trunkline call mcp.json git__git_log --arguments \'{"repo_path": ".", "max_count": 3}\' --json',
        f"trunkline call {_HERE} reports__yearly year=2026 --no-wait   print the id of the task, where it becomes one",
        f"trunkline call {_HERE} --task t-4fZq8n2...                  wait for it, from anywhere",
    )
    _reach(call)
    call.add_argument("name", nargs="?", help="the tool's name")
    _arguments(call)
    call.add_argument("--task", metavar="ID", help="come back to a task of an earlier call instead of calling")
    call.add_argument("--cancel", action="store_true", help="with --task: cancel it")
    call.add_argument("--no-wait", action="store_true", help="print the id of the task that the call became, and leave")
    call.add_argument("--idempotency-key", metavar="KEY", help="find the task of an earlier call with the same key")
    call.add_argument("--no-input", action="store_true", help="fail instead of asking when the tool needs an answer")
    call.set_defaults(what="call")


def _read(commands: Commands) -> None:
    read = command(
        commands,
        "read",
        "read a resource",
        "calling",
        f"trunkline read {_HERE} demo://resource/static/document/features.md",
        "trunkline read server.py weather://Oslo > oslo.txt",
    )
    _reach(read)
    read.add_argument("name", metavar="uri", help="the resource's URI")
    read.set_defaults(what="read", arguments=None, no_input=False)


def _prompt(commands: Commands) -> None:
    prompt = command(
        commands,
        "prompt",
        "get a prompt, filled in",
        "calling",
        "trunkline prompt server.py review language=python",
    )
    _reach(prompt)
    prompt.add_argument("name", help="the prompt's name")
    _arguments(prompt)
    prompt.set_defaults(what="prompt", no_input=False)


def _pin(commands: Commands) -> None:
    pin = command(
        commands,
        "pin",
        "approve what the tools of a configuration's servers say now, in the lock file beside it",
        "pin",
        "trunkline pin mcp.json                    look at what is new or changed, and write mcp.lock",
        "trunkline pin trunkline.yaml time search  these servers alone",
        "trunkline pin --check trunkline.yaml      write nothing; exit code 1 when something differs",
        "trunkline up --pins strict mcp.json       refuse whatever is not as it was pinned",
    )
    pin.add_argument("file", help="trunkline.yaml, or mcp.json of any client")
    pin.add_argument("servers", nargs="*", metavar="SERVER", help="pin these servers and leave the others as they are")
    pin.add_argument("--check", action="store_true", help="write nothing; exit code 1 when anything is not as pinned")


def _config(commands: Commands) -> None:
    config = command(
        commands,
        "config",
        "check, show or explain a configuration",
        "config",
        "trunkline config check trunkline.yaml",
        "trunkline config show mcp.json",
        "trunkline config explain listen.port",
    )
    actions = config.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, what in (
        ("check", "say everything that is wrong with it; exit code 2 if anything is"),
        ("show", "print what takes effect and where each value comes from, without secrets"),
    ):
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        action.add_argument("file", help="trunkline.yaml, or mcp.json of any client")
        action.set_defaults(what=name)
    what = "what a key of trunkline.yaml does; without one, all of them"
    action = actions.add_parser("explain", help=what, description=f"{what[0].upper()}{what[1:]}.")
    action.add_argument("key", nargs="?", help="as in listen.port or servers.NAME.env")
    action.set_defaults(what="explain")


def _keys(commands: Commands) -> None:
    keys = command(
        commands,
        "keys",
        "make, show and rotate the keys that replicas seal with",
        "keys",
        "trunkline keys new keys.json",
        "trunkline keys rotate keys.json",
        "trunkline keys rotate keys.json --in 1h",
        "trunkline keys list keys.json",
        "trunkline keys prune keys.json",
    )
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, what in (
        ("new", "make a file with one key"),
        ("list", "show which key seals, and until when others open"),
        ("rotate", "add a key; every replica seals with it once its time has come"),
        ("prune", "remove the keys with which nothing is sealed any more"),
    ):
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        action.add_argument("file", metavar="FILE", help="the key file, the same for all replicas")
        action.set_defaults(what=name)
        if name == "rotate":
            action.add_argument(
                "--in",
                dest="lead",
                type=duration,
                default=600.0,
                metavar="TIME",
                help="when replicas begin to seal with it, as in 90s, 10m, 2h (default: 10m)",
            )


def _db(commands: Commands) -> None:
    db = command(
        commands,
        "db",
        "make or look at the tables of a database",
        "db",
        "trunkline db upgrade postgresql://trunkline@db.example.com/trunkline",
        "trunkline db status postgresql://trunkline@db.example.com/trunkline",
        "trunkline db status sqlite:///state.db",
    )
    actions = db.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, what in (
        ("upgrade", "make the tables, or bring them up to date"),
        ("status", "say what version they are; exit code 1 when they have to be upgraded"),
    ):
        action = actions.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        action.add_argument("url", metavar="URL", help="postgresql://user@host/database or sqlite:///path")
        action.set_defaults(what=name)


def _arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "pairs",
        nargs="*",
        metavar="key=value",
        help="arguments: key=text (numbers and booleans as the schema says), key:=JSON, key=@file",
    )
    command.add_argument("--arguments", metavar="JSON", help="all arguments as one JSON object")


def _reach(command: argparse.ArgumentParser) -> None:
    command.add_argument("target", help=_TARGET)
    command.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    command.add_argument(
        "--header", action="append", default=[], metavar="NAME:VALUE", help="send an HTTP header; repeat"
    )
    command.add_argument("--token-env", metavar="VARIABLE", help="send the bearer token in this environment variable")
    command.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="default: %(default)g, renewed by progress"
    )


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"trunkline {version('trunkline')}")
        parser.exit()
