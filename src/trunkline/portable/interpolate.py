"""From an entry as written to one that can be started or connected to.

What it is for: references such as `${VAR}` and `${file:path}`, environment files, relative folders.
What may live here: the forms of references, and the checks that only make sense once they are expanded.
What may not: reading configuration files; the value of a variable or an answer in a message.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from trunkline.errors import ConfigError
from trunkline.portable import auth, openapi
from trunkline.portable.dotenv import read_env_file
from trunkline.portable.model import Entry, Input
from trunkline.portable.place import server

Ask = Callable[[Input], str]
"""Asks the person for the value of an input."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([^{}]*)\})?")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORMS = (
    "${VAR}, ${VAR:-default}, ${env:VAR}, ${file:PATH}, ${keyring:SERVICE/NAME}, ${input:id}, ${workspaceFolder} and "
    "${userHome} are accepted"
)
_LITERALLY = "write $${ where ${ is meant as it stands"
_SHORTEST_SECRET = 8
_SECRET_OPTION = re.compile(r"(?i)token|key|secret|pass|auth|cred")


class Answers:
    """The inputs of one document and their values, each asked for once.

    Parameters:
        inputs: what the document declares.
        ask: how to ask; without it an input's default is taken.

        Answers(document.inputs, ask=lambda wanted: getpass(wanted.description))
    """

    def __init__(self, inputs: Iterable[Input] = (), ask: Ask | None = None) -> None:
        self._inputs = {declared.id: declared for declared in inputs}
        self._ask = ask
        self._known: dict[str, str] = {}

    def value(self, name: str) -> str:
        """The value of an input. Raises `ConfigError` when it is not declared or cannot be asked for."""
        if name not in self._known:
            declared = self._inputs.get(name)
            if declared is None:
                known = ", ".join(sorted(self._inputs)) or "none"
                raise ConfigError(f"the input {name!r} is not declared under `inputs`; declared: {known}")
            self._known[name] = self._asked(declared)
        return self._known[name]

    def _asked(self, declared: Input) -> str:
        if self._ask is not None:
            value = self._ask(declared)
        elif declared.default is not None:
            value = declared.default
        else:
            raise ConfigError(f"the input {declared.id!r} has no default and nobody can be asked for it here")
        if declared.options and value not in declared.options:
            raise ConfigError(f"the answer for the input {declared.id!r} is not one of its options")
        return value


def resolve(
    entry: Entry, environment: Mapping[str, str], inputs: Answers, workspace: Path, files: set[Path] | None = None
) -> Entry:
    """Expand every reference of an entry, read its environment file, and check that the outcome can be used.

    Parameters:
        environment: where variables are looked up; a variable set to nothing counts as unset for a default.
        inputs: shared by all entries of a document, so that nothing is asked for twice.
        workspace: `${workspaceFolder}`, and what relative `cwd`, `envFile` and `${file:…}` start from; absolute.
        files: filled with the files the entry depends on, also those that could not be read.

    Returns an entry without `env_file`, whose `env` holds what is added to a process' environment, and whose
    `secret_values` name what no log may show. Raises `ConfigError` naming server, field and variable, never a value.

        resolve(entry, os.environ, Answers(document.inputs, ask), Path.cwd())
    """
    work = _Expansion(server(entry.name), environment, inputs, workspace, set() if files is None else files)
    env_file = None if entry.env_file is None else workspace / work.expand(entry.env_file, "envFile")
    if env_file is not None:
        work.files.add(env_file)
    from_file = {} if env_file is None else _from_file(env_file, entry.name)
    env = from_file | {name: work.expand(value, f"env.{name}") for name, value in entry.env.items()}
    headers = {name: work.expand(value, f"headers.{name}") for name, value in entry.headers.items()}
    resolved = replace(
        entry,
        command=work.expand(entry.command, "command"),
        args=tuple(work.expand(arg, f"args[{index}]") for index, arg in enumerate(entry.args)),
        env=env,
        env_file=None,
        cwd=None if entry.cwd is None else str(workspace / work.expand(entry.cwd, "cwd")),
        url=work.expand(entry.url, "url"),
        headers=headers,
        auth=None if entry.auth is None else auth.resolved(entry.auth, work.expand, workspace),
    )
    if entry.transport == "openapi":
        resolved = openapi.resolved(resolved, work.expand, workspace, work.files)
    _check(resolved)
    secrets: set[str] = set()
    if entry.transport == "openapi":
        secrets = openapi.secrets(resolved) | {*_in_url(openapi.settings(resolved).base_url or "")}
    secrets |= {*work.inserted, *env.values(), *headers.values(), *_in_url(resolved.url), *_in_args(resolved.args)}
    secrets |= set() if resolved.auth is None else {*resolved.auth.secret_values()}
    # A header may hold a scheme before its token, a key stand on several lines, and a log one of them alone.
    secrets |= {word for value in headers.values() for word in value.split()}
    secrets |= {line.strip() for value in secrets for line in value.splitlines()}
    return replace(resolved, secret_values=frozenset(text for text in secrets if len(text) >= _SHORTEST_SECRET))


