"""A configuration as it takes effect, without its secrets.

What it is for: `trunkline config check` and `show`: what is wrong, what holds, and where each value comes from.
What may live here: collecting and masking. What may not: starting anything.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from trunkline.assembly.configuration import (
    EditSettings,
    EndpointSettings,
    Listen,
    OperationPatterns,
    OverrideSettings,
    ServerSettings,
    TokenSettings,
)
from trunkline.assembly.plan import Remembered, document_faults, fill_in
from trunkline.assembly.servers import REFERENCE, SECRET_NAME
from trunkline.assembly.serving import guard_of
from trunkline.assembly.settings import Settings, Source, read_settings, trails
from trunkline.assembly.sharing import MEMORY, key_ring
from trunkline.errors import ConfigError
from trunkline.gateway import Limits
from trunkline.gateway.supervision import Backoff
from trunkline.policy.limits import CallLimits, ToolLimits
from trunkline.portable import openapi
from trunkline.portable.auth import SECRETS, Auth
from trunkline.portable.entry import SPELLINGS
from trunkline.portable.jsonc import Trail, parse
from trunkline.portable.model import Entry, Input

_PROCESS = ("command", "args", "env", "env_file", "cwd", "processes", "lost_process")
_REMOTE = ("url", "headers", "connect_timeout")
_API = ("file", "base_url", "variables", "operations")
_CAMEL = {"operation_ids": "operationIds"}
_TIMES = {
    "startup_timeout": Backoff().start,
    "connect_timeout": Limits().connect,
    "idle_timeout": Limits().request,
    "request_timeout": Limits().request,
    "total_timeout": Limits().total,
    "drain_timeout": Limits().drain,
}
_SCHEMES = re.compile(r"(Bearer|Basic|Token) $", re.IGNORECASE)
_OPTION = re.compile(r"(--?[A-Za-z0-9_-]+)=(.*)", re.DOTALL)
_DEFAULT = re.compile(r":-.*\}")


@dataclass(frozen=True, slots=True)
class Row:
    """One value: its key, the value as it may be shown, and where it comes from."""

    key: str
    value: str
    origin: str


def check(path: str, environment: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with a configuration in this environment; nobody is asked for inputs.

    check("mcp.json", os.environ)  # []
    """
    try:
        settings = read_settings(path)
        if settings.faults:
            return list(settings.faults)
        problems = [problem.message for problem in settings.problems]
        guard_of(settings.listen)
        plan = fill_in(settings, environment, Remembered(_any_answer))
        key_ring(plan.sharing)
    except ConfigError as error:
        return error.message.splitlines()
    problems += [problem.message for problem in plan.problems if problem not in settings.problems]
    return [*problems, *document_faults(plan)]


def show(path: str) -> list[Row]:
    """The effective configuration. Raises `ConfigError` when it cannot be read."""
    settings = read_settings(path)
    if settings.faults:
        raise ConfigError("\n".join(settings.faults))
    return list(_Rows(settings).all())


