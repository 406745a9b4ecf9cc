"""What the replicas of one endpoint have in common: where state is kept, and with which keys it is sealed.

What it is for: the one record that command line and configuration agree on.
What may live here: that record, and which of the two goes first. What may not: opening a database.
"""

import contextlib
import logging
import os
from pathlib import Path

from msgspec import Struct

from trunkline.errors import ConfigError
from trunkline.runtime.shared import Alone, Shared
from trunkline.storage import keyfile
from trunkline.storage.location import locate, state_file
from trunkline.transports.sealing import FollowedKeys
from trunkline.transports.stored import Stored

logger = logging.getLogger("trunkline")

MEMORY = "memory"
"""In place of a database's URL: everything stays in the process."""


class Sharing(Struct, frozen=True):
    """What a replica shares with others.

    Parameters:
        storage: the URL of a database, or `MEMORY`; None leaves the choice to whoever serves: a file on this machine
            over HTTP, memory over stdio.
        keys: the file of the sealing keys; None makes one for this process and its life.

    A URL may hold a password, so neither it nor this record is ever printed.
    """

    storage: str | None = None
    keys: str | None = None

    def __repr__(self) -> str:
        return f"Sharing(storage={'-' if self.storage is None else '***'}, keys={self.keys!r})"

    def under(self, given: "Sharing") -> "Sharing":
        """This, where `given`, which goes first, says nothing."""
        storage = self.storage if given.storage is None else given.storage
        return Sharing(storage, self.keys if given.keys is None else given.keys)


def shared_by(sharing: Sharing) -> Shared:
    """What replicas share, by what is configured; nothing is opened yet.

    Raises `ConfigError` for a database that is for many machines without keys that are.
    """
    if sharing.storage in (None, MEMORY):
        return Alone()
    if sharing.keys is None and not sharing.storage.startswith("sqlite:"):
        raise ConfigError(
            "Replicas that share a database have to seal with the same keys, or none could read what another one gave "
            "to a client. Make a key file with `trunkline keys new FILE`, give each replica a copy, and name it with "
            "--keys FILE or `keys:` in trunkline.yaml."
        )
    return Stored(sharing.storage)


def key_ring(sharing: Sharing) -> FollowedKeys | None:
    """The keys of the key file, or those beside a database that is a file; None where there is neither.

    Raises `ConfigError` for a file that cannot be used; what it holds is never quoted.
    """
    if sharing.keys is not None:
        return FollowedKeys(Path(sharing.keys))
    file = None if sharing.storage in (None, MEMORY) else locate(sharing.storage).file
    if file is None:
        return None
    beside = file.with_suffix(".keys")
    if not beside.exists():
        with contextlib.suppress(FileExistsError):
            beside.parent.mkdir(mode=0o700, parents=True)
        with contextlib.suppress(ConfigError):
            # Another process may be first: then its keys are the ones.
            keyfile.new(beside)
    return FollowedKeys(beside)


def at_home(sharing: Sharing, config: Path) -> Sharing:
    """Where nothing is said: a file of this machine that belongs to the configuration, if one can be written.

    at_home(Sharing(), Path("mcp.json")).storage  # "sqlite:////home/me/.local/state/trunkline/mcp-1f0c7a9e.db"
    """
    if sharing.storage is not None:
        return sharing
    file = state_file(config)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(file.parent, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if writable:
        return Sharing(f"sqlite:///{file}", sharing.keys)
    logger.warning("%s cannot be written: sessions end with this process; name a database with --storage", file.parent)
    return sharing
