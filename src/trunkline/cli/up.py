"""`trunkline up`: serve a configuration, or a trunkline Server."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.console import Console

from trunkline.assembly import logs
from trunkline.assembly.configuration import Listen
from trunkline.assembly.serving import Binding, Drain, bind, check_binding, guard_of, is_loopback, serving, url_of
from trunkline.assembly.serving import run as run_loop
from trunkline.assembly.sharing import Sharing, key_ring, shared_by
from trunkline.assembly.target import Target, classify, load_server
from trunkline.assembly.worker import Worker, check_keys, obeying, take_place
from trunkline.cli import table
from trunkline.cli.asking import ask_input
from trunkline.errors import ConfigError

if TYPE_CHECKING:
    from trunkline.engine.doors import Authenticator
    from trunkline.extensions.tasks.worker import Pace
    from trunkline.runtime.application import Application
    from trunkline.transports.draining import HTTPServer
    from trunkline.transports.http import HTTPTransport


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    if arguments.stdio and arguments.tokens:
        raise ConfigError("--tokens needs HTTP: over --stdio the one caller is whoever started this; leave out one")
    target = classify(arguments.target)
    if target.kind not in ("server", "config"):
        raise ConfigError(
            "`trunkline up` takes a configuration (mcp.json) or a server in Python (server.py), "
            f"not {arguments.target!r}"
        )
    worker = take_place(os.environ)
    configured = _configured(target)
    count = 1 if worker is not None else arguments.workers or configured.workers
    console = Console(stderr=arguments.stdio)
    live = console.is_terminal and not (arguments.no_table or arguments.stdio) and count == 1 and worker is None
    level = arguments.log_level or ("warning" if live else "info")
    logs.set_up(
        level, arguments.log_format, table.log_handler(console) if live else None, worker.number if worker else None
    )
    if count > 1:
        return _keep_workers(arguments, target, configured, count)
    if target.kind == "server":
        return run_loop(lambda: _serve_server(arguments, console, worker))
    return run_loop(lambda: _serve_gateway(arguments, console, live, worker))


def _configured(target: Target) -> Listen:
    """What the file says about serving, which mistakes it may have is told later."""
    if target.kind != "config":
        return Listen()
    # Reading servers brings in the gateway, and all that calls out; a server in Python needs none of it.
    from trunkline.assembly.settings import is_native, read_settings

    return read_settings(target.value).listen if is_native(target.value) else Listen()


def _keep_workers(arguments: argparse.Namespace, target: Target, configured: Listen, count: int) -> int:
    from trunkline.assembly.workers import Workers

    if arguments.stdio:
        raise ConfigError("--workers needs HTTP: over --stdio one process serves the one client; leave out one")
    listen = _listen(arguments, configured)
    listener = bind(Binding(listen.host, listen.port))
    # Not from the folder that happens to be the current one.
    command = [sys.executable, "-P", "-m", "trunkline", *arguments.words]
    drain = Drain(listen.drain_delay, listen.drain_timeout)
    return asyncio.run(Workers(command, count, listener, drain, follows=target.kind == "config").run())


async def _serve_server(arguments: argparse.Namespace, console: Console, worker: Worker | None) -> int:
    if arguments.pins not in (None, "off"):
        raise ConfigError("--pins is for the servers of a configuration; this is a server itself")
    server = load_server(arguments.target)
    server.engine.observer = server.engine.observer or logs.CallLog()
    server.task_pace = _pace(arguments, server.task_pace)
    sharing = _sharing(arguments)
    server.storage = shared_by(sharing) if sharing.storage is not None else server.storage
    application = server.application
    keys = key_ring(sharing)
    if keys is not None:
        server.engine.keys = keys
        keys.follow_with(application)
    if arguments.stdio:
        return await _serve_stdio(application)
    listen = _listen(arguments, Listen())
    application.authenticate_with(_authenticator(arguments) or application.authenticator)
    application.call_timeout = arguments.call_timeout or application.call_timeout
    async with _listening(arguments, listen, server.app, worker) as (url, served):
        if worker is None or worker.announcing:
            _warn_if_open(console, listen, application)
            console.print(f"{server.name} is up\n")
            console.print(table.how_to_use(url, None), soft_wrap=True)
        await served.ended
    return 0


def _pace(arguments: argparse.Namespace, own: "Pace | None") -> "Pace | None":
    """How much of the tasks is run here: what the command line says goes before what the server says."""
    if arguments.task_runs is None and arguments.task_lease is None:
        return own
    from trunkline.extensions.tasks.worker import Pace

    own = own or Pace()
    runs = own.runs if arguments.task_runs is None else arguments.task_runs
    return Pace(runs, own.lease if arguments.task_lease is None else arguments.task_lease, own.tools)


async def _serve_gateway(arguments: argparse.Namespace, console: Console, live: bool, worker: Worker | None) -> int:
    from trunkline.assembly.connect import ConnectPaths
    from trunkline.assembly.endpoints import EndpointPaths
    from trunkline.assembly.gateway import Gateway, read_gateway
    from trunkline.assembly.paths import ServerPaths
    from trunkline.assembly.plan import Remembered
    from trunkline.assembly.reloading import Reloader, reloading
    from trunkline.transports.http import HTTPTransport

    remembered = Remembered(lambda wanted: ask_input(wanted, console))
    gateway: Gateway = read_gateway(
        arguments.target,
        authenticator=_authenticator(arguments),
        call_timeout=arguments.call_timeout,
        remembered=remembered,
        progressive=arguments.progressive,
        pins=arguments.pins,
        prefix=False if arguments.no_prefix else None,
        limits={
            "concurrent_per_caller": arguments.max_concurrent_per_caller,
            "concurrent_per_server": arguments.max_concurrent_per_server,
            "rate_per_caller": arguments.max_rate_per_caller,
        },
        sharing=_sharing(arguments),
        home=not arguments.stdio,
        task_pace=_pace(arguments, None),
    )
    reloader = Reloader(gateway, os.environ, remembered)
    if arguments.stdio:
        async with reloading(reloader):
            return await _serve_stdio(gateway.application)
    listen = _listen(arguments, gateway.plan.settings.listen)
    guard = guard_of(listen, gateway.plan.auth)
    paths = ServerPaths(gateway, guard)
    endpoints = EndpointPaths(gateway, guard, paths)
    connect = ConnectPaths(gateway, guard, endpoints)
    app = HTTPTransport(gateway.application, path=listen.path, guard=guard, beside=connect)
    listening = _listening(arguments, listen, app, worker)
    closing = (contextlib.aclosing(part) for part in (paths, endpoints, connect))
    async with contextlib.AsyncExitStack() as life, listening as (url, served):
        for part in closing:
            await life.enter_async_context(part)
        connect.serve_at(url.removesuffix(app.path))
        view = table.View(url, url.removesuffix(app.path), gateway.statuses, endpoints.statuses, gateway.suggestion)
        async with reloading(reloader):
            if worker is None or worker.announcing:
                _warn_if_open(console, listen, gateway.application)
            if live:
                with table.LiveTable(console, view):
                    await served.ended
            elif worker is None or worker.announcing:
                await _print_when_settled(console, view, served.ended)
            await served.ended
    return 0


async def _print_when_settled(console: Console, view: table.View, stopped: "asyncio.Task[None]") -> None:
    """Without a live table: say where at once, and how each upstream is once that is known."""
    console.print(f"endpoint {view.url}", soft_wrap=True)
    while not table.settled(view.statuses()) and not stopped.done():
        await asyncio.sleep(0.1)
    if not stopped.done():
        for part in view.parts():
            console.print(part, soft_wrap=True)


async def _serve_stdio(application: "Application") -> int:
    from trunkline.transports.stdio import serve_stdio

    await serve_stdio(application)
    return 0


@contextlib.asynccontextmanager
async def _listening(
    arguments: argparse.Namespace, listen: Listen, app: "HTTPTransport", worker: Worker | None
) -> AsyncIterator[tuple[str, "HTTPServer"]]:
    binding = Binding(listen.host, listen.port, arguments.allow_remote)
    check_binding(binding, authenticated=app.application.authenticator is not None)
    drain = Drain(listen.drain_delay, listen.drain_timeout)
    if worker is None:
        listener = bind(binding)
        async with serving(app, listener, drain) as server:
            yield url_of(listener, app.path), server
        return
    check_keys(app.application.engine.keys)
    listener = worker.socket()
    url = url_of(listener, app.path)
    async with serving(app, listener, drain, shared=worker.shared) as server, obeying(worker, server):
        yield url, server


def _listen(arguments: argparse.Namespace, configured: Listen) -> Listen:
    """Where to listen: what the command line says goes before what the file says."""
    given: dict[str, object] = {
        "host": arguments.host,
        "port": arguments.port,
        "path": arguments.path,
        "public_url": arguments.public_url,
        "drain_delay": arguments.drain_delay,
        "drain_timeout": arguments.drain_timeout,
        "allowed_hosts": tuple(arguments.allowed_host) or None,
        "allowed_origins": tuple(arguments.allowed_origin) or None,
        "trusted_proxies": tuple(arguments.trusted_proxy) or None,
    }
    return replace(configured, **{name: value for name, value in given.items() if value is not None})


def _sharing(arguments: argparse.Namespace) -> Sharing:
    return Sharing(arguments.storage, arguments.keys)


def _authenticator(arguments: argparse.Namespace) -> "Authenticator | None":
    if not arguments.tokens:
        return None
    from trunkline.assembly.tokens import read_tokens

    return read_tokens(arguments.tokens)


def _warn_if_open(console: Console, listen: Listen, application: "Application") -> None:
    if application.authenticator is None and not is_loopback(listen.host):
        console.print(
            f"[bold red]Nobody signs in: anyone who can reach {listen.host} can use every tool here.[/bold red]",
            soft_wrap=True,
        )
