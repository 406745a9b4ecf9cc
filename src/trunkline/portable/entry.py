"""From one server's members, in any client's spelling, to an `Entry`.

What it is for: the aliases of fields and transports, and what follows when a client leaves something out.
What may live here: spellings and units as data, and the rules that choose between them.
What may not: finding servers in a file, expanding references.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from trunkline.portable import openapi
from trunkline.portable.auth import Auth, read_auth
from trunkline.portable.fields import Fields, contradiction, mapping, positive, texts
from trunkline.portable.model import Entry, LostProcess, PinMode, Processes, Transport
from trunkline.portable.place import Place, kind

COMMAND = ("command", "cmd")
URL = ("url", "serverUrl", "httpUrl", "uri")
ENV = ("env", "envs", "environment")
ALLOW = ("includeTools", "enabled_tools")
DENY = ("excludeTools", "disabled_tools", "disabledTools")

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "command": COMMAND,
    "args": ("args",),
    "env": ENV,
    "env_file": ("envFile",),
    "cwd": ("cwd",),
    "url": URL,
    "headers": ("headers", "requestOptions"),
    "transport": ("type", "transport"),
    "disabled": ("disabled", "enabled"),
    "allow": ("tools", *ALLOW, "available_tools"),
    "deny": ("tools", *DENY),
    "startup_timeout": ("startup_timeout_sec", "timeout"),
    "request_timeout": ("tool_timeout_sec", "timeout"),
    "processes": ("trunkline",),
    "pins": ("trunkline",),
    "tasks": ("trunkline",),
    "connect_timeout": ("trunkline",),
    "idle_timeout": ("trunkline",),
    "total_timeout": ("trunkline",),
    "drain_timeout": ("trunkline",),
    "title": ("title",),
    "description": ("description",),
    "file": ("file",),
    "base_url": ("baseUrl",),
    "auth": ("auth", "trunkline"),
    "variables": ("variables",),
    "operations": ("operations",),
}
"""The members of a file that say what each key of a server says."""

_SECONDS = ("connect_timeout", "idle_timeout", "total_timeout", "drain_timeout")
"""What no client's format has, under our own member."""

MARKS = frozenset(COMMAND + URL)
"""Members of which a server has at least one."""

_TYPES: Mapping[str, Transport] = {
    "stdio": "stdio",
    "local": "stdio",
    "http": "http",
    "streamablehttp": "http",
    "remote": "http",
    "sse": "sse",
    "openapi": "openapi",
}
_TYPES_TEXT = (
    '"stdio", "http" (also "streamable-http", "streamableHttp", "streamable_http"), "sse" and "openapi" are accepted'
)

# A bare `timeout` counts seconds in Goose, Cline and Roo Code, milliseconds everywhere else.
_GOOSE = frozenset({"cmd", "envs", "env_keys", "uri", "available_tools"})
_CLINE = frozenset({"autoApprove", "alwaysAllow"})
_CLINE_MOST = 3600

