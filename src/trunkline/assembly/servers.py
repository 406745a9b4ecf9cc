"""The servers of `trunkline.yaml`.

What it is for: what in one of them cannot be meant, and how a client's file would say the same.
What may live here: checks that need one server alone. What may not: the rules all files share (`portable/`).
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec import inspect

from trunkline.assembly.configuration import OperationSettings, ServerSettings
from trunkline.assembly.strict import faults
from trunkline.assembly.task_settings import TaskSettings
from trunkline.portable.auth import SECRETS, Auth, auth_faults
from trunkline.portable.jsonc import Trail
from trunkline.portable.model import Transport
from trunkline.portable.place import Place

SECRET_NAME = re.compile(
    r"(authorization|cookie|token|secret|password|passwd|api[-_]?key|credentials?)$", re.IGNORECASE
)
"""Names of variables, headers and options whose values are secrets."""

REFERENCE = re.compile(r"(?<!\$)\$\{[^{}]*\}")

_STARTED, _REMOTE, _DESCRIBED = "a server that is started", "a server at an address", "an OpenAPI document"
_KINDS: dict[Transport, str] = {"stdio": _STARTED, "http": _REMOTE, "sse": _REMOTE, "openapi": _DESCRIBED}
_MEANT_FOR: tuple[tuple[tuple[str, ...], str, frozenset[Transport]], ...] = (
    (("command", "args", "env", "env_file", "cwd", "processes", "lost_process"), _STARTED, frozenset({"stdio"})),
    (("url", "headers", "connect_timeout"), _REMOTE, frozenset({"http", "sse", "openapi"})),
    (("auth",), _REMOTE, frozenset({"http", "sse", "openapi"})),
    (("file", "base_url", "variables", "operations"), _DESCRIBED, frozenset({"openapi"})),
)
"""Keys that say nothing about some kinds of server; a file that uses them there means something else."""

_WITHIN = (
    ("connect_timeout", "startup_timeout"),
    ("idle_timeout", "request_timeout"),
    ("idle_timeout", "total_timeout"),
    ("request_timeout", "total_timeout"),
)
"""Times, and others that would always be up before them if they were shorter."""

_UNSAID = ServerSettings()
_AUTH = inspect.type_info(Auth)
_CREDENTIALS = inspect.type_info(dict[str, str])


def server_faults(settings: ServerSettings, place: Place) -> Iterator[str]:
    """What cannot be meant in one server."""
    wrong = list(_auth(settings, place.at("auth")))
    yield from wrong
    if not wrong:
        yield from _literals(settings, place)
    yield from _misplaced(settings, place)
    for short, long in _WITHIN:
        one, other = getattr(settings, short), getattr(settings, long)
        if one is not None and other is not None and one > other:
            yield (
                place.at(short).fault(f"is longer than `{long}`, which is always up before it: make it shorter").message
            )


def spelled(settings: ServerSettings) -> dict[str, object]:
    """A server in the spelling client files have, for the rules that all files share."""
    ours: dict[str, object] = {
        "processes": settings.processes,
        "lost_process": settings.lost_process,
        "pins": settings.pins,
        "tasks": _given(settings.tasks),
        "connect_timeout": settings.connect_timeout,
        "idle_timeout": settings.idle_timeout,
        "total_timeout": settings.total_timeout,
        "drain_timeout": settings.drain_timeout,
    }
    raw: dict[str, object] = {
        "command": settings.command,
        "args": list(settings.args),
        "env": settings.env,
        "envFile": settings.env_file,
        "cwd": settings.cwd,
        "url": settings.url,
        "headers": settings.headers,
        "transport": settings.transport,
        "disabled": settings.disabled,
        "tools": {"allow": None if settings.allow is None else list(settings.allow), "deny": list(settings.deny)},
        "startup_timeout_sec": settings.startup_timeout,
        "tool_timeout_sec": settings.request_timeout,
        "title": settings.title,
        "trunkline": ours,
        "description": settings.description,
    }
    if settings.transport != "openapi":
        ours["auth"] = settings.auth or None
    else:
        raw |= {
            "file": settings.file,
            "baseUrl": settings.base_url,
            "auth": settings.auth,
            "variables": settings.variables,
            "operations": _operations(settings.operations),
        }
    return raw


def _given(tasks: bool | TaskSettings) -> object:
    """`tasks` with what is said of them alone."""
    if isinstance(tasks, bool):
        return tasks
    plain: dict[str, object] = msgspec.to_builtins(tasks)
    return {name: value for name, value in plain.items() if value is not None and value != {}}


def _operations(settings: OperationSettings) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(settings)
    for member in ("include", "exclude"):
        patterns = msgspec.to_builtins(getattr(settings, member))
        plain[member] = {"operationIds" if name == "operation_ids" else name: own for name, own in patterns.items()}
    return plain


def _literals(settings: ServerSettings, place: Place) -> Iterator[str]:
    """Secrets come by reference only: the file is shown, copied and checked in."""
    for trail, value in _texts(settings):
        name = str(trail[-1])
        credential = name in SECRETS or (trail[0] == "auth" and settings.transport == "openapi")
        if value and (credential or SECRET_NAME.search(name)) and not REFERENCE.search(value):
            variable = re.sub("[^A-Za-z0-9]", "_", name).upper()
            said = f"holds a secret; refer to it: ${{env:{variable}}}, ${{file:PATH}} or ${{keyring:SERVICE/NAME}}"
            inner = place
            for step in trail:
                inner = inner.at(step)
            yield inner.fault(said).message


def _texts(settings: ServerSettings) -> Iterator[tuple[Trail, str]]:
    """The values that may be secrets, and where they stand."""
    for member in ("env", "headers", "auth", "variables"):
        values = getattr(settings, member)
        if isinstance(values, dict):
            yield from (((member, name), value) for name, value in values.items() if isinstance(value, str))
    for name, override in settings.operations.overrides.items():
        for argument, value in override.arguments.items():
            if isinstance(value, str):
                yield ("operations", "overrides", name, "arguments", argument), value


def _auth(settings: ServerSettings, place: Place) -> Iterator[str]:
    """`auth` is of two kinds: how the gateway signs in to a server, and the credentials of an API."""
    if settings.transport == "openapi":
        if not isinstance(settings.auth, dict):
            yield place.fault("is a word; the credentials by security scheme are accepted").message
            return
        yield from faults(settings.auth, _CREDENTIALS, place)
    elif isinstance(settings.auth, dict) and settings.auth:
        wrong = list(faults(settings.auth, _AUTH, place))
        yield from wrong
        if not wrong:
            given = {name: value for name, value in settings.auth.items() if value is not None}
            yield from (fault.message for fault in auth_faults(msgspec.convert(given, Auth), place))


def _misplaced(settings: ServerSettings, place: Place) -> Iterator[str]:
    """Keys for another kind of server; nothing where it is not clear of which kind it is."""
    known: Transport | None = "stdio" if settings.command else "http" if settings.url else None
    transport = settings.transport or known
    if transport != "openapi" and ((settings.command and settings.url) or (settings.transport and known is None)):
        return
    for keys, meant, transports in _MEANT_FOR:
        for key in keys:
            if transport in transports or getattr(settings, key) == getattr(_UNSAID, key):
                continue
            remedies = [] if transport is None else ["remove it"]
            if meant == _DESCRIBED and transport != "stdio":
                remedies.append("set `transport: openapi`")
            found = "" if transport is None else f", and this is {_KINDS[transport]}"
            yield place.at(key).fault(f"is for {meant}{found}: {', or '.join(remedies)}").message
