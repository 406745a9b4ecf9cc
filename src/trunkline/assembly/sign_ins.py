"""Where the gateway keeps its sign-ins at upstreams.

What it is for: the store that `trunkline login` writes and the running gateway reads is the same one: the database of
replicas where the configuration names one, else that of this machine's user.
What may live here: that choice, and what an operator is told. What may not: how signing in works.
"""

import hashlib
import os
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from trunkline.assembly.plan import Plan, Remembered, filled_sharing
from trunkline.assembly.settings import read_settings
from trunkline.assembly.sharing import MEMORY, Sharing, key_ring, shared_by
from trunkline.auth.doors import TokenStore
from trunkline.auth.keeping import FileStore, system_store
from trunkline.auth.shared_keeping import SharedSignIns
from trunkline.auth.system_key import SystemKey
from trunkline.engine.doors import KeyRing
from trunkline.engine.sealed import Keys
from trunkline.errors import ConfigError
from trunkline.gateway.credentials import Accounts
from trunkline.portable.interpolate import resolve
from trunkline.portable.model import Entry
from trunkline.runtime.shared import Shared
from trunkline.storage.location import state_folder
from trunkline.transports.stored import Stored


class Kept(TokenStore, Protocol):
    """A store that says where it is."""

    async def described(self) -> str:
        """Where sign-ins are kept and who can read them, for people."""


def accounts(plan: Plan, sharing: Sharing, shared: Shared, keys: KeyRing) -> Accounts:
    """The gateway's credentials at its upstreams.

    Parameters:
        sharing: what is configured, before a file of this machine takes the place of what is not.
        shared, keys: what replicas share.
    """
    config = shlex.quote(plan.settings.path)
    return Accounts(
        _store(sharing, shared, keys),
        lambda name: f"trunkline login {shlex.quote(name)} --config {config}",
        _stores(sharing, shared, keys),
    )


@asynccontextmanager
async def account(path: str, name: str) -> AsyncIterator[tuple[Entry, Kept]]:
    """A server of a configuration that somebody can sign in to, its references filled in, and where that is kept.

    Raises `ConfigError` for a server that is not there or is signed in to in another way.
    """
    settings = read_settings(path)
    if settings.faults:
        raise ConfigError("\n".join(settings.faults))
    found = next(((entry, source) for entry, source in settings.servers if entry.name == name), None)
    if found is None:
        known = ", ".join(entry.name for entry, _ in settings.servers if entry.auth is not None)
        raise ConfigError(f"{path}: there is no server {name[:80]!r}; those with `auth`: {known or 'none'}")
    entry, source = found
    if entry.auth is None or entry.auth.grant != "sign-in":
        raise ConfigError(f"{path}: nobody signs in to the server {name!r}; for that it needs `auth: sign-in`")
    entry = resolve(entry, os.environ, Remembered(None).answers(source), source.workspace)
    async with _opened(filled_sharing(settings, os.environ, {Path(path)})) as (sharing, shared, keys):
        yield entry, _store(sharing, shared, keys)


@asynccontextmanager
async def accounts_for_one(plan: Plan) -> AsyncIterator[Accounts]:
    """The same for one command, which has the sign-ins of the replicas and shares nothing else with them."""
    people = any(entry.auth is not None and entry.auth.grant == "sign-in" for entry in plan.entries)
    async with _opened(plan.sharing if people else Sharing()) as (sharing, shared, keys):
        yield accounts(plan, sharing, shared, keys)


@asynccontextmanager
async def _opened(sharing: Sharing) -> AsyncIterator[tuple[Sharing, Shared, KeyRing]]:
    shared = shared_by(sharing)
    await shared.start()
    try:
        yield sharing, shared, key_ring(sharing) or Keys()
    finally:
        await shared.stop()


def _stores(sharing: Sharing, shared: Shared, keys: KeyRing) -> Callable[[str], TokenStore]:
    """Where callers' own sign-ins are kept: nobody's store opens another one's."""
    if sharing.storage not in (None, MEMORY) and isinstance(shared, Stored):
        return SharedSignIns(lambda: shared.storage, keys).of
    folder = state_folder() / "sign-ins-of-callers"
    system = SystemKey(folder)

    def store(owner: str) -> TokenStore:
        return FileStore(folder / hashlib.sha256(owner.encode()).hexdigest()[:32], system.ring)

    return store


def _store(sharing: Sharing, shared: Shared, keys: KeyRing) -> Kept:
    if sharing.storage in (None, MEMORY) or not isinstance(shared, Stored):
        return system_store()
    return SharedSignIns(lambda: shared.storage, keys).of("")
