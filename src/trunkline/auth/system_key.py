"""The key that the operating system's keyring holds for us.

What it is for: files with sign-ins are worth nothing to whoever copies them without the keyring.
What may live here: finding, making and reading that one entry. What may not: what is sealed with it.
"""

import base64
import binascii
import fcntl
import importlib
import os
import secrets
import threading
from pathlib import Path
from typing import Protocol, cast

from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.storage.private import make_private_folder

SERVICE = "trunkline"
NAME = "sign-ins"
"""How the entry is called: `keyring get trunkline sign-ins`."""

_NO_BACKENDS = ("keyring.backends.fail", "keyring.backends.null")
_WAY_OUT = "unlock it, or do without it: PYTHON_KEYRING_BACKEND=keyring.backends.fail.Keyring"


class _Backend(Protocol):
    """What is used of a backend of the library `keyring`."""

    def get_password(self, service: str, username: str) -> str | None:
        """The entry."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Make or replace the entry."""


class SystemKey:
    """The entry of the keyring, made when it is first needed.

    Parameters:
        folder: where processes wait for each other, so that they do not make two.

        FileStore(folder, SystemKey(folder).ring)
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ring: Keys | None = None
        self._lock = threading.Lock()

    def ring(self) -> Keys | None:
        """The keys to seal with; None where there is no keyring: the library or a backend of it is missing.

        Raises `ConfigError` for a keyring that is there and refuses: what it is to protect is not kept without it
        merely because it happens to be locked.
        """
        with self._lock:
            if self._ring is None:
                backend = _backend()
                self._ring = None if backend is None else Keys([self._key(backend)])
            return self._ring

    def __repr__(self) -> str:
        return f"<SystemKey of {SERVICE} {NAME}>"

    def _key(self, backend: _Backend) -> bytes:
        held = _asked(backend)
        if held is None:
            held = self._made(backend)
        try:
            key = base64.b64decode(held, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != 32:
            raise ConfigError(
                f"The entry {NAME} of {SERVICE} in the keyring is not a key; remove it and sign in again: "
                f"keyring del {SERVICE} {NAME}"
            )
        return key

    def _made(self, backend: _Backend) -> str:
        """Make the entry, unless another process did meanwhile."""
        try:
            make_private_folder(self._folder)
            place = os.open(self._folder / "keyring.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{self._folder} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            held = _asked(backend)
            if held is None:
                held = base64.b64encode(secrets.token_bytes(32)).decode()
                try:
                    backend.set_password(SERVICE, NAME, held)
                except Exception as error:
                    raise _refused(error) from None
                if _asked(backend) != held:
                    raise ConfigError(f"The keyring did not keep what it was given; {_WAY_OUT}")
            return held
        finally:
            os.close(place)


def _backend() -> _Backend | None:
    try:
        library = importlib.import_module("keyring")
        found = library.get_keyring()
    except ImportError:
        return None
    except Exception as error:
        raise _refused(error) from None
    return None if type(found).__module__ in _NO_BACKENDS else cast("_Backend", found)


def _asked(backend: _Backend) -> str | None:
    try:
        return backend.get_password(SERVICE, NAME)
    except Exception as error:
        raise _refused(error) from None


def _refused(error: Exception) -> ConfigError:
    """Whatever a backend raises may quote what it was asked for, so only its type is told."""
    return ConfigError(f"The keyring could not be used ({type(error).__name__}); {_WAY_OUT}")
