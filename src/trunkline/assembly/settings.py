"""A configuration file, and everything it includes, as one value.

What it is for: `trunkline.yaml` and any client's file read into the same `Settings`, with every mistake kept.
What may live here: reading and checking, without the environment. What may not: resolving references, applying.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import inspect

from trunkline.assembly.auth_settings import AuthSettings
from trunkline.assembly.configuration import (
    Configuration,
    EndpointSettings,
    Listen,
    StorageSettings,
    TokenSettings,
)
from trunkline.assembly.selecting import endpoint_faults
from trunkline.assembly.servers import REFERENCE, server_faults, spelled
from trunkline.assembly.sharing import Sharing
from trunkline.assembly.signing_in import auth_faults
from trunkline.assembly.strict import faults
from trunkline.assembly.task_settings import Tasks
from trunkline.errors import ConfigError
from trunkline.policy.limits import CallLimits
from trunkline.portable.entry import Dialect, read_entry
from trunkline.portable.jsonc import Parsed, Trail, parse
from trunkline.portable.model import Entry, Input, PinMode, Problem
from trunkline.portable.place import Place, server
from trunkline.portable.read import read_document

_EDITOR_FOLDERS = (".vscode", ".cursor", ".roo", ".gemini")
_TYPE = inspect.type_info(Configuration)
_TASKS = inspect.type_info(Tasks)

_PASSWORD = re.compile(r"//[^/@]*:[^/@]+@|[?&]password=[^&]+")
"""In the URL of a database."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of servers: where it is, what its relative paths start from, what it asks the person for."""

    path: str
    workspace: Path
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What a configuration says; nothing in it is expanded.

    Parameters:
        path: the file.
        native: it is a `trunkline.yaml`, where any mistake makes the whole file unusable.
        servers: each with the file it stands in, in the order lists follow.
        listen, tokens, limits, endpoints, sharing, pins: as in the file, or their defaults.
        lines: where in a native file each value stands.
        faults: what makes the whole file unusable.
        problems: servers that were left out.
        includes: the files it names.
        prefix: names begin with their server's.
        auth: as in the file; None where it does not say.
    """

    path: str
    native: bool
    servers: tuple[tuple[Entry, Source], ...] = ()
    listen: Listen = field(default_factory=Listen)
    tokens: tuple[TokenSettings, ...] = ()
    lines: Mapping[Trail, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    includes: tuple[Path, ...] = ()
    limits: CallLimits = field(default_factory=CallLimits)
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict)
    sharing: Sharing = field(default_factory=Sharing)
    pins: PinMode = "off"
    prefix: bool = True
    auth: AuthSettings | None = None


def is_native(path: str) -> bool:
    """Whether a file is a `trunkline.yaml`, whatever it is called, and not the file of a client."""
    return Path(path).suffix in (".yaml", ".yml")


def read_settings(path: str) -> Settings:
    """Read a configuration of either kind. Raises `ConfigError` when it cannot be parsed at all.

    settings = read_settings("trunkline.yaml")
    """
    if is_native(path):
        return _Native(path).settings()
    document = read_document(path, collect=True)
    source = Source(path, workspace(path), document.inputs)
    entries, problems = _sound(document.entries, source)
    return Settings(path, False, tuple((entry, source) for entry in entries), problems=(*document.problems, *problems))


def workspace(path: str) -> Path:
    """The folder `${workspaceFolder}` means: where the file lies, or the project whose editor folder holds it."""
    folder = Path(path).resolve().parent
    return folder.parent if folder.name in _EDITOR_FOLDERS else folder


def together(servers: Iterable[tuple[Entry, Source]], problems: Iterable[Problem]) -> str | None:
    """The servers there are where they are several, broken ones too, since they may be mended; None for one alone."""
    names = [entry.name for entry, _ in servers if not entry.disabled]
    names += [problem.server for problem in problems if problem.server is not None]
    return ", ".join(json.dumps(name[:80]) for name in names) if len(names) > 1 else None


def trails(name: str, lines: Mapping[Trail, int]) -> Iterator[Trail]:
    """Where a server of a client's file may stand; in a list, where names stand inside, only the file is known."""
    for above in (("mcpServers",), ("servers",), ("context_servers",), ()):
        if (*above, name) in lines:
            yield (*above, name)


def _sound(entries: Iterable[Entry], source: Source) -> tuple[list[Entry], list[Problem]]:
    """The servers of a client's file, and those of them whose `tasks`, which is ours, cannot be meant."""
    sound: list[Entry] = []
    problems: list[Problem] = []
    for entry in entries:
        wrong = [] if isinstance(entry.tasks, bool) else list(faults(entry.tasks, _TASKS, _place(entry, source)))
        if wrong:
            problems.append(Problem(entry.name, "\n".join(wrong)))
        else:
            sound.append(entry)
    return sound, problems


