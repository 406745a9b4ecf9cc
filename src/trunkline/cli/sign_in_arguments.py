"""The arguments of `trunkline login`, `logout`, `auth` and `whoami`.

What it is for: `--help` answers at once: nothing but argparse is imported here.
What may live here: arguments. What may not: what a command does.
"""

import argparse

from trunkline.cli.forms import Commands, command, span

_THERE = "https://mcp.example.com/mcp"


def sign_in(commands: Commands) -> None:
    """All commands about signing in."""
    _login(commands)
    _logout(commands)
    _auth(commands)
    _whoami(commands)


def _login(commands: Commands) -> None:
    login = command(
        commands,
        "login",
        "sign in to an MCP server with your browser; every other command then uses it",
        "login",
        f"trunkline login {_THERE}",
        f"trunkline login {_THERE} --scope files.read --scope files.write",
        f"trunkline login {_THERE} --no-browser         on a machine without one: open the address elsewhere",
        f"trunkline login {_THERE} --client-id cli-7 --client-secret-env CLI_SECRET",
        "trunkline login http://127.0.0.1:8808/mcp --dpop required",
        "trunkline login tracker --config trunkline.yaml                    the gateway over that file, once for all",
    )
    login.add_argument("url", metavar="URL", help="the address of the MCP server; with --config, its name there")
    login.add_argument("--config", metavar="FILE", help="sign the gateway over this configuration in to its server")
    login.add_argument("--scope", action="append", default=[], help="ask for it beside what the server wants; repeat")
    login.add_argument("--client-id", metavar="ID", help="of a client that is registered at the authorization server")
    login.add_argument("--client-secret-env", metavar="VARIABLE", help="the environment variable with its secret")
    login.add_argument("--client-document", metavar="URL", help="the metadata document of your client, its id (https)")
    login.add_argument("--issuer", metavar="URL", help="the authorization server that knows the client")
    login.add_argument("--redirect-uri", metavar="URL", help="where the browser comes back to, as it is registered")
    login.add_argument(
        "--dpop",
        choices=("offered", "required", "never"),
        default="offered",
        help="bind tokens to a key of this machine, so that stolen ones are useless (default: where it is offered)",
    )
    login.add_argument("--no-browser", action="store_true", help="print the address instead of opening it")
    login.add_argument("--wait", type=span, default=300.0, metavar="SECONDS", help="for the person (default: 300)")
    _allow(login)
    login.set_defaults(what="login")


def _logout(commands: Commands) -> None:
    logout = command(
        commands,
        "logout",
        "forget a sign-in, and have its tokens revoked where that can be done",
        "login",
        f"trunkline logout {_THERE}",
        "trunkline logout --all",
    )
    logout.add_argument("url", metavar="URL", nargs="?", help="the MCP server")
    logout.add_argument("--all", action="store_true", help="forget every sign-in")
    _allow(logout)
    logout.set_defaults(what="logout")


def _auth(commands: Commands) -> None:
    auth = command(commands, "auth", "look at the sign-ins there are", "sign_ins", "trunkline auth list")
    actions = auth.add_subparsers(title="actions", metavar="ACTION", required=True)
    what = "list where you are signed in, until when and with which scopes"
    listing = actions.add_parser("list", help=what, description=f"{what[0].upper()}{what[1:]}.")
    listing.add_argument("--json", action="store_true", help="print the list as JSON, for scripts; no secrets in it")


def _whoami(commands: Commands) -> None:
    whoami = command(
        commands,
        "whoami",
        "show who you are to an MCP server, and what your token is worth there",
        "whoami",
        f"trunkline whoami {_THERE}",
        f"trunkline whoami {_THERE} --token-env TOKEN    a token you have, instead of a sign-in",
        f"trunkline whoami {_THERE} --json | jq .accepted",
    )
    whoami.add_argument("url", metavar="URL", help="the address of the MCP server")
    whoami.add_argument("--token-env", metavar="VARIABLE", help="look at the bearer token in this environment variable")
    whoami.add_argument("--json", action="store_true", help="print it as JSON, for scripts; the token is not in it")
    _allow(whoami)


def _allow(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an address that is not public and yet may be asked: 10.0.0.0/8, a host, http://host:port; repeat",
    )