class _Rows:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lines: dict[str, Mapping[Trail, int]] = {settings.path: settings.lines} if settings.native else {}

    def all(self) -> Iterator[Row]:
        """Every value, in the order of the types."""
        for index, path in enumerate(self._settings.includes):
            yield Row(f"include[{index}]", str(path), self._native("include", index))
        for entry, source in self._settings.servers:
            yield from self._server(entry, source)
        yield Row("pins", self._settings.pins, self._native("pins"))
        yield Row("prefix", _text(self._settings.prefix), self._native("prefix"))
        for name, endpoint in self._settings.endpoints.items():
            yield from self._endpoint(name, endpoint)
        for name in Listen.__struct_fields__:
            value = getattr(self._settings.listen, name)
            yield Row(f"listen.{name}", _text(value), self._native("listen", name))
        yield from self._sharing()
        for index, token in enumerate(self._settings.tokens):
            yield from self._token(index, token)
        if self._settings.auth is not None:
            yield from self._auth(self._settings.auth, "auth")
        elif not self._settings.tokens:
            yield Row("tokens", "(nobody signs in)", "default")
        for name in CallLimits.__struct_fields__:
            if name != "tools":
                yield Row(f"limits.{name}", _text(getattr(self._settings.limits, name)), self._native("limits", name))
        for index, limits in enumerate(self._settings.limits.tools):
            for name in ToolLimits.__struct_fields__:
                trail = ("limits", "tools", index, name)
                yield Row(f"limits.tools[{index}].{name}", _text(getattr(limits, name)), self._native(*trail))

    def _server(self, entry: Entry, source: Source) -> Iterator[Row]:
        hidden = (*_API, *(_REMOTE if entry.transport == "stdio" else _PROCESS))
        for name in ServerSettings.__struct_fields__:
            if name == "file" and entry.transport == "openapi":
                yield from self._api(entry, source)
            if name == "auth" and entry.auth is not None:
                yield from self._sign_in(entry, entry.auth, source)
            if name in hidden or name == "auth":
                continue
            key, value = f"servers.{entry.name}.{name}", getattr(entry, name)
            if name == "tasks" and isinstance(value, Mapping):
                for member, said in value.items():
                    yield Row(f"{key}.{member}", _text(said), self._origin(entry, source, value, name, member))
            elif isinstance(value, Mapping) and value:
                for member, text in value.items():
                    yield Row(f"{key}.{member}", _masked(text), self._origin(entry, source, value, name, member))
            else:
                shown = self._settings.pins if name == "pins" and value is None else _shown(entry, name, value)
                yield Row(key, shown, self._origin(entry, source, value, name))

    def _sign_in(self, entry: Entry, auth: Auth, source: Source) -> Iterator[Row]:
        """How the gateway signs in there: what is said of it, and the grant."""
        for name in Auth.__struct_fields__:
            value = getattr(auth, name)
            if name == "grant" or value not in (None, (), "gateway", "offered"):
                text = _masked(value) if name in SECRETS else _text(value)
                yield Row(f"servers.{entry.name}.auth.{name}", text, self._origin(entry, source, value, "auth", name))

    def _api(self, entry: Entry, source: Source) -> Iterator[Row]:
        """What is said about an OpenAPI document."""
        api = openapi.settings(entry)

        def row(value: object, text: str, *trail: str) -> Row:
            return Row(".".join(("servers", entry.name, *trail)), text, self._origin(entry, source, value, *trail))

        yield row(api.file, _text(api.file), "file")
        yield row(api.base_url, _address(api.base_url) if api.base_url else "-", "base_url")
        for member, values in (("auth", api.auth), ("variables", api.variables)):
            for name, text in values.items():
                plain = member == "variables" and not SECRET_NAME.search(name)
                yield row(text, _text(text) if plain else _masked(text), member, name)
        for choice in ("include", "exclude"):
            for name in OperationPatterns.__struct_fields__:
                patterns = getattr(getattr(api.operations, choice), name)
                if patterns:
                    yield row(patterns, _text(patterns), "operations", choice, name)
        for operation, override in api.operations.overrides.items():
            for name in OverrideSettings.__struct_fields__:
                value = getattr(override, name)
                text = _text({one: _argument(one, own) for one, own in value.items()} if name == "arguments" else value)
                yield row(value, text, "operations", "overrides", operation, name)
        yield row(api.operations.output, _text(api.operations.output), "operations", "output")

    def _endpoint(self, name: str, endpoint: EndpointSettings) -> Iterator[Row]:
        above = ("endpoints", name)
        for field in ("tools", "prompts", "resources", "instructions", "discovery"):
            yield Row(f"endpoints.{name}.{field}", _text(getattr(endpoint, field)), self._native(*above, field))
        for member, edits in (("edit_tools", endpoint.edit_tools), ("edit_prompts", endpoint.edit_prompts)):
            for real, edit in edits.items():
                for field in EditSettings.__struct_fields__:
                    value = _text(getattr(edit, field))
                    key = f"endpoints.{name}.{member}.{real}.{field}"
                    yield Row(key, value, self._native(*above, member, real, field))

    def _sharing(self) -> Iterator[Row]:
        url, keys = self._settings.sharing.storage, self._settings.sharing.keys
        origin = self._native("storage") if url == MEMORY else self._native("storage", "url")
        yield Row("storage.url", "(a file on this machine)" if url is None else _address(url), origin)
        yield Row("keys", "(made at start)" if keys is None else keys, self._native("keys"))

    def _token(self, index: int, token: TokenSettings) -> Iterator[Row]:
        values = {
            "name": token.name,
            "sha256": "-" if token.sha256 is None else "***",
            "secret": "-" if token.secret is None else _masked(token.secret),
            "tools": "(all)" if token.tools is None else _text(token.tools),
        }
        for name, value in values.items():
            yield Row(f"tokens[{index}].{name}", value, self._native("tokens", index, name))

    def _auth(self, settings: Struct, *trail: str) -> Iterator[Row]:
        for name in settings.__struct_fields__:
            value = getattr(settings, name)
            if isinstance(value, Struct):
                yield from self._auth(value, *trail, name)
            else:
                text = _masked(value) if SECRET_NAME.search(name) else _text(value)
                yield Row(".".join((*trail, name)), text, self._native(*trail, name))

    def _native(self, *trail: str | int) -> str:
        line = self._settings.lines.get(trail)
        return "default" if line is None else f"{self._settings.path}:{line}"

    def _origin(self, entry: Entry, source: Source, value: object, field: str, *inner: str) -> str:
        if source.path == self._settings.path and self._settings.native:
            named = self._native("servers", entry.name, field, *inner)
            return named if named != "default" or field != "transport" else "inferred"
        # One member may hold several of our fields, and say nothing about this one.
        if value is None or (field == "deny" and not value):
            return "default"
        lines = self._of(source)
        above = next(trails(entry.name, lines), ())
        within = tuple(_CAMEL.get(step, step) for step in inner)
        for spelling in SPELLINGS.get(field, ()):
            whole = None if field == "operations" else lines.get((*above, spelling))
            line = lines.get((*above, spelling, *within)) or whole
            if line is not None:
                return f"{source.path}:{line}"
        return "inferred" if field == "transport" else "default"

    def _of(self, source: Source) -> Mapping[Trail, int]:
        if source.path not in self._lines:
            self._lines[source.path] = parse(Path(source.path).read_text(encoding="utf-8"), source.path).lines
        return self._lines[source.path]


