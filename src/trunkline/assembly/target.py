"""What a person points at: a URL, a configuration file, a server in Python, a command.

What it is for: every command that takes a target reads it the same way.
What may live here: telling the kinds apart, and loading a `Server` from Python.
What may not: connecting or serving.
"""

import importlib
import importlib.util
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from trunkline.errors import ConfigError

if TYPE_CHECKING:
    from trunkline.server import Server

Kind = Literal["url", "config", "server", "command"]

_CONFIG_SUFFIXES = (".json", ".jsonc", ".json5", ".toml", ".yaml", ".yml")
_USUAL_NAMES = ("server", "mcp", "app")


class Target(Struct, frozen=True):
    """A target and its kind. `value` is what was written."""

    kind: Kind
    value: str


def classify(text: str) -> Target:
    """Say what a target is. Raises `ConfigError` for what is nothing we know, with the forms there are.

    classify("mcp.json").kind            # "config"
    classify("weather:server").kind      # "server"
    """
    if text.startswith(("http://", "https://")):
        return Target("url", text)
    if _is_command(text):
        return Target("command", text)
    path = Path(text).expanduser()
    if path.suffix in _CONFIG_SUFFIXES:
        return Target("config", str(path))
    if path.suffix == ".py" or _is_module_object(text):
        return Target("server", text)
    if " " in text.strip():
        return Target("command", text)
    raise ConfigError(
        f"{text!r} is not a target. Use a URL (http://127.0.0.1:8808/mcp), a client configuration (mcp.json), a server "
        "in Python (server.py or package.module:object), or a command in quotes ('uvx mcp-server-time')."
    )


def load_server(text: str) -> "Server":
    """Import a trunkline `Server` from `file.py`, `file.py:object` or `module:object`.

    Without an object it is the one called server, mcp or app, or the only `Server` in the file. Raises `ConfigError`.
    """
    from trunkline.server import Server

    place, _, name = text.rpartition(":") if _has_object(text) else (text, "", "")
    module = _load_file(place) if place.endswith(".py") else _load_module(place)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, Server):
            raise ConfigError(f"{place} has no trunkline Server called {name!r}")
        return found
    for usual in _USUAL_NAMES:
        candidate = getattr(module, usual, None)
        if isinstance(candidate, Server):
            return candidate
    servers = [value for value in vars(module).values() if isinstance(value, Server)]
    if len(servers) != 1:
        raise ConfigError(f"{place} has {len(servers) or 'no'} trunkline Servers; name one: {place}:NAME")
    return servers[0]


def _is_command(text: str) -> bool:
    """Whether the first word is a program; a file that is called so is meant as a file."""
    try:
        words = shlex.split(text)
    except ValueError:
        return False
    return bool(words) and not Path(text).is_file() and shutil.which(words[0]) is not None


def _has_object(text: str) -> bool:
    return ":" in text and text.rpartition(":")[2].isidentifier()


def _is_module_object(text: str) -> bool:
    module, _, name = text.rpartition(":")
    return name.isidentifier() and (
        module.endswith(".py") or (all(part.isidentifier() for part in module.split(".")) and bool(module))
    )


def _load_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        raise ConfigError(f"There is no file {place}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Its neighbours are importable, as when it is run as a script.
    sys.path.insert(0, str(path.parent))
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{place} failed while it was imported: {type(error).__name__}: {error}") from error
    return module


def _load_module(place: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise ConfigError(f"The module {place!r} cannot be imported: {error}") from error
