"""From a client's configuration file to a `Document`.

What it is for: finding the servers and inputs in a file of any accepted shape.
What may live here: the shapes as data, and what to do with a part that is broken.
What may not: the fields of a server (`entry`), expanding references (`interpolate`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trunkline.errors import ConfigError
from trunkline.portable.entry import MARKS, Dialect, read_entry
from trunkline.portable.fields import Fields
from trunkline.portable.jsonc import parse
from trunkline.portable.model import Document, Entry, Format, Input, InputType, Problem
from trunkline.portable.place import Place, kind, server

_KEYS: tuple[Format, ...] = ("mcpServers", "servers", "context_servers")
_SHAPES = (
    "accepted are an object with `mcpServers`, with `servers` (and `inputs`) or with `context_servers`, "
    "an object of servers by name, and a list of servers that each have a `name`"
)
# Cline and Roo Code count a timeout in seconds; these are their files.
_SECONDS_FILES = frozenset({"cline_mcp_settings.json", "mcp_settings.json"})
_SECONDS_FOLDERS = frozenset({".roo"})
_INPUT_TYPES: tuple[InputType, ...] = ("promptString", "pickString")


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the servers stand: a shape, the value that holds them, its place."""

    format: Format
    servers: object
    place: Place


def read_document(path: str | Path, *, collect: bool = False) -> Document:
    """Read a configuration file; see `parse_document`. Raises `ConfigError` also when the file cannot be read.

    document = read_document("mcp.json", collect=True)
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return parse_document(text, path, collect=collect)


def parse_document(text: str, path: str | Path, *, collect: bool = False) -> Document:
    """Parse a configuration: JSON with comments and trailing commas, in any accepted shape, nothing expanded.

    Parameters:
        path: names the text in messages; its last parts also tell clients apart that count time differently.
        collect: leave a broken server or input out and tell it in `problems`, instead of raising.

    Raises `ConfigError` naming file, line, server, field and what is accepted.

        parse_document('{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}', "mcp.json").entries
    """
    parsed = parse(text, str(path))
    place = Place(str(path), parsed.lines)
    found = _find(parsed.value, place)
    problems: list[Problem] = []
    dialect = Dialect(seconds=_counts_seconds(Path(path)), http_may_be_sse=found.format == "servers")
    entries = tuple(_entries(found, dialect, problems, collect))
    inputs = tuple(_inputs(parsed.value, found, place, problems, collect))
    return Document(str(path), found.format, entries, inputs, tuple(problems))


def _find(value: object, place: Place) -> _Found:
    if isinstance(value, list):
        return _Found("list", value, place)
    if not isinstance(value, dict):
        raise place.fault(f"is {kind(value)} and not a server list; {_SHAPES}")
    keyed = [key for key in _KEYS if _holds_servers(value.get(key))]
    if len(keyed) > 1:
        raise place.fault(f"has servers under both `{keyed[0]}` and `{keyed[1]}`; keep one of them")
    if keyed:
        return _Found(keyed[0], value[keyed[0]], place.at(keyed[0]))
    for key in _KEYS:
        if key in value and not isinstance(value[key], dict):
            raise place.at(key).fault(f"is {kind(value[key])}; an object of servers by name, or a list, is accepted")
    servers = dict(value)
    servers.pop("$schema", None)
    if isinstance(value.get("inputs"), list):
        servers.pop("inputs")
    if any(isinstance(raw, dict) and MARKS & raw.keys() for raw in servers.values()):
        return _Found("root", servers, place)
    raise place.fault(f"is not a server list; {_SHAPES}")


def _holds_servers(value: object) -> bool:
    """Whether a value under a known key is a collection, and not one server that happens to have that name."""
    if isinstance(value, list):
        return True
    return isinstance(value, dict) and not any(isinstance(value.get(mark), str) for mark in MARKS)


def _counts_seconds(path: Path) -> bool:
    return path.name in _SECONDS_FILES or path.parent.name in _SECONDS_FOLDERS


def _entries(found: _Found, dialect: Dialect, problems: list[Problem], collect: bool) -> Iterator[Entry]:
    for name, raw, place in _named(found, problems, collect):
        try:
            yield read_entry(name, raw, place, dialect)
        except ConfigError as error:
            _keep_or_raise(error, name, problems, collect)


def _named(found: _Found, problems: list[Problem], collect: bool) -> Iterator[tuple[str, object, Place]]:
    """Each server's name, members and place."""
    if isinstance(found.servers, dict):
        for name, raw in found.servers.items():
            yield name, raw, found.place.own(server(name), name)
        return
    names: set[str] = set()
    for index, raw in enumerate(found.servers if isinstance(found.servers, list) else ()):
        place = found.place.own(f"server {index + 1} of the list", index)
        name = raw.get("name") if isinstance(raw, dict) else None
        if not isinstance(name, str):
            fault = place.fault("has no name; in a list, every server is an object with a `name` that is a string")
            _keep_or_raise(fault, None, problems, collect)
        elif name in names:
            _keep_or_raise(place.fault(f"has the name of an earlier one, {server(name)}"), name, problems, collect)
        else:
            names.add(name)
            members = {member: value for member, value in raw.items() if member != "name"}
            yield name, members, found.place.own(server(name), index)


def _inputs(value: object, found: _Found, place: Place, problems: list[Problem], collect: bool) -> Iterator[Input]:
    raw = value.get("inputs") if isinstance(value, dict) else None
    place = place.at("inputs")
    if not isinstance(raw, list):
        if raw is not None and found.format == "servers":
            raise place.fault(f"is {kind(raw)}; a list of inputs is accepted")
        return
    seen: set[str] = set()
    for index, item in enumerate(raw):
        try:
            read = _input(item, place.own(f"input {index + 1}", index))
            if read.id in seen:
                raise place.own(f"input {index + 1}", index).at("id").fault("is the id of an earlier input")
            seen.add(read.id)
            yield read
        except ConfigError as error:
            _keep_or_raise(error, None, problems, collect)


def _input(raw: object, place: Place) -> Input:
    if not isinstance(raw, dict):
        raise place.fault(f"is {kind(raw)}; an object with `id` and `type` is accepted")
    fields = Fields(raw, place)
    name = fields.text("id")
    if not name:
        raise place.fault("has no `id`; `${input:id}` refers to it")
    named, default = fields.text("type") or "promptString", fields.text("default")
    type_ = next((known for known in _INPUT_TYPES if known == named), None)
    if type_ is None:
        raise place.at("type").fault("is not a known input type; `promptString` and `pickString` are accepted")
    options = _options(fields)
    if type_ == "pickString" and not options:
        raise place.fault("is a `pickString` without `options`; give the values to choose from")
    return Input(name, type_, fields.text("description") or "", fields.flag("password") or False, default, options)


def _options(fields: Fields) -> tuple[str, ...]:
    """The values to pick from; an option is a string or an object with a `value`."""
    listed, place = fields.take("options")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise place.fault(f"is {kind(listed)}; a list of strings is accepted")
    values = [option.get("value") if isinstance(option, dict) else option for option in listed]
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise place.at(index).fault("is no option; a string, or an object with `label` and `value`, is accepted")
    return tuple(str(value) for value in values)


def _keep_or_raise(error: ConfigError, name: str | None, problems: list[Problem], collect: bool) -> None:
    if not collect:
        raise error
    problems.append(Problem(name, error.message))
