"""Files that are nobody else's business.

What it is for: secrets in files that only their owner can read, written whole or not at all.
What may live here: reading and writing one. What may not: what is in it.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from trunkline.errors import ConfigError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_LONGEST = 16 * 1024 * 1024


def write_private(path: Path, data: bytes) -> None:
    """Replace a file by one with mode 0600, so that whoever reads sees all of the old or all of the new.

    Raises `OSError`; then the old file is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def read_private(path: Path) -> bytes | None:
    """The content of a file that only we can read; None where there is none.

    Raises `ConfigError` for one that somebody else can read or may have written, with the way out, and for what is no
    file; `OSError` when reading fails.
    """
    try:
        # Whoever could put a link or a pipe there would have us read something else, or wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigError(f"{path} is not a file; remove it")
        if facts.st_uid != os.geteuid():
            raise ConfigError(f"{path} belongs to another user, so it is not used; remove it")
        if facts.st_mode & _OTHERS:
            raise ConfigError(
                f"{path} can be used by others on this machine, so it is not used: what is in it may be known to them. "
                f"Remove it; or, if nobody else was here, run: chmod 600 {path}"
            )
        return file.read(_LONGEST)


def make_private_folder(path: Path) -> None:
    """Make a folder with mode 0700 where there is none.

    Raises `ConfigError` for one that somebody else can write to, `OSError` when it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    facts = path.stat()
    if not stat.S_ISDIR(facts.st_mode):
        raise ConfigError(f"{path} is not a folder; remove it")
    if facts.st_uid != os.geteuid() or facts.st_mode & _WRITTEN_BY_OTHERS:
        raise ConfigError(f"Others on this machine can write to the folder {path}, so it is not used: chmod 700 {path}")
