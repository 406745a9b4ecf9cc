"""What a configuration comes to in this environment.

What it is for: every reference filled in and every secret fetched, before anything is started or changed.
What may live here: that step. What may not: files' contents (`settings.py`), the running gateway.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from trunkline.assembly.auth_settings import AuthSettings
from trunkline.assembly.lockfile import lock_path, read_lock
from trunkline.assembly.settings import Settings, Source, read_settings
from trunkline.assembly.sharing import Sharing
from trunkline.assembly.task_settings import TaskSettings, task_settings
from trunkline.auth.static import StaticTokens, TokenRecord
from trunkline.errors import ConfigError, TrunklineError
from trunkline.gateway.credentials import grant_of
from trunkline.gateway.pins import Pinning
from trunkline.portable.interpolate import Answers, Ask, expand, resolve
from trunkline.portable.model import Entry, Input, PinMode, Problem
from trunkline.portable.place import server


@dataclass(frozen=True, slots=True)
class Plan:
    """A gateway as it should be.

    Parameters:
        settings: what was read.
        entries: the servers, resolved; disabled ones as they were written.
        problems: servers that cannot be used, and why.
        tokens: who may call; None when the file does not say.
        auth: likewise, by tokens of an issuer, with its secret filled in.
        sharing: what the file says of it, with references filled in.
        pins: how each server that runs is held to what was pinned of it.
        tasks: of each server that runs and has any, which of its tools become tasks, and how.
        files: everything the plan was made of; it is out of date when one of them changes.
    """

    settings: Settings
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    tokens: StaticTokens | None
    auth: AuthSettings | None
    sharing: Sharing
    pins: Mapping[str, Pinning]
    tasks: Mapping[str, TaskSettings]
    files: frozenset[Path]


class Remembered:
    """Asks for each input once, however often the configuration is read.

    Parameters:
        ask: asks the person; None takes defaults. After `stop_asking` only what is known counts.
    """

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self._known: dict[tuple[str, str], str] = {}
        self._over = False

    def stop_asking(self) -> None:
        """Nobody can be asked from now on, although somebody could before."""
        self._over = self._ask is not None

    def answers(self, source: Source) -> Answers:
        """The inputs of one file."""
        if self._ask is None:
            return Answers(source.inputs)
        ask = self._ask

        def answer(wanted: Input) -> str:
            key = (source.path, wanted.id)
            if key not in self._known and self._over:
                if wanted.default is None:
                    raise ConfigError(f"the input {wanted.id!r} is new: start trunkline again to be asked for it")
                return wanted.default
            if key not in self._known:
                self._known[key] = ask(wanted)
            return self._known[key]

        return Answers(source.inputs, answer)


def make_plan(path: str, environment: Mapping[str, str], remembered: Remembered, pins: PinMode | None = None) -> Plan:
    """Read a configuration and fill in its references; nothing is started.

    Parameters:
        pins: goes before the `pins` of the whole configuration; a server's own hold all the same.

    Raises `ConfigError` when it cannot be used at all; a server that cannot is among the plan's `problems`.
    """
    settings = read_settings(path)
    if settings.faults:
        raise ConfigError("\n".join(settings.faults))
    return fill_in(settings, environment, remembered, pins)


def fill_in(
    settings: Settings, environment: Mapping[str, str], remembered: Remembered, pins: PinMode | None = None
) -> Plan:
    """The plan of settings without faults; see `make_plan`."""
    files = {Path(settings.path), *settings.includes}
    entries: list[Entry] = []
    problems = list(settings.problems)
    answers = {source.path: remembered.answers(source) for _, source in settings.servers}
    for entry, source in settings.servers:
        if entry.disabled:
            entries.append(entry)
            continue
        try:
            entries.append(_checked(resolve(entry, environment, answers[source.path], source.workspace, files)))
        except ConfigError as error:
            problems.append(Problem(entry.name, f"{_where(settings, entry, source)}: {error.message}"))
    if not entries and not problems:
        raise ConfigError(f"{settings.path} names no server")
    tokens = _tokens(settings, environment, files, [problem.message for problem in problems])
    sharing = filled_sharing(settings, environment, files)
    pinned = _pinned(settings, entries, pins)
    if any(one.mode != "off" for one in pinned.values()):
        files.add(lock_path(settings.path))
    durable = {
        entry.name: wanted
        for entry in entries
        if not entry.disabled and (wanted := task_settings(entry.tasks)) is not None
    }
    auth = _auth(settings, environment, files)
    return Plan(settings, tuple(entries), tuple(problems), tokens, auth, sharing, pinned, durable, frozenset(files))


def _checked(entry: Entry) -> Entry:
    """An entry whose credentials are ones, such as a key that can be read. Raises `ConfigError` that shows none."""
    if entry.auth is not None:
        try:
            grant_of(entry.auth)
        except ConfigError as error:
            raise ConfigError(f"{server(entry.name)}: auth: {error.message}") from None
    return entry


def _pinned(settings: Settings, entries: Iterable[Entry], given: PinMode | None) -> dict[str, Pinning]:
    """How each server is held to its pins. Raises `ConfigError` when it is to be, and there are none that can be read.

    A lock file that is gone is a mistake, not the end of the rule: whoever can delete it could lift it otherwise.
    """
    modes = {entry.name: entry.pins or given or settings.pins for entry in entries if not entry.disabled}
    if all(mode == "off" for mode in modes.values()):
        return {}
    lock = read_lock(settings.path)
    if lock is None:
        path = lock_path(settings.path)
        raise ConfigError(f"{path}: there is no such file, and `pins` need it: run `trunkline pin {settings.path}`")
    return {name: Pinning(mode, lock.get(name)) for name, mode in modes.items()}


def document_faults(plan: Plan, known: Collection[Entry] = ()) -> list[str]:
    """What is wrong with the local documents that servers are described by, except for servers that are known."""
    found = []
    sources = {entry.name: (entry, source) for entry, source in plan.settings.servers}
    for entry in plan.entries:
        if entry.transport != "openapi" or entry.disabled or entry in known:
            continue
        from trunkline.gateway.openapi.peer import examine

        try:
            examine(entry)
        except TrunklineError as error:
            where = _where(plan.settings, *sources[entry.name])
            found.append(f"{where}: {server(entry.name)}: {error.message}")
    return found


def _where(settings: Settings, entry: Entry, source: Source) -> str:
    line = settings.lines.get(("servers", entry.name)) if source.path == settings.path else None
    return source.path if line is None else f"{source.path}:{line}"


def _tokens(
    settings: Settings, environment: Mapping[str, str], files: set[Path], known: list[str]
) -> StaticTokens | None:
    """Who may call. Raises `ConfigError` with what is wrong here, and with what is known to be wrong elsewhere."""
    if not settings.tokens:
        return None
    folder = Path(settings.path).resolve().parent
    records: list[TokenRecord] = []
    wrong: list[str] = []
    for index, token in enumerate(settings.tokens):
        owner = f"{settings.path}:{settings.lines.get(('tokens', index), 1)}: tokens[{index}]: secret"
        try:
            digest = token.sha256 or _digest(expand(token.secret or "", owner, environment, folder, files), owner)
        except ConfigError as error:
            wrong.append(error.message)
        else:
            records.append(TokenRecord(name=token.name, sha256=digest, tools=token.tools))
    if wrong:
        raise ConfigError("\n".join([*wrong, *known]))
    return StaticTokens.from_records(records)


def _auth(settings: Settings, environment: Mapping[str, str], files: set[Path]) -> AuthSettings | None:
    """How callers sign in, with the secret in place of its reference."""
    auth = settings.auth
    if auth is None or auth.introspection is None:
        return auth
    line = settings.lines.get(("auth", "introspection", "client_secret"), 1)
    owner = f"{settings.path}:{line}: auth.introspection.client_secret"
    secret = expand(auth.introspection.client_secret, owner, environment, Path(settings.path).resolve().parent, files)
    if not secret.strip():
        raise ConfigError(f"{owner}: is empty once its reference is expanded")
    return structs.replace(auth, introspection=structs.replace(auth.introspection, client_secret=secret.strip()))


def filled_sharing(settings: Settings, environment: Mapping[str, str], files: set[Path]) -> Sharing:
    """What a configuration says of storage and keys, with references filled in. Raises `ConfigError`."""
    folder = Path(settings.path).resolve().parent
    url, keys = settings.sharing.storage, settings.sharing.keys
    owner = f"{settings.path}:{settings.lines.get(('storage', 'url'), 1)}: storage.url"
    if url is not None:
        url = expand(url, owner, environment, folder, files)
    return Sharing(url, None if keys is None else str(folder / Path(keys).expanduser()))


def _digest(secret: str, owner: str) -> str:
    if not secret.strip():
        raise ConfigError(f"{owner}: is empty once its reference is expanded")
    return hashlib.sha256(secret.strip().encode()).hexdigest()
