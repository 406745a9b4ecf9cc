"""Where sign-ins are kept.

What it is for: a sign-in outlives the process, nobody else can read it, and of several that refresh it one does.
What may live here: stores in memory and in files. What may not: what tokens mean, requests, the keyring itself, see
`system_key`.

A store of files has one file for each issuer and resource, with mode 0600. Where the operating system has a keyring,
the files are sealed with a key that lies in it: keyrings bound the size of an entry (on Windows to less than many
tokens have), cannot be listed, and ask the person once for each entry; one small entry has none of these troubles, and
the files are worth nothing without it.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from trunkline.auth.system_key import SystemKey
from trunkline.auth.tokens import Kept, KeptNames
from trunkline.engine.doors import KeyRing
from trunkline.errors import ConfigError, SealError, SignInError
from trunkline.storage.location import state_folder
from trunkline.storage.private import make_private_folder, read_private, write_private

logger = logging.getLogger("trunkline.auth")

PATIENCE = 60.0
"""Seconds for which somebody else may be busy with a sign-in before waiting for it is given up."""

_PURPOSE = "kept-sign-in"
_POLL = 0.02

T = TypeVar("T")
_Names = list[KeptNames]


class MemoryStore:
    """Keeps sign-ins as long as the process lives, for one event loop.

    Client(url, auth=OAuth(grant, store=MemoryStore()))
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Kept] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def load(self, issuer: str, resource: str) -> Kept | None:
        """What is kept of a sign-in."""
        return self._kept.get((issuer, resource))

    async def save(self, kept: Kept) -> None:
        """Keep a sign-in, instead of what was kept under its issuer and resource."""
        self._kept[kept.issuer, kept.resource] = kept

    async def forget(self, issuer: str, resource: str) -> bool:
        """Keep it no longer; whether it was there."""
        return self._kept.pop((issuer, resource), None) is not None

    async def list(self) -> _Names:
        """What is kept, without secrets."""
        return [KeptNames(issuer, resource) for issuer, resource in sorted(self._kept)]

    def lock(self, issuer: str, resource: str) -> asyncio.Lock:
        """Alone with a sign-in."""
        return self._locks.setdefault((issuer, resource), asyncio.Lock())

    def __repr__(self) -> str:
        return f"<MemoryStore, {len(self._kept)} kept>"


class _File(msgspec.Struct, omit_defaults=True):
    """A file: whose it is in the clear, and the rest either sealed or as it is."""

    issuer: str
    resource: str
    sealed: str | None = None
    kept: Kept | None = None


