"""Every key of `trunkline.yaml` in words.

What it is for: `trunkline config explain`.
What may live here: the keys as a tree, made of the Structs. What may not: any file's contents.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec import NODEFAULT, inspect

from trunkline.assembly.configuration import Configuration
from trunkline.assembly.strict import accepted
from trunkline.errors import ConfigError
from trunkline.portable.entry import SPELLINGS


@dataclass(frozen=True, slots=True)
class Key:
    """One key: where it stands, what it does, what it takes."""

    path: str
    description: str
    type: str
    default: str | None
    example: str | None


def keys() -> tuple[Key, ...]:
    """All keys, outer ones first."""
    return tuple(_members(inspect.type_info(Configuration), ""))


def explain(name: str | None) -> str:
    """What one key does; without a name, the tree. Raises `ConfigError` for a key there is none of.

    explain("listen.port").splitlines()[0]  # "listen.port"
    """
    if not name:
        return _tree()
    known = {key.path: key for key in keys()}
    key = known.get(_general(name, known)) or _by_end(known, name)
    if key is None:
        close = difflib.get_close_matches(_general(name, known), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "`trunkline config explain` shows all keys"
        raise ConfigError(f"There is no key {name[:80]!r}; {hint}")
    return _entry(key, [one for one in known.values() if one.path.startswith((f"{key.path}.", f"{key.path}[]."))])


def _members(type_: inspect.Type, above: str) -> Iterator[Key]:
    struct, step = _inner(type_)
    if struct is None:
        return
    for field in struct.fields:
        path = f"{above}{step}.{field.encode_name}".lstrip(".")
        facts = _facts(field.type)
        example = facts.get("examples")
        yield Key(
            path,
            str(facts.get("description", "")),
            accepted(field.type).rstrip(","),
            _default(field),
            _shown(example[0]) if isinstance(example, list) else None,
        )
        yield from _members(field.type, path)


def _inner(type_: inspect.Type) -> tuple[inspect.StructType | None, str]:
    """The Struct inside a type, and how its members are reached."""
    while isinstance(type_, inspect.Metadata):
        type_ = type_.type
    if isinstance(type_, inspect.UnionType):
        return next((found for one in type_.types if (found := _inner(one))[0] is not None), (None, ""))
    if isinstance(type_, inspect.DictType):
        return _inner(type_.value_type)[0], ".NAME"
    if isinstance(type_, inspect.VarTupleType):
        return _inner(type_.item_type)[0], "[]"
    return (type_, "") if isinstance(type_, inspect.StructType) else (None, "")


def _facts(type_: inspect.Type) -> dict[str, object]:
    return dict(type_.extra_json_schema or {}) if isinstance(type_, inspect.Metadata) else {}


def _default(field: inspect.Field) -> str | None:
    """None where the key is needed."""
    if field.required:
        return None
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if _inner(field.type) != (None, ""):
        return "none" if not value else "the defaults of its keys"
    return "none" if value is None or value == () or value == {} else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _general(name: str, known: Iterable[str]) -> str:
    """A key with the names and positions of one file replaced: `servers.time.args` is `servers.NAME.args`."""
    name = re.sub(r"^tokens\.", "tokens[].", re.sub(r"\[\d*\]", "[]", name.strip()))
    # Names may hold dots. The key that explains most of the text is meant.
    fitting = [path for path in known if re.fullmatch(re.escape(path).replace("NAME", ".+"), name)]
    guess = re.sub(r"^(servers|endpoints)\.(.+)\.([^.]+)$", r"\1.NAME.\3", name)
    return max(fitting, key=lambda path: len(path.replace("NAME", "")), default=guess)


def _by_end(known: dict[str, Key], name: str) -> Key | None:
    """A key by its last part alone, where only one ends so."""
    ends = [key for path, key in known.items() if re.split(r"\.", path)[-1] == name]
    return ends[0] if len(ends) == 1 else None


def _entry(key: Key, below: list[Key]) -> str:
    lines = [key.path, f"  {key.description}", f"  type      {key.type}"]
    lines.append("  default   " + ("(it is needed)" if key.default is None else key.default))
    if key.example is not None:
        lines.append(f"  example   {key.path.rpartition('.')[2]}: {key.example}")
    direct = re.fullmatch(r"servers\.NAME\.([a-z_]+)", key.path)
    spellings = SPELLINGS.get(direct[1]) if direct else None
    if spellings:
        lines.append(f"  mcp.json  {', '.join(spellings)}")
    width = max([32, *(len(one.path) for one in below)])
    lines += [f"  {one.path:{width}}  {one.description}" for one in below]
    return "\n".join(lines)


def _tree() -> str:
    return "\n".join(f"{_indented(key.path):30}  {key.description}" for key in keys())


def _indented(path: str) -> str:
    parts = re.sub(r"\[\]", "", path).replace(".NAME", "").split(".")
    return "  " * (len(parts) - 1) + parts[-1]
