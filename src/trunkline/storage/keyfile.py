"""The key file: what replicas seal and open with, and when each key begins.

What it is for: keys that change while replicas run, without a client noticing.
What may live here: reading, following and writing that file. What may not: sealing; a key in a repr, a log or an error.

    {"keys": [{"from": "2026-11-01T12:00:00Z", "key": "<32 bytes in base64>"}]}
"""

import secrets
import stat
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec

from trunkline.errors import ConfigError
from trunkline.storage.private import write_private

LONGEST_LIFE = 7 * 86400.0 + 3600.0
"""Seconds for which a sealed text may be opened: ids of legacy sessions live seven days, and clocks differ."""
LEAD = 600.0
"""Seconds between adding a key and sealing with it: all replicas have read the file by then, wrong clocks included."""

_LENGTH = 32


class Key(msgspec.Struct, frozen=True):
    """A key and when replicas begin to seal with it, in seconds since 1970."""

    begins: float
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({_written(self.begins)})"


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    begins: datetime = msgspec.field(name="from")
    key: bytes


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[_Entry]


class KeyFile:
    """Follows a key file. Raises `ConfigError` when it cannot be used at first.

    Parameters:
        path: of the file.

        file = KeyFile(Path("keys.json"))
        ring = Keys(file.ring(time.time()))
        ...
        file.refresh()
        ring.replace(file.ring(time.time()))
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _facts(path)
        self._keys = read(path)

    def keys(self) -> list[tuple[float, bytes]]:
        """Each key with the time it begins, in seconds since 1970; the newest first."""
        return [(key.begins, key.secret) for key in self._keys]

    def ring(self, now: float) -> list[bytes]:
        """All keys, the one to seal with first: the newest whose time has come."""
        return [key.secret for key in in_order(self._keys, now)]

    def refresh(self) -> bool:
        """Read the file again if it changed; whether the keys are others now. Call it every few seconds.

        Raises `ConfigError` when what is there now cannot be used; the keys stay as they were.
        """
        facts = _facts(self._path)
        if facts == self._seen:
            return False
        self._seen = facts
        before, self._keys = self._keys, read(self._path)
        return before != self._keys

    def __repr__(self) -> str:
        return f"KeyFile({self._path}, {len(self._keys)} keys)"


def read(path: Path) -> list[Key]:
    """The keys of a file, the newest first. Raises `ConfigError` that says what is wrong and never quotes a value."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise ConfigError(f"The key file {path} is not right: {_harmless(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"The key file {path} is not JSON") from None
    keys = []
    for number, entry in enumerate(file.keys):
        if len(entry.key) != _LENGTH:
            raise ConfigError(f"The key file {path} is not right: keys[{number}].key is not {_LENGTH} bytes in base64")
        if entry.begins.tzinfo is None:
            raise ConfigError(f"The key file {path} is not right: keys[{number}].from has no time zone, as in Z")
        keys.append(Key(entry.begins.timestamp(), entry.key))
    if not keys:
        raise ConfigError(f"The key file {path} holds no key; make one with: trunkline keys new {path}")
    if len({key.secret for key in keys}) < len(keys):
        raise ConfigError(f"The key file {path} is not right: the same key is in it twice")
    return sorted(keys, key=lambda key: key.begins, reverse=True)


def in_order(keys: Iterable[Key], now: float) -> list[Key]:
    """The key to seal with first, then all others, the newest first. Where no time has come yet it is the earliest."""
    newest_first = sorted(keys, key=lambda key: key.begins, reverse=True)
    sealing = next((key for key in newest_first if key.begins <= now), newest_first[-1])
    return [sealing, *(key for key in newest_first if key is not sealing)]


def is_open_to_others(path: Path) -> bool:
    """Whether anybody but the file's owner and group may read it."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def new(path: Path) -> Key:
    """Make a file with one key that seals from now on. Raises `ConfigError` where there is a file already."""
    if path.exists() or path.is_symlink():
        raise ConfigError(f"There is a file {path} already; add a key to it with: trunkline keys rotate {path}")
    key = Key(float(int(time.time())), secrets.token_bytes(_LENGTH))
    _write(path, [key])
    return key


def rotate(path: Path, lead: float = LEAD) -> Key:
    """Add a key with which replicas begin to seal after `lead` seconds."""
    keys = read(path)
    key = Key(float(int(time.time() + lead)), secrets.token_bytes(_LENGTH))
    _write(path, [*keys, key])
    return key


def prune(path: Path, now: float) -> list[Key]:
    """Remove the keys with which nothing was sealed that could still be opened; returns them."""
    keys = read(path)
    # Each is replaced when the next newer one begins.
    gone = [key for newer, key in pairwise(keys) if newer.begins < now - LONGEST_LIFE]
    if gone:
        _write(path, [key for key in keys if key not in gone])
    return gone


def _write(path: Path, keys: Iterable[Key]) -> None:
    entries = [_Entry(datetime.fromtimestamp(key.begins, UTC), key.secret) for key in keys]
    text = msgspec.json.format(msgspec.json.encode(_File(sorted(entries, key=lambda one: one.begins))), indent=2)
    try:
        # Replaced whole: a replica that reads it now sees the old keys or the new, and a full disk loses none.
        write_private(path.resolve(), text + b"\n")
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be written: {error.strerror}") from None


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _written(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _harmless(error: msgspec.ValidationError) -> str:
    """The text of an error without the value it may quote."""
    where = str(error).rpartition(" - at ")[2].strip("`") if " - at " in str(error) else "the file"
    return f"{where} is not as it should be, see the example: trunkline keys --help"
