"""Sign-ins that the replicas of a gateway share.

What it is for: every replica has them, of several that refresh one does, and the database alone is worth nothing.
What may live here: stores in a database. What may not: what tokens mean, which sign-ins are shared.

One record holds all sign-ins of one owner: each sealed for its owner, its issuer and its resource, so that none opens
in another one's place.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from trunkline.auth.tokens import Kept, KeptNames
from trunkline.engine.doors import KeyRing
from trunkline.errors import SealError, SignInError, StorageUnavailable

if TYPE_CHECKING:
    from trunkline.storage.records import Records
    from trunkline.storage.storage import Storage

logger = logging.getLogger("trunkline.auth")

_KIND = "upstream-sign-ins"
_PURPOSE = "upstream-sign-in"
_IDLE = 400 * 86400.0
"""Seconds without use after which the sign-ins of an owner are erased."""

_PATIENCE = 60.0
_LEASE = 20.0
_POLL = 0.05


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    issuer: str
    resource: str
    sealed: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[_Sealed, ...]).decode
_Names = list[KeptNames]


class SharedSignIns:
    """The stores of all owners in one database.

    Parameters:
        storage: gives the database once it is open.
        keys: what is kept is sealed with; the same for all replicas.

        SharedSignIns(lambda: storage, keys).of("alice at https://id.example.com")
    """

    def __init__(self, storage: "Callable[[], Storage | None]", keys: KeyRing) -> None:
        self._storage = storage
        self.keys = keys
        self._records: tuple[Storage, Records] | None = None

    def of(self, owner: str) -> "SharedStore":
        """The store of one owner; of the gateway's operator where it is empty."""
        return SharedStore(self, owner)

    def open(self) -> "tuple[Storage, Records]":
        """The database and its records. Raises `StorageUnavailable` while it is not open."""
        storage = self._storage()
        if storage is None:
            raise StorageUnavailable("The storage is not open yet, or not any more; try again shortly")
        if self._records is None or self._records[0] is not storage:
            self._records = storage, storage.records(_KIND, idle=_IDLE)
        return self._records


class SharedStore:
    """A `TokenStore` of one owner; `SharedSignIns` makes them. Every method raises `StorageUnavailable` as well."""

    def __init__(self, all_: SharedSignIns, owner: str) -> None:
        self._all = all_
        self._owner = owner
        self._key = f"{hashlib.sha256(owner.encode()).hexdigest()[:32]}.all"

    def __repr__(self) -> str:
        return "<SharedStore>"

    async def load(self, issuer: str, resource: str) -> Kept | None:
        """What is kept of a sign-in; None as well for what can never be opened again."""
        for one in await self._read():
            if (one.issuer, one.resource) == (issuer, resource):
                return self._opened(one)
        return None

    async def save(self, kept: Kept) -> None:
        """Keep a sign-in; when this returns every replica has it."""
        sealed = self._all.keys.seal(_PURPOSE, self._bound(kept.issuer, kept.resource), msgspec.json.encode(kept))
        new = _Sealed(kept.issuer, kept.resource, sealed)
        await self._change(lambda before: (*_without(before, kept.issuer, kept.resource), new))

    async def forget(self, issuer: str, resource: str) -> bool:
        """Keep it no longer; whether it was there."""
        there = any((one.issuer, one.resource) == (issuer, resource) for one in await self._read())
        if there:
            await self._change(lambda before: _without(before, issuer, resource))
        return there

    async def list(self) -> _Names:
        """What is kept, without secrets."""
        names = [KeptNames(one.issuer, one.resource) for one in await self._read()]
        return sorted(names, key=lambda name: (name.issuer, name.resource))

    async def described(self) -> str:
        """Where sign-ins are kept and who can read them, for people."""
        return "the gateway's database, sealed with its keys"

    @asynccontextmanager
    async def lock(self, issuer: str, resource: str) -> AsyncIterator[None]:
        """Alone with a sign-in, over all replicas; one that dies lets go.

        Raises `SignInError` when another one does not.
        """
        storage, _ = self._all.open()
        name = f"sign-in {hashlib.sha256(self._bound(issuer, resource)).hexdigest()[:32]}"
        ends = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            async with storage.lease(name, _LEASE) as held:
                if held:
                    yield
                    return
            if asyncio.get_running_loop().time() > ends:
                raise SignInError(
                    f"Another replica is busy with the sign-in at {resource} for more than {_PATIENCE:g} seconds; try "
                    "again later"
                )
            await asyncio.sleep(_POLL * (1 + random.random()))  # noqa: S311

    async def _read(self) -> tuple[_Sealed, ...]:
        found = await self._all.open()[1].load(self._key)
        return () if found is None else _decode(found)

    async def _change(self, alter: Callable[[tuple[_Sealed, ...]], tuple[_Sealed, ...]]) -> None:
        records = self._all.open()[1]
        await records.add(self._key, _encode(()))
        await records.change(self._key, lambda payload: _encode(alter(_decode(payload))))

    def _opened(self, one: _Sealed) -> Kept | None:
        try:
            bound = self._bound(one.issuer, one.resource)
            return msgspec.json.decode(self._all.keys.open(_PURPOSE, bound, one.sealed), type=Kept)
        except (SealError, msgspec.MsgspecError):
            logger.warning("what is kept of the sign-in at %s cannot be opened with the keys there are", one.resource)
            return None

    def _bound(self, issuer: str, resource: str) -> bytes:
        return f"{self._owner}\0{issuer}\0{resource}".encode("utf-8", "surrogatepass")


def _without(kept: tuple[_Sealed, ...], issuer: str, resource: str) -> tuple[_Sealed, ...]:
    return tuple(one for one in kept if (one.issuer, one.resource) != (issuer, resource))
