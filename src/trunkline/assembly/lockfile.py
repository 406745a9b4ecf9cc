"""The lock file: what was pinned of the servers of a configuration.

What it is for: pins as a file beside the configuration, which people read, compare and check in.
What may live here: its place, its form, reading and writing it. What may not: what a pin is (`gateway/pins.py`).

One line for each part of each definition, sorted, in ASCII: a change shows as the part that changed, and two names that
look the same do not look the same. It holds names and digests, and nothing else of what servers say.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, inspect

from trunkline.assembly.strict import faults
from trunkline.errors import ConfigError
from trunkline.gateway.pins import ServerPins
from trunkline.portable.jsonc import parse
from trunkline.portable.place import Place

VERSION = 1

Pins = Mapping[str, ServerPins]
"""What was pinned of each server, by its configured name."""

_Digest = Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$")]


class _Server(Struct, frozen=True, forbid_unknown_fields=True):
    instructions: _Digest | None = None
    tools: dict[str, dict[str, _Digest]] = {}


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    about: str = ""
    servers: dict[str, _Server] = {}


_TYPE = inspect.type_info(_File)


def lock_path(configuration: str) -> Path:
    """Where the lock file of a configuration lies.

    lock_path("trunkline.yaml")  # Path("trunkline.lock")
    """
    return Path(configuration).with_suffix(".lock")


def read_lock(configuration: str) -> Pins | None:
    """What is pinned; None when there is no lock file.

    Raises `ConfigError` that says where a lock file is wrong, and what to do.
    """
    path = lock_path(configuration)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}. {_advice(configuration)}") from None
    return parse_lock(text, configuration)


def parse_lock(text: str, configuration: str) -> Pins:
    """What the text of a lock file pins. Raises `ConfigError`."""
    path = str(lock_path(configuration))
    try:
        parsed = parse(text, path)
    except ConfigError as error:
        raise ConfigError(f"{error.message}. {_advice(configuration)}") from None
    place = Place(path, parsed.lines)
    found = parsed.value.get("version") if isinstance(parsed.value, dict) else None
    if isinstance(found, int) and found != VERSION:
        raise place.at("version").fault(
            f"is {found}, and this trunkline reads {VERSION}; use the trunkline that wrote it"
        )
    wrong = list(faults(parsed.value, _TYPE, place))
    if wrong:
        raise ConfigError("\n".join([*wrong[:20], _advice(configuration)]))
    file = msgspec.convert(parsed.value, _File)
    return {name: ServerPins(server.instructions, server.tools) for name, server in file.servers.items()}


def lock_text(pins: Pins, configuration: str) -> str:
    """The lock file's text for these pins; always the same for the same pins."""
    servers = {
        name: {
            **({"instructions": pins[name].instructions} if pins[name].instructions is not None else {}),
            "tools": {tool: dict(sorted(parts.items())) for tool, parts in sorted(pins[name].tools.items())},
        }
        for name in sorted(pins)
    }
    about = f"What was approved of the servers of {Path(configuration).name}. Written by `trunkline pin`; check it in."
    return json.dumps({"version": VERSION, "about": about, "servers": servers}, indent=2) + "\n"


def write_lock(pins: Pins, configuration: str) -> None:
    """Replace the lock file in one step: whoever reads meanwhile finds one or the other. Raises `ConfigError`."""
    text = lock_text(pins, configuration)
    parse_lock(text, configuration)
    path = Path(os.path.realpath(lock_path(configuration)))
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            other = Path(file.name)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                other.chmod(_mode(path))
                other.replace(path)
            except BaseException:
                other.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _mode(path: Path) -> int:
    """A file of its own kind is private; this one is read by whoever reads the configuration."""
    return path.stat().st_mode & 0o777 if path.exists() else 0o644


def _advice(configuration: str) -> str:
    return f"Restore it, or delete it and run `trunkline pin {configuration}` to look at everything anew"