def _place(entry: Entry, source: Source) -> Place:
    lines = parse(_text(source.path), source.path).lines
    place = Place(source.path, lines).own(server(entry.name), *next(trails(entry.name, lines), ()))
    return place.at("trunkline").at("tasks")


class _Native:
    """Reads one `trunkline.yaml`, collecting what is wrong with it."""

    def __init__(self, path: str) -> None:
        # Imported for those who have such a file: most bring a client's.
        from trunkline.portable.yaml import parse_yaml

        self.path = path
        self.parsed: Parsed = parse_yaml(_text(path), path)
        self.place = Place(path, self.parsed.lines)
        self.faults: list[str] = []
        self.problems: list[Problem] = []
        self.includes: list[Path] = []

    def settings(self) -> Settings:
        self.faults += faults(self.parsed.value, _TYPE, self.place)
        if self.faults:
            return Settings(self.path, True, lines=self.parsed.lines, faults=tuple(self.faults))
        read = msgspec.convert(_without_nulls(self.parsed.value), Configuration)
        own = Source(self.path, Path(self.path).resolve().parent)
        servers = [*self._included(read), *((entry, own) for entry in self._own(read))]
        self._tokens(read)
        self.faults += auth_faults(read.auth, self.place.at("auth"))
        if read.auth is not None and read.tokens:
            said = "and `tokens` both say who may call; leave out one"
            self.faults.append(self.place.at("auth").fault(said).message)
        sharing = self._sharing(read)
        self.faults += endpoint_faults(read.endpoints, self.place)
        self._names(servers)
        others = None if read.prefix else together(servers, self.problems)
        if others:
            said = f"is for one server alone, and there are {others}; leave it out, or disable all but one"
            self.faults.append(self.place.at("prefix").fault(said).message)
        return Settings(
            self.path,
            True,
            tuple(servers),
            read.listen,
            read.tokens,
            self.parsed.lines,
            tuple(self.faults),
            tuple(self.problems),
            tuple(self.includes),
            read.limits,
            read.endpoints,
            sharing,
            read.pins,
            read.prefix,
            read.auth,
        )

    def _included(self, read: Configuration) -> Iterator[tuple[Entry, Source]]:
        for index, named in enumerate(read.include):
            place = self.place.at("include").at(index)
            path = Path(self.path).parent / Path(named).expanduser()
            self.includes.append(path)
            if is_native(named):
                self.faults.append(place.fault("is not the file of a client; those are JSON").message)
                continue
            try:
                document = read_document(path, collect=True)
            except ConfigError as error:
                self.faults.append(place.fault(error.message).message)
                continue
            source = Source(str(path), workspace(str(path)), document.inputs)
            entries, problems = _sound(document.entries, source)
            self.problems += [*document.problems, *problems]
            yield from ((entry, source) for entry in entries)

    def _own(self, read: Configuration) -> Iterator[Entry]:
        for name, settings in read.servers.items():
            place = self.place.at("servers").own(server(name), name)
            wrong = list(server_faults(settings, place))
            self.faults += wrong
            try:
                entry = read_entry(name, spelled(settings), place, Dialect())
            except ConfigError as error:
                # What is missing may be missing because of what is too much.
                self.faults += [] if wrong else [error.message]
                continue
            yield entry

    def _tokens(self, read: Configuration) -> None:
        for index, token in enumerate(read.tokens):
            place = self.place.at("tokens").at(index)
            if (token.sha256 is None) == (token.secret is None):
                self.faults.append(place.fault("needs either `sha256` or `secret`").message)
            elif token.secret is not None and not REFERENCE.fullmatch(token.secret):
                said = "is no reference; ${env:NAME}, ${file:PATH} and ${keyring:SERVICE/NAME} are accepted"
                self.faults.append(place.at("secret").fault(said).message)

    def _sharing(self, read: Configuration) -> Sharing:
        url = read.storage.url if isinstance(read.storage, StorageSettings) else read.storage
        if _PASSWORD.search(REFERENCE.sub("", url or "")):
            said = "holds a password; refer to it: ${env:DB_PASSWORD}, ${file:PATH} or ${keyring:SERVICE/NAME}"
            self.faults.append(self.place.at("storage").at("url").fault(said).message)
        return Sharing(url, read.keys)

    def _names(self, servers: list[tuple[Entry, Source]]) -> None:
        seen: dict[str, str] = {}
        for entry, source in servers:
            if entry.name in seen:
                what = f"is also a server of {seen[entry.name]}; give one of the two another name"
                self.faults.append(f"{source.path}: {server(entry.name)}: {what}")
            seen[entry.name] = source.path


def _without_nulls(value: object) -> object:
    """A checked value without the members that are null."""
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