class FileStore:
    """Keeps sign-ins in files that only their owner can read.

    Parameters:
        folder: where; by default `sign-ins` in the platform's directory for state, such as `~/.local/state/trunkline`.
        sealing: gives the keys to seal with, None for files as they are. Called in a thread, when first needed.
        patience: seconds to wait for somebody else who is busy with the same sign-in.

    Raises `ConfigError` from all methods: a folder or file that others can use, sealed files whose key is out of reach.

        FileStore(Path("/var/lib/app/sign-ins"), lambda: Keys([key]))
    """

    def __init__(
        self,
        folder: Path | None = None,
        sealing: Callable[[], KeyRing | None] = lambda: None,
        patience: float = PATIENCE,
    ) -> None:
        self._folder = state_folder() / "sign-ins" if folder is None else folder
        self._sealing = sealing
        self._patience = patience

    async def load(self, issuer: str, resource: str) -> Kept | None:
        """What is kept of a sign-in; None as well for what can never be opened again."""
        return await _finished(lambda: self._load(issuer, resource))

    async def save(self, kept: Kept) -> None:
        """Keep a sign-in; when this returns it is on the disk."""
        await _finished(lambda: self._save(kept))

    async def forget(self, issuer: str, resource: str) -> bool:
        """Remove its file; whether there was one."""
        return await _finished(lambda: self._forget(issuer, resource))

    async def list(self) -> _Names:
        """What is kept, without secrets; a file that cannot be used is logged and left out."""
        return await _finished(self._list)

    async def described(self) -> str:
        """Where sign-ins are kept and who can read them, for people."""
        sealed = await _finished(self._sealing) is not None
        return f"{self._folder}, {'sealed by the keyring' if sealed else 'for you alone to read; there is no keyring'}"

    @contextlib.asynccontextmanager
    async def lock(self, issuer: str, resource: str) -> AsyncIterator[None]:
        """Alone with a sign-in, over tasks and processes; a process that dies lets go.

        Raises `SignInError` when somebody else does not let go.
        """
        descriptor = await self._locked(issuer, resource)
        try:
            yield
        finally:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<FileStore {self._folder}>"

    def _load(self, issuer: str, resource: str) -> Kept | None:
        file = self._read(self._path(issuer, resource, ".json"))
        if file is None:
            # Who signs in next wants to keep it; whether that can be done is better known before a person is troubled.
            self._sealing()
            return None
        if (file.issuer, file.resource) != (issuer, resource):
            logger.warning("%s is kept under another name than its own, and left out", self._folder)
            return None
        if file.sealed is None:
            return file.kept
        ring = self._sealing()
        if ring is None:
            raise ConfigError(
                f"The sign-in at {resource} is sealed with a key of the keyring, and there is no keyring here: make it "
                f"reachable, or remove what is kept with `trunkline logout {resource}` and sign in again"
            )
        try:
            return msgspec.json.decode(ring.open(_PURPOSE, _bound(issuer, resource), file.sealed), type=Kept)
        except (SealError, msgspec.MsgspecError):
            # Its key is gone or it was tampered with: to sign in again is the one way on, and what happens next.
            logger.warning("what is kept of the sign-in at %s cannot be opened with the keys there are", resource)
            return None

    def _save(self, kept: Kept) -> None:
        ring = self._sealing()
        file = _File(kept.issuer, kept.resource)
        if ring is None:
            file.kept = kept
        else:
            file.sealed = ring.seal(_PURPOSE, _bound(kept.issuer, kept.resource), msgspec.json.encode(kept))
        try:
            make_private_folder(self._folder)
            write_private(self._path(kept.issuer, kept.resource, ".json"), msgspec.json.encode(file))
        except OSError as error:
            raise self._unusable(error) from None

    def _forget(self, issuer: str, resource: str) -> bool:
        try:
            self._path(issuer, resource, ".json").unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unusable(error) from None
        return True

    def _list(self) -> _Names:
        names = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                file = self._read(path)
            except ConfigError as error:
                logger.warning("%s", error)
                continue
            if file is not None:
                names.append(KeptNames(file.issuer, file.resource))
        return sorted(names, key=lambda name: (name.issuer, name.resource))

    def _read(self, path: Path) -> _File | None:
        try:
            raw = read_private(path)
        except OSError as error:
            raise self._unusable(error) from None
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ConfigError(f"{path} is no sign-in that was kept by trunkline; remove it and sign in again") from None

    async def _locked(self, issuer: str, resource: str) -> int:
        """The descriptor of its lock file, which holds the lock until it is closed. Lock files stay where they are."""
        path = self._path(issuer, resource, ".lock")
        try:
            make_private_folder(self._folder)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            async with asyncio.timeout(self._patience):
                while not _taken(descriptor):
                    await asyncio.sleep(_POLL * (1 + random.random()))  # noqa: S311
        except TimeoutError:
            os.close(descriptor)
            raise SignInError(
                f"Another process is busy with the sign-in at {resource} for more than {self._patience:g} seconds; end "
                "it, or try again later"
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(error) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _path(self, issuer: str, resource: str, suffix: str) -> Path:
        """A file's name tells nothing, and fits every file system."""
        return self._folder / f"{hashlib.sha256(_bound(issuer, resource)).hexdigest()[:32]}{suffix}"

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(f"Sign-ins cannot be kept in {self._folder}: {error.strerror or type(error).__name__}")


def system_store(folder: Path | None = None) -> FileStore:
    """The store of this machine's user: files, sealed by the operating system's keyring where there is one.

    Client(url, auth=OAuth(grant, store=system_store()))
    """
    place = state_folder() / "sign-ins" if folder is None else folder
    return FileStore(place, SystemKey(place).ring)


async def _finished(work: Callable[[], T]) -> T:
    """Run work that blocks in a thread, and see it to its end even when the caller is cancelled.

    A lock that ended before what it protects would let another process use a refresh token that was just replaced.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bound(issuer: str, resource: str) -> bytes:
    # No URL has a NUL, so no two pairs are alike.
    return f"{issuer}\0{resource}".encode("utf-8", "surrogatepass")
