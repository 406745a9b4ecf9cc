"""A real backend of the library `keyring` for tests: its entries lie in a file, so that processes share them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class Keyring(KeyringBackend):
    """Entries in the file that the environment names; one that is named `locked` refuses."""

    priority = 1.0

    def get_password(self, service: str, username: str) -> str | None:
        return self._entries().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write({**self._entries(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        entries = self._entries()
        del entries[f"{service} {username}"]
        self._write(entries)

    def _entries(self) -> dict[str, str]:
        place = self._place()
        if place.name == "locked":
            raise KeyringLocked("the answer may quote s3cret")
        return json.loads(place.read_text()) if place.exists() else {}

    def _write(self, entries: dict[str, str]) -> None:
        """All at once, as a system's own keyring does: others read it meanwhile."""
        place = self._place()
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        fresh.write_text(json.dumps(entries))
        fresh.replace(place)

    def _place(self) -> Path:
        return Path(os.environ["KEYRING_IN_A_FILE"])


@contextmanager
def chosen(backend: KeyringBackend) -> Iterator[None]:
    """The library uses this backend meanwhile: by itself it chooses once in the life of a process."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)
