"""What an entry of type `openapi` says beyond its address.

What it is for: the members of such an entry as one checked value, kept by `Entry.extra` as they were written.
What may live here: those members, their references, their check. What may not: OpenAPI documents.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from trunkline.errors import ConfigError
from trunkline.portable.model import Entry
from trunkline.portable.place import Place, server

MEMBERS = ("file", "baseUrl", "auth", "variables", "operations")
"""The members an entry of this type has more than others."""


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Operations by what they are; in each list `*` stands for any run of characters."""

    operation_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation's tool, otherwise than the document says.

    Parameters:
        name, description: take the place of what the document gives.
        arguments: fixed values by argument; callers neither see nor change them.
    """

    name: str | None = None
    description: str | None = None
    arguments: dict[str, object] = {}


class Operations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which operations become tools, and how.

    Parameters:
        include: an operation has to match every list that is given.
        exclude: an operation that matches one of these lists is left out; wins.
        overrides: by `operationId`, or by the tool's name where there is none.
        output: whether tools declare the schema of their answers.
    """

    include: Selection = Selection()
    exclude: Selection = Selection()
    overrides: dict[str, Override] = {}
    output: bool = True


class OpenApi(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An API described by an OpenAPI document.

    Parameters:
        file: the document, where it is no URL.
        base_url: where the API is, instead of what the document says.
        auth: credentials by name of the document's security scheme: a key, a token, or `user:password`.
        variables: values of server variables.
        operations: which operations become tools.
    """

    file: str | None = None
    base_url: str | None = None
    auth: dict[str, str] = {}
    variables: dict[str, str] = {}
    operations: Operations = Operations()

    def __repr__(self) -> str:
        return f"OpenApi(file={self.file!r}, auth={{{', '.join(f'{name}=***' for name in self.auth)}}})"


def check(members: Mapping[str, object], place: Place) -> None:
    """See that the members of an entry of this type can be used. Raises `ConfigError` that quotes no value."""
    try:
        _read(members)
    except msgspec.ValidationError as error:
        raise place.fault(str(error)) from None


def settings(entry: Entry) -> OpenApi:
    """The members of an entry of type `openapi`. Raises `ConfigError` that names what is wrong and quotes no value."""
    try:
        read = _read(entry.extra)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{server(entry.name)}: {error}") from None
    if bool(read.file) == bool(entry.url):
        raise ConfigError(f"{server(entry.name)}: an OpenAPI document is a `url` or a `file`: give one of them")
    return read


def resolved(entry: Entry, expand: Callable[[str, str], str], workspace: Path, files: set[Path]) -> Entry:
    """The entry with the references of these members replaced, and its file found and noted by what it holds.

    Parameters:
        expand: replaces references in a text; the second argument is the member, for messages.
        workspace: where a relative file starts.
        files: gets the document's file.
    """
    members = {name: _expanded(entry.extra[name], name, expand) for name in MEMBERS if name in entry.extra}
    entry = replace(entry, extra={**entry.extra, **members})
    read = settings(entry)
    if read.file is None:
        return entry
    path = workspace / Path(read.file).expanduser()
    files.add(path)
    return replace(entry, extra={**entry.extra, "file": str(path)}, document=_digest(path))


def secrets(entry: Entry) -> set[str]:
    """The credentials of a resolved entry, also as they travel."""
    values = set(settings(entry).auth.values())
    return values | {base64.b64encode(value.encode()).decode() for value in values if ":" in value} | {
        value.partition(":")[2] for value in values if ":" in value
    }  # fmt: skip


def _read(members: Mapping[str, object]) -> OpenApi:
    return msgspec.convert({name: members[name] for name in MEMBERS if members.get(name) is not None}, OpenApi)


def _digest(path: Path) -> str:
    """Empty for a file that cannot be read, which is said where it is needed."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def _expanded(value: object, member: str, expand: Callable[[str, str], str]) -> object:
    if isinstance(value, str):
        return expand(value, member)
    if isinstance(value, Mapping):
        return {name: _expanded(item, f"{member}.{name}", expand) for name, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, f"{member}[{index}]", expand) for index, item in enumerate(value)]
    return value
