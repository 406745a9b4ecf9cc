"""`trunkline worker`: run the tasks of a server, and serve nobody."""

import argparse

from trunkline.assembly import logs
from trunkline.assembly.executing import check_tasks, execute
from trunkline.assembly.serving import run as run_loop
from trunkline.assembly.sharing import MEMORY, Sharing, key_ring
from trunkline.assembly.target import classify, load_server
from trunkline.errors import ConfigError
from trunkline.extensions.tasks.worker import Pace
from trunkline.runtime.application import Application
from trunkline.transports.stored import Stored


def run(arguments: argparse.Namespace) -> int:
    """Run tasks until a signal ends it."""
    logs.set_up(arguments.log_level, arguments.log_format)
    return run_loop(lambda: _run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    # Only what the application is made of: `execute` needs it started, and no listener.
    target = classify(arguments.target)
    if target.kind == "server":
        application = _of_server(arguments)
    elif target.kind == "config":
        application = _of_gateway(arguments, target.value)
    else:
        raise ConfigError(
            f"`trunkline worker` takes what `trunkline up` serves (server.py, package.module:object), "
            f"not {arguments.target!r}"
        )
    check_tasks(application, arguments.target)
    await execute(application, arguments.drain_timeout)
    return 0


def _of_server(arguments: argparse.Namespace) -> Application:
    server = load_server(arguments.target)
    server.engine.observer = server.engine.observer or logs.CallLog()
    server.task_pace = paced(server.task_pace, arguments.runs, arguments.lease, arguments.tools)
    if arguments.storage is not None:
        server.storage = None if arguments.storage == MEMORY else Stored(arguments.storage)
    application = server.application
    keys = key_ring(Sharing(arguments.storage, arguments.keys))
    if keys is not None:
        server.engine.keys = keys
        keys.follow_with(application)
    return application


def _of_gateway(arguments: argparse.Namespace, path: str) -> Application:
    from trunkline.assembly.gateway import read_gateway

    pace = paced(None, arguments.runs, arguments.lease, arguments.tools)
    sharing = Sharing(arguments.storage, arguments.keys)
    return read_gateway(path, sharing=sharing, home=True, task_pace=pace).application


def paced(own: Pace | None, runs: int | None, lease: float | None, tools: list[str] | None) -> Pace:
    """What the command line says goes before what the server says."""
    own = own or Pace()
    return Pace(
        # A server whose own processes leave the tasks to workers has to have some that take them.
        (own.runs or Pace().runs) if runs is None else runs,
        own.lease if lease is None else lease,
        own.tools if tools is None else tuple(tools),
    )