_PROCESSES: tuple[Processes, ...] = ("shared", "per-session", "per-call", "stateless")
_LOST: tuple[LostProcess, ...] = ("error", "replace")
_PINS: tuple[PinMode, ...] = ("off", "changed", "strict")
Word = TypeVar("Word", bound=str)

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the file around an entry says about it: the unit of `timeout`, whether "http" leaves room for SSE."""

    seconds: bool = False
    http_may_be_sse: bool = False


def read_entry(name: str, raw: object, place: Place, dialect: Dialect) -> Entry:
    """One server. Raises `ConfigError` naming file, line, server, field and what is accepted.

    read_entry("time", {"command": "uvx", "args": ["mcp-server-time"]}, place, Dialect())
    """
    if not isinstance(raw, dict):
        raise place.fault(f"is {kind(raw)}; an object with `command` or `url` is accepted")
    fields = Fields(raw, place)
    command, args = _command(fields)
    url = fields.text(*URL) or ""
    transport, sse_fallback = _transport(fields, command, url, dialect)
    allow, deny = _tools(fields)
    startup, request = _timeouts(fields, _unit(raw, dialect))
    auth = _auth(fields, transport)
    processes, lost_process, pins, tasks, seconds = _ours(fields)
    return Entry(
        name=name,
        transport=transport,
        command=command,
        args=args,
        env=_env(fields),
        env_file=fields.text("envFile"),
        cwd=fields.text("cwd"),
        url=url,
        headers=_headers(fields),
        sse_fallback=sse_fallback,
        disabled=_disabled(fields),
        allow=allow,
        deny=deny,
        startup_timeout=startup,
        request_timeout=request,
        title=fields.text("title"),
        description=fields.text("description"),
        processes=processes,
        lost_process=lost_process,
        pins=pins,
        tasks=tasks,
        auth=auth,
        connect_timeout=seconds["connect_timeout"],
        idle_timeout=seconds["idle_timeout"],
        total_timeout=seconds["total_timeout"],
        drain_timeout=seconds["drain_timeout"],
        extra=fields.rest,
    )


def _auth(fields: Fields, transport: Transport) -> Auth | None:
    """How the gateway signs in: `"trunkline": {"auth": …}`, or `"auth": "oauth"` as other clients have it."""
    ours = fields.rest.get("trunkline")
    value = ours.get("auth") if isinstance(ours, dict) else None
    place = fields.place.at("trunkline").at("auth")
    if isinstance(ours, dict):
        fields.rest["trunkline"] = {name: one for name, one in ours.items() if name != "auth"}
    if value is None and transport in ("http", "sse") and fields.rest.get("auth") == "oauth":
        value, place = fields.take("auth")
    if value is None:
        return None
    if transport not in ("http", "sse"):
        raise place.fault("is for a server at an address: remove it")
    auth = read_auth(value, place)
    headers = fields.rest.get("headers")
    if isinstance(headers, dict) and any(str(name).lower() == "authorization" for name in headers):
        raise place.fault("and an `Authorization` header both say who calls; keep one")
    return auth


def _ours(fields: Fields) -> tuple[Processes, LostProcess, PinMode | None, object, dict[str, float | None]]:
    """Our own member in files that many clients read: `"trunkline": {"processes": "per-session", "pins": "strict"}`."""
    ours, place = fields.take("trunkline")
    known = {"processes", "lost_process", "pins", "tasks", *_SECONDS}
    if not isinstance(ours, dict | None) or not (ours or {}).keys() <= known:
        seconds = ", ".join(f"`{name}`" for name in _SECONDS)
        raise place.fault(
            "takes the members `processes`, `lost_process`, `pins`, `tasks` and `auth`, and seconds: "
            f"{seconds}; no others"
        )
    inner = Fields(ours or {}, place)
    return (
        _word(inner, "processes", _PROCESSES) or "shared",
        _word(inner, "lost_process", _LOST) or "error",
        _word(inner, "pins", _PINS),
        inner.take("tasks")[0] or False,
        {name: inner.seconds(name) for name in _SECONDS},
    )


def _word(given: Fields, member: str, words: tuple[Word, ...]) -> Word | None:
    value, place = given.take(member)
    found = next((word for word in words if word == value), None)
    if found is None and value is not None:
        raise place.fault("is not one of the words there are: " + ", ".join(map(repr, words)))
    return found


def _command(fields: Fields) -> tuple[str, tuple[str, ...]]:
    value, place = fields.take(*COMMAND)
    args = fields.texts("args") or ()
    if isinstance(value, list):
        first, *more = texts(value, place) or ("",)
        return first, (*more, *args)
    if value is None or isinstance(value, str):
        return value or "", args
    raise place.fault(f"is {kind(value)}; a string, or a list of the command and its arguments, is accepted")


def _transport(fields: Fields, command: str, url: str, dialect: Dialect) -> tuple[Transport, bool]:
    """The transport, and whether HTTP+SSE may be tried when Streamable HTTP is refused."""
    named, place = fields.take("type", "transport")
    if command and url:
        raise fields.place.fault("has both a command and a URL; a server is either started or connected to: keep one")
    if named is None:
        if not command and not url:
            raise fields.place.fault("says neither how to start nor where to reach it; give `command` or `url`")
        if command:
            return "stdio", False
        # An address says which of the two HTTP transports it means only by the custom of ending in /sse.
        sse = re.split(r"[?#]", url)[0].rstrip("/").endswith("/sse")
        return ("sse", False) if sse else ("http", True)
    word = re.sub(r"[-_]", "", named).lower() if isinstance(named, str) else ""
    transport = _TYPES.get(word)
    if transport is None:
        what = "is not a known transport" if isinstance(named, str) else f"is {kind(named)}"
        raise place.fault(f"{what}; {_TYPES_TEXT}")
    if transport == "stdio" and not command:
        raise fields.place.fault("is a stdio server without a command; give `command`")
    if transport == "openapi":
        if command or bool(url) == isinstance(fields.rest.get("file"), str):
            raise fields.place.fault("is an OpenAPI document, which has either a `url` or a `file`: give one of them")
        openapi.check(fields.rest, fields.place)
        return transport, False
    if transport != "stdio" and not url:
        raise fields.place.fault("is a remote server without an address; give `url`")
    return transport, word == "remote" or (word == "http" and dialect.http_may_be_sse)


def _env(fields: Fields) -> dict[str, str]:
    value, place = fields.take(*ENV)
    env = mapping(value, place)
    for name in env:
        if not name or "=" in name or "\0" in name:
            raise place.fault('holds a name that no process can be given; names without "=" are accepted')
    return env


def _headers(fields: Fields) -> dict[str, str]:
    value, place = fields.take("headers")
    options = fields.rest.get("requestOptions")
    if value is None and isinstance(options, dict) and "headers" in options:
        place = fields.place.at("requestOptions").at("headers")
        value = options["headers"]
        fields.rest["requestOptions"] = {name: option for name, option in options.items() if name != "headers"}
    headers = mapping(value, place)
    for name in headers:
        if _HEADER.fullmatch(name) is None:
            raise place.at(name).fault("is not a header name; letters, digits and hyphens are accepted")
    return headers


def _disabled(fields: Fields) -> bool:
    disabled, enabled = fields.flag("disabled"), fields.flag("enabled")
    if disabled is not None and disabled is enabled:
        raise contradiction(fields.place, "disabled", "enabled")
    return disabled is True or enabled is False


def _tools(fields: Fields) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The tools to show (None for all) and those to hide."""
    allow, deny = fields.texts(*ALLOW), fields.texts(*DENY) or ()
    # Goose shows every tool when its list is empty.
    if available := fields.texts("available_tools"):
        allow = _only_one(fields, allow, available, "available_tools")
    tools, place = fields.take("tools")
    if isinstance(tools, list):
        return _only_one(fields, allow, texts(tools, place), "tools"), deny
    if tools is None:
        return allow, deny
    if isinstance(tools, dict) and set(tools) <= {"allow", "deny"}:
        inner = Fields(tools, place)
        shown, hidden = inner.texts("allow"), inner.texts("deny") or ()
        if shown is not None:
            allow = _only_one(fields, allow, shown, "tools.allow")
        return allow, (*deny, *hidden)
    if isinstance(tools, dict) and all(isinstance(tool, dict) for tool in tools.values()):
        # Changes to single tools, which FastMCP keeps under the same name: not a filter.
        fields.rest["tools"] = tools
        return allow, deny
    raise place.fault("is no tool list; a list of names, or an object with the lists `allow` and `deny`, is accepted")


