"""Sealed state: AEAD text that travels through clients.

What it is for: `requestState`, legacy session ids and cursors that nobody else can read, change or move.
What may live here: the key ring and its format.
What may not: what is sealed, and where keys come from.

Format: base64url of version (1 byte), key id (4), nonce (12), AES-256-GCM ciphertext and tag. The purpose and what the
seal is bound to are authenticated, not carried.
"""

import base64
import binascii
import hashlib
import os
from typing import TYPE_CHECKING

from trunkline.errors import ConfigError, SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_HEAD = 1 + 4 + 12


class Keys:
    """A key ring: the first key seals, every key opens, so that a rotation is noticed by no client.

    Parameters:
        keys: 32-byte keys, newest first; empty makes a random one, good for one process and its life.

    Raises `ConfigError` for a key of another length.

        ring = Keys([new, old])
        ring.open("state", b"me", ring.seal("state", b"me", b"payload"))
    """

    def __init__(self, keys: list[bytes] | None = None) -> None:
        self._keys: dict[bytes, AESGCM] = {}
        self._current = b""
        self._pending = _checked(keys or [os.urandom(32)])

    def replace(self, keys: list[bytes]) -> None:
        """Go on with other keys, while running: the first seals from now on, every one opens.

        Raises `ConfigError` for none, and for a key of another length; then the keys stay as they were.

            ring.replace([newer, new, old])
        """
        if not keys:
            raise ConfigError("A key ring needs a key")
        self._pending = _checked(keys)
        self._keys = {}

    def seal(self, purpose: str, bound: bytes, payload: bytes) -> str:
        """Encrypt and authenticate; the text is URL-safe."""
        self._load()
        nonce = os.urandom(12)
        sealed = self._keys[self._current].encrypt(nonce, payload, _associated(purpose, bound))
        return base64.urlsafe_b64encode(_VERSION + self._current + nonce + sealed).decode().rstrip("=")

    def open(self, purpose: str, bound: bytes, sealed: str) -> bytes:
        """The payload again. Raises `SealError` when it is forged, foreign or of a key no longer held."""
        from cryptography.exceptions import InvalidTag

        self._load()
        try:
            raw = base64.urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
            # Decoding tolerates foreign characters; the one text we wrote is the only one accepted.
            if base64.urlsafe_b64encode(raw).decode().rstrip("=") != sealed:
                raise SealError
            key = self._keys.get(raw[1:5]) if raw[:1] == _VERSION else None
            if key is None:
                raise SealError
            return key.decrypt(raw[5:_HEAD], raw[_HEAD:], _associated(purpose, bound))
        except (InvalidTag, binascii.Error, ValueError):
            raise SealError from None

    def __repr__(self) -> str:
        return f"Keys({len(self._pending)} keys)"

    def _load(self) -> None:
        if self._keys:
            return
        # Imported at first use: servers that never seal start faster.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._keys = {key_id(key): AESGCM(key) for key in self._pending}
        self._current = key_id(self._pending[0])


def key_id(key: bytes) -> bytes:
    """The four bytes by which a sealed text tells its key; they tell nothing about it."""
    return hashlib.sha256(b"trunkline key id" + key).digest()[:4]


def _checked(keys: list[bytes]) -> list[bytes]:
    for key in keys:
        if len(key) != 32:
            raise ConfigError("A sealing key has 32 bytes; make one with: openssl rand -base64 32")
    return list(keys)


def _associated(purpose: str, bound: bytes) -> bytes:
    return purpose.encode() + b"\0" + bound