def _shown(entry: Entry, name: str, value: object) -> str:
    """One field of a server, with what holds when it is left out."""
    if value is None and name in _TIMES:
        # Without a time of its own, silence is ended by what ends a call without progress.
        held = entry.request_timeout if name == "idle_timeout" else None
        return _text(held or _TIMES[name])
    if value is None and name == "allow":
        return "(all)"
    if name == "args" and isinstance(value, tuple):
        return _text(_arguments(value))
    return _address(value) if name == "url" and isinstance(value, str) and value else _text(value)


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "-" if value is None or value == "" or value == {} else json.dumps(value, ensure_ascii=False)


def _masked(text: str) -> str:
    """A text that may be secret: its references are shown, whatever else it holds is not."""
    parts: list[str] = []
    end = 0
    for found in REFERENCE.finditer(text):
        parts += [_literal(text[end : found.start()]), _DEFAULT.sub(":-***}", found.group())]
        end = found.end()
    return "".join([*parts, _literal(text[end:])]) or "***"


def _literal(text: str) -> str:
    return text if not text or _SCHEMES.fullmatch(text) else "***"


def _argument(name: str, value: object) -> object:
    """An argument that is filled in; texts that are called like secrets are not shown."""
    return _masked(value) if isinstance(value, str) and SECRET_NAME.search(name) else value


def _arguments(arguments: tuple[str, ...]) -> list[str]:
    """Arguments without the values of options whose names say that they are secrets."""
    shown: list[str] = []
    secret = False
    for argument in arguments:
        option = _OPTION.fullmatch(argument)
        if secret:
            shown.append(_masked(argument))
        elif option is not None and SECRET_NAME.search(option[1]):
            shown.append(f"{option[1]}={_masked(option[2])}")
        else:
            shown.append(argument)
        secret = argument.startswith("-") and option is None and SECRET_NAME.search(argument) is not None
    return shown


def _address(url: str) -> str:
    """An address without the places secrets are put in."""
    return re.sub(r"(?<=[?#]).*", "***", re.sub(r"//[^/@]*@", "//***@", url), flags=re.DOTALL)


def _any_answer(wanted: Input) -> str:
    return wanted.default or (wanted.options[0] if wanted.options else "answer")