def _only_one(fields: Fields, first: tuple[str, ...] | None, second: tuple[str, ...], spelling: str) -> tuple[str, ...]:
    if first is not None and first != second:
        raise fields.place.fault(f"lists the tools to show twice, the second time as `{spelling}`; keep one list")
    return second


def _unit(raw: Mapping[str, object], dialect: Dialect) -> str:
    """What a bare `timeout` counts: "s", "ms", or "s?" where seconds are the custom up to an hour."""
    if dialect.seconds or _GOOSE & raw.keys():
        return "s"
    return "s?" if _CLINE & raw.keys() or raw.get("type") == "streamableHttp" else "ms"


def _timeouts(fields: Fields, unit: str) -> tuple[float | None, float | None]:
    """Seconds for the start and for a request."""
    startup, request = fields.seconds("startup_timeout_sec"), fields.seconds("tool_timeout_sec")
    value, place = fields.take("timeout")
    if value is None:
        return startup, request
    if isinstance(value, dict):
        inner = Fields(value, place)
        first, second = (_to_seconds(*inner.take(name), unit) for name in ("startup", "request"))
        if inner.rest:
            raise place.fault("holds unknown members; `startup` and `request` are accepted")
    else:
        first, second = None, _to_seconds(value, place, unit)
    if startup is not None and first is not None:
        raise contradiction(fields.place, "startup_timeout_sec", "timeout")
    if request is not None and second is not None:
        raise contradiction(fields.place, "tool_timeout_sec", "timeout")
    return (first if startup is None else startup), (second if request is None else request)


def _to_seconds(value: object, place: Place, unit: str) -> float | None:
    if value is None:
        return None
    number = positive(value, place)
    if unit == "s" or (unit == "s?" and number <= _CLINE_MOST):
        return number
    if number < 1000:
        # Nobody waits less than a second on purpose; a number this small was meant as seconds, or was a slip.
        raise place.fault(
            "counts milliseconds in this file, and less than 1000 are too few to start or ask a server; "
            "give milliseconds, or `tool_timeout_sec` to count seconds"
        )
    return number / 1000