def expand(text: str, owner: str, environment: Mapping[str, str], workspace: Path, files: set[Path]) -> str:
    """One text outside of any server with its references replaced; see `resolve`. `owner` names it in messages.

    expand("${file:ci.token}", "tokens[0].secret", os.environ, Path.cwd(), set())
    """
    return _Expansion(owner, environment, Answers(), workspace, files).expand(text)


@dataclass(slots=True)
class _Expansion:
    """Expands the texts of one owner, and remembers what it put in."""

    owner: str
    environment: Mapping[str, str]
    inputs: Answers
    workspace: Path
    files: set[Path]
    inserted: set[str] = field(default_factory=set)

    def expand(self, text: str, member: str = "") -> str:
        """The text with its references replaced, once: what is put in is not looked at again."""

        def replacement(match: re.Match[str]) -> str:
            if match.group() == "$${":
                return "${"
            try:
                return self._value(match.group(1))
            except ConfigError as error:
                where = ": ".join(part for part in (self.owner, member) if part)
                raise ConfigError(f"{where}: {error.message}") from None

        return _REFERENCE.sub(replacement, text)

    def _value(self, reference: str | None) -> str:
        if reference is None:
            raise ConfigError(f"a reference that starts with ${{ is not closed, or has a brace inside; {_LITERALLY}")
        if reference == "workspaceFolder":
            return str(self.workspace)
        if reference == "userHome":
            return self.environment.get("HOME") or self.environment.get("USERPROFILE") or str(Path.home())
        scheme, _, rest = reference.partition(":")
        if scheme == "input" and not rest.startswith("-"):
            return self._insert(self.inputs.value(rest))
        if scheme in ("file", "keyring") and rest and not rest.startswith("-"):
            return self._insert(self._secret_file(rest) if scheme == "file" else _from_keyring(rest))
        variable = _VARIABLE.fullmatch(reference)
        if variable is None:
            raise ConfigError(f"this reference is not known; {_FORMS}; {_LITERALLY}")
        name, default = variable.groups()
        value = self.environment.get(name)
        if default is not None and not value:
            return str(default)
        if value is None:
            raise ConfigError(f"the variable {name} is not set; set it, or give a default as ${{{name}:-default}}")
        return self._insert(value)

    def _secret_file(self, written: str) -> str:
        path = self.workspace / written
        self.files.add(path)
        try:
            # The line break that editors and `echo` leave at the end is no part of a secret.
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
            raise ConfigError(f"the file {written} cannot be read: {reason}") from None

    def _insert(self, value: str) -> str:
        self.inserted.add(value)
        return value


def _from_keyring(written: str) -> str:
    service, slash, name = written.rpartition("/")
    if not slash or not service or not name:
        raise ConfigError("a reference to the keyring is written ${keyring:SERVICE/NAME}")
    try:
        import keyring
    except ImportError:
        raise ConfigError("the keyring cannot be asked: install trunkline[keyring]") from None
    try:
        value = keyring.get_password(service, name)
    except Exception as error:
        # Whatever a backend raises may quote what it was asked for.
        raise ConfigError(f"the keyring could not be read ({type(error).__name__})") from None
    if value is None:
        raise ConfigError(f"the keyring has no {name} of {service}; add it with: keyring set {service} {name}")
    return value


def _in_url(url: str) -> Iterable[str]:
    """Where URLs carry secrets: user information and query, as written and as clients write it again."""
    parts = urlsplit(url)
    yield from (unquote(text) for text in (parts.username, parts.password) if text)
    for name, value in parse_qsl(parts.query):
        yield from (value, quote(value), quote_plus(value))
        yield from (pair.partition("=")[2] for pair in parts.query.split("&") if pair.startswith(f"{name}="))


def _in_args(args: tuple[str, ...]) -> Iterable[str]:
    """The values of options that are called like secrets: `--api-key VALUE` and `--api-key=VALUE`."""
    for arg, following in zip(args, (*args[1:], ""), strict=False):
        name, equals, value = arg.partition("=")
        if name.startswith("-") and _SECRET_OPTION.search(name):
            yield value if equals else following


def _from_file(path: Path, name: str) -> dict[str, str]:
    try:
        return read_env_file(path)
    except ConfigError as error:
        raise ConfigError(f"{server(name)}: envFile: {error.message}") from None


def _check(entry: Entry) -> None:
    """What can only be seen in expanded values: no process takes a zero byte, no header a line break."""
    texts = {"command": entry.command, "cwd": entry.cwd or ""}
    texts |= {f"args[{index}]": arg for index, arg in enumerate(entry.args)}
    texts |= {f"env.{name}": value for name, value in entry.env.items()}
    for member, text in texts.items():
        if "\0" in text:
            raise ConfigError(f"{server(entry.name)}: {member}: holds a zero byte, which no process can be given")
    for name, value in entry.headers.items():
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise ConfigError(f"{server(entry.name)}: headers.{name}: holds a line break or another control character")
    if entry.transport == "stdio":
        if not entry.command:
            raise ConfigError(f"{server(entry.name)}: command: is empty once its references are expanded")
    elif not _is_web_address(entry.url) and (entry.url or entry.transport != "openapi"):
        raise ConfigError(f"{server(entry.name)}: url: is not an http:// or https:// address")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
