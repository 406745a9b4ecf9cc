"""The database of what a person points at.

What it is for: commands over stored things take a URL, or the configuration or server that says where it stores.
What may live here: finding it. What may not: opening it.
"""

import os
from pathlib import Path

from trunkline.assembly.sharing import MEMORY, at_home
from trunkline.assembly.target import classify, load_server
from trunkline.errors import ConfigError
from trunkline.storage.location import locate


def database_of(text: str) -> str:
    """The URL of the database.

    Parameters:
        text: such a URL; a configuration, whose own is by default the file of this machine that belongs to it; or a
            server in Python with `storage=`.

    Raises `ConfigError` for what names none.

        database_of("mcp.json")  # "sqlite:////home/me/.local/state/trunkline/mcp-1f0c7a9e.db"
    """
    if "://" in text and not text.startswith(("http://", "https://")):
        locate(text)
        return text
    target = classify(text)
    if target.kind == "config":
        return _of_configuration(target.value)
    if target.kind == "server":
        stored = load_server(text).storage
        if isinstance(stored, str):
            return stored
        raise ConfigError(
            f"{text} does not say where it stores: name the URL of its database, as in sqlite:///state.db"
        )
    raise ConfigError(
        f"{text!r} names no database: use its URL (sqlite:///state.db, postgresql://user@host/name), the configuration "
        "that is served (trunkline.yaml, mcp.json), or a server in Python (server.py)"
    )


def _of_configuration(path: str) -> str:
    from trunkline.assembly.plan import Remembered, make_plan

    sharing = at_home(make_plan(path, os.environ, Remembered(None)).sharing, Path(path))
    if sharing.storage in (None, MEMORY):
        raise ConfigError(f"{path} keeps everything in memory: what is there is gone with its process")
    return sharing.storage
