"""The server list of any client as one neutral model.

What it is for: entries, inputs and documents as values, the same whatever file they came from.
What may live here: frozen data and questions a value answers about itself.
What may not: files, parsing, the names clients use for these fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from trunkline.portable.auth import Auth

Transport = Literal["stdio", "http", "sse", "openapi"]
Processes = Literal["shared", "per-session", "per-call", "stateless"]
LostProcess = Literal["error", "replace"]
PinMode = Literal["off", "changed", "strict"]
Format = Literal["mcpServers", "servers", "context_servers", "root", "list"]
InputType = Literal["promptString", "pickString"]


@dataclass(frozen=True, slots=True, repr=False)
class Entry:
    """One server as a configuration describes it; its repr never shows a value that may be secret.

    Parameters:
        name: the server's name, any string.
        transport: how it is reached.
        command, args, env, env_file, cwd: a stdio server's process; `env_file` and `cwd` as written.
        url, headers: a remote server.
        sse_fallback: the file leaves the HTTP transport open; when Streamable HTTP is refused, HTTP+SSE may be tried.
        disabled: listed, not run.
        allow: tools to show, `*` matches any run of characters; None shows all, an empty tuple none.
        deny: tools to hide; wins over `allow`.
        startup_timeout, connect_timeout, idle_timeout, request_timeout, total_timeout: seconds; None leaves them to the
            reader. What each bounds stands in `gateway/limits.py`.
        drain_timeout: seconds calls in flight may take to end when the server is changed or removed; None likewise.
        title, description: for people.
        processes: a started server's: one `shared` by all callers, one for each of them (`per-session`), as many for
            each as calls run at a time (`per-call`), or one that keeps nothing between two calls (`stateless`).
        lost_process: what the caller of a process that is gone with its replica gets: one `error`, or another process
            unsaid (`replace`).
        pins: which tools are refused for what was pinned of them; None leaves it to the gateway. Not compared: a server
            is the same, whatever is believed of what it says.
        tasks: which of its tools become durable tasks, and how, as it was read; False for none. Not compared likewise.
        auth: how the gateway signs in to a remote server; None for no way but `headers`.
        extra: members this model has no field for, as they were read.
        document: filled by `resolve`: what the local file it is described by holds, as a digest.
        secret_values: filled by `resolve`: values no log may show.

        Entry("time", "stdio", command="uvx", args=("mcp-server-time",))
    """

    name: str
    transport: Transport
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    sse_fallback: bool = False
    disabled: bool = False
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    startup_timeout: float | None = None
    connect_timeout: float | None = None
    idle_timeout: float | None = None
    request_timeout: float | None = None
    total_timeout: float | None = None
    drain_timeout: float | None = None
    title: str | None = None
    description: str | None = None
    processes: Processes = "shared"
    lost_process: LostProcess = "error"
    pins: PinMode | None = field(default=None, compare=False)
    tasks: object = field(default=False, compare=False)
    auth: Auth | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    document: str = ""
    secret_values: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def per_principal(self) -> bool:
        """Whether each caller has an account of its own there."""
        return self.auth is not None and self.auth.per == "principal"

    def admits(self, tool: str) -> bool:
        """Whether the tool lists let this tool through."""
        if any(_matches(pattern, tool) for pattern in self.deny):
            return False
        return self.allow is None or any(_matches(pattern, tool) for pattern in self.allow)

    def __repr__(self) -> str:
        if self.transport == "stdio":
            # Arguments often carry tokens, so only their number is told.
            reached = f"command={self.command!r}, args=({len(self.args)})"
        else:
            reached = f"url={public_address(self.url)!r}"
        env, headers = (f"{{{', '.join(f'{name}=***' for name in names)}}}" for names in (self.env, self.headers))
        state = ", disabled" if self.disabled else ""
        return f"Entry({self.name!r}, {self.transport}, {reached}, env={env}, headers={headers}{state})"


@dataclass(frozen=True, slots=True)
class Input:
    """A value the person is asked for, once, and referred to as `${input:id}`.

    Parameters:
        type: `promptString` for free text, `pickString` for one of `options`.
        password: what is typed must not be shown or stored in the clear.
        default: offered as the answer.

        Input("token", description="API token", password=True)
    """

    id: str
    type: InputType = "promptString"
    description: str = ""
    password: bool = False
    default: str | None = field(default=None, repr=False)
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """One part of a document that cannot be used; `server` is None when it is not about a server."""

    server: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """What one configuration file says; nothing in it is expanded.

    Parameters:
        path: the file, as it is named in messages.
        format: where the servers stood: under a key, at the root of an object, or in a list at the root.
        problems: what was left out; filled only when the reader was told to collect.
    """

    path: str
    format: Format
    entries: tuple[Entry, ...] = ()
    inputs: tuple[Input, ...] = ()
    problems: tuple[Problem, ...] = ()


def _matches(pattern: str, tool: str) -> bool:
    """`*` matches any run of characters, everything else itself; linear in the length of the name."""
    # The same as in `engine/patterns.py`, for all other lists: this room imports nothing of ours.
    first, *rest = pattern.split("*")
    if not rest:
        return tool == pattern
    *middle, last = rest
    place, end = len(first), len(tool) - len(last)
    if place > end or not (tool.startswith(first) and tool.endswith(last)):
        return False
    for part in middle:
        found = tool.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def public_address(url: str) -> str:
    """A URL without the places secrets are put in: user information, query, fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else "***"
