"""Where a database is.

What it is for: the forms of a database's URL, and the text that names it without its password.
What may live here: parsing and the default place. What may not: opening anything; no database library is imported.
"""

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from trunkline.errors import ConfigError

_FORMS = "sqlite:///relative.db, sqlite:////absolute/path.db or postgresql://user@host/database"


class Location(msgspec.Struct, frozen=True):
    """A database: a SQLite file, or a connection string of PostgreSQL as libpq takes it."""

    name: str
    """How errors and logs call it; never holds a password."""
    file: Path | None = None
    conninfo: str = ""

    def __repr__(self) -> str:
        return f"Location({self.name})"


def locate(url: str) -> Location:
    """The database a URL names.

    Parameters:
        url: `sqlite:///path` (three slashes and a path, four when it is absolute) or any `postgresql://` URI of libpq.

    Raises `ConfigError` for anything else.

        locate("sqlite:///state.db").file  # Path("state.db")
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        path = unquote(rest.removeprefix("/"))
        if not rest.startswith("/") or path in ("", ":memory:") or "?" in path:
            raise ConfigError(f"The database URL {_shown(url)} names no file; forms are {_FORMS}")
        return Location(f"sqlite:///{path}", file=Path(path))
    if scheme in ("postgresql", "postgres"):
        return Location(_shown(url), conninfo=f"postgresql://{rest}")
    raise ConfigError(f"The database URL {_shown(url)} is of an unknown kind; forms are {_FORMS}")


def state_file(config: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """The SQLite file that belongs to a configuration file, under the platform's directory for state.

    `$XDG_STATE_HOME/trunkline`, by default `~/.local/state/trunkline`, on macOS
    `~/Library/Application Support/trunkline`; the name holds the configuration's own and a
    digest of its absolute path, so that two never share one.

        state_file(Path("mcp.json"))  # ~/.local/state/trunkline/mcp-1f0c7a9e.db
    """
    whole = str(config.expanduser().absolute())
    digest = hashlib.sha256(whole.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", config.stem)[:40] or "config"
    return state_folder(environment) / f"{name}-{digest}.db"


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this program keeps what is its own: `~/.local/state/trunkline`, see `state_file`."""
    return _state_home(environment) / "trunkline"


def _state_home(environment: Mapping[str, str]) -> Path:
    chosen = environment.get("XDG_STATE_HOME", "")
    # The XDG specification tells to ignore relative paths.
    if chosen.startswith("/"):
        return Path(chosen)
    home = Path(environment.get("HOME") or Path.home())
    return home / "Library/Application Support" if sys.platform == "darwin" else home / ".local/state"


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
        who = f"{parts.username}@" if parts.username else ""
        place = parts.netloc.rpartition("@")[2]
        # Parameters may hold a password or the path of one; only those that tell where it is are shown.
        where = "&".join(one for one in parts.query.split("&") if one.startswith(("host=", "port=")))
        return f"{parts.scheme}://{who}{place}{parts.path}{'?' if where else ''}{where}"[:300]
    except ValueError:
        return "(not a URL)"
