"""What the replicas of one endpoint have in common: where state is kept, and with which keys it is sealed.

What it is for: the one record that command line and configuration agree on.
What may live here: that record, and which of the two goes first. What may not: opening a database.
"""

import base64
from pathlib import Path

from msgspec import Struct

from trunkline.engine.doors import KeyRing
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.runtime.shared import Alone, Shared
from trunkline.transports.stored import Stored

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


def key_ring(sharing: Sharing) -> KeyRing | None:
    """The keys of the key file, one base64 text of 32 bytes a line, newest first; None without a file.

    Raises `ConfigError` for a file that cannot be used; what it holds is never quoted.
    """
    if sharing.keys is None:
        return None
    try:
        lines = Path(sharing.keys).read_text(encoding="utf-8").split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except OSError as error:
        raise ConfigError(f"The key file {sharing.keys} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"The key file {sharing.keys} is not base64; make a key: openssl rand -base64 32") from None
    if not keys:
        raise ConfigError(f"The key file {sharing.keys} is empty; make a key: openssl rand -base64 32")
    return Keys(keys)
