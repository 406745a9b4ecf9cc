"""`trunkline login` and `logout`: the sign-ins of this machine's user.

What it is for: a person signs in once, and every command uses it.
What may live here: these commands. What may not: how signing in works; showing sign-ins, see `sign_ins`.
"""

import argparse
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from msgspec import structs

from trunkline.assembly import logs
from trunkline.assembly.serving import run as run_loop
from trunkline.auth.addresses import AddressRules
from trunkline.auth.browser import Browser
from trunkline.auth.doors import TokenStore
from trunkline.auth.fetching import Fetcher
from trunkline.auth.keeping import system_store
from trunkline.auth.metadata import covers
from trunkline.auth.oauth import OAuth
from trunkline.auth.revoking import revoke
from trunkline.auth.signin import SignIn
from trunkline.auth.tokens import Kept, KeptNames
from trunkline.cli.plain import plain
from trunkline.cli.sign_ins import described
from trunkline.client.client import Client
from trunkline.errors import ConfigError, RemoteError, TransportError
from trunkline.portable.model import public_address


def run(arguments: argparse.Namespace) -> int:
    """Sign in, or out."""
    logs.set_up("warning")
    return run_loop(lambda: (_login if arguments.what == "login" else _logout)(arguments))


class _Described(Protocol):
    """Says where it is."""

    async def described(self) -> str:
        """Where sign-ins are kept and who can read them, for people."""


class _Anew:
    """The store for somebody who signs in though a sign-in may be kept: of that, only the registration is used.

    Parameters:
        store: where the new sign-in is kept.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.saved: Kept | None = None

    async def load(self, issuer: str, resource: str) -> Kept | None:
        """What the authorization server knows this client as. Raises `ConfigError` when nothing could be kept."""
        try:
            kept = await self._store.load(issuer, resource)
        except ConfigError:
            # It will be replaced. Where it is the keyring that refuses, that is told before the person signs in.
            await self._store.load(issuer, "")
            return None
        return None if kept is None else Kept(issuer=issuer, resource=resource, registration=kept.registration)

    async def save(self, kept: Kept) -> None:
        """Keep it."""
        await self._store.save(kept)
        self.saved = kept if kept.tokens is not None else self.saved

    async def forget(self, issuer: str, resource: str) -> bool:
        """Keep it no longer."""
        return await self._store.forget(issuer, resource)

    async def list(self) -> list[KeptNames]:
        """Nothing is taken up."""
        return []

    def lock(self, issuer: str, resource: str) -> AbstractAsyncContextManager[None]:
        """Alone with a sign-in."""
        return self._store.lock(issuer, resource)


async def _login(arguments: argparse.Namespace) -> int:
    if arguments.config is not None:
        return await _login_gateway(arguments)
    store = system_store()
    anew = _Anew(store)
    auth = OAuth(_grant(arguments), store=anew, dpop=arguments.dpop, scopes=arguments.scope, allow=arguments.allow)
    return await _signed_in(_address(arguments.url), {}, auth, anew, store)


async def _login_gateway(arguments: argparse.Namespace) -> int:
    """Sign a gateway in to one of its servers: what the file says of the client holds, not the options."""
    from trunkline.assembly.sign_ins import account
    from trunkline.gateway.credentials import oauth

    async with account(arguments.config, arguments.url) as (entry, store):
        assert entry.auth is not None
        auth = structs.replace(
            entry.auth,
            scopes=(*entry.auth.scopes, *arguments.scope),
            allow=(*entry.auth.allow, *arguments.allow),
        )
        anew = _Anew(store)
        credentials = oauth(auth, anew, interactive=True, agent=_browser(arguments))
        return await _signed_in(entry.url, entry.headers, credentials, anew, store)


async def _signed_in(url: str, headers: Mapping[str, str], auth: OAuth, anew: _Anew, store: "_Described") -> int:
    """Have a server ask for a sign-in, and say what came of it."""
    async with Client(url, headers=headers, auth=auth) as client:
        server = await client.server()
        if anew.saved is None:
            # Some servers tell who they are to anyone, and want a token for what they do.
            with suppress(RemoteError):
                await client.tools()
    if anew.saved is None:
        print(f"{plain(server.name)} at {public_address(url)} wants no sign-in; nothing is kept")
        return 0
    print(f"Signed in to {plain(server.name)} at {public_address(url)}, by {plain(anew.saved.issuer)}")
    for name, value in described(anew.saved).items():
        print(f"  {name:8} {value}")
    print(f"  {'kept':8} {await store.described()}")
    return 0


def _grant(arguments: argparse.Namespace) -> SignIn:
    secret = None
    if arguments.client_secret_env:
        secret = os.environ.get(arguments.client_secret_env)
        if not secret:
            raise ConfigError(f"The environment variable {arguments.client_secret_env} is not set")
    return SignIn(
        client_id=arguments.client_id,
        client_secret=secret,
        issuer=arguments.issuer,
        document=arguments.client_document,
        redirect_uri=arguments.redirect_uri,
        agent=_browser(arguments),
    )


def _browser(arguments: argparse.Namespace) -> Browser:
    return Browser(open=_closed if arguments.no_browser else None, seconds=arguments.wait)


def _closed(url: str) -> bool:
    return False


async def _logout(arguments: argparse.Namespace) -> int:
    if bool(arguments.url) == arguments.all:
        raise ConfigError("Say which sign-in to forget: trunkline logout URL, or --all for every one")
    store = system_store()
    names = [name for name in await store.list() if arguments.all or _meant(name.resource, arguments.url)]
    if not names:
        print(f"There is no sign-in{'' if arguments.all else f' at {arguments.url}'}; see: trunkline auth list")
        return 0 if arguments.all else 1
    for name in names:
        kept: Kept | None = None
        with suppress(ConfigError):
            kept = await store.load(name.issuer, name.resource)
        await store.forget(name.issuer, name.resource)
        print(f"{plain(name.resource)}: forgotten; {await _revoked(kept, arguments.allow)}")
    return 0


async def _revoked(kept: Kept | None, allow: Iterable[str]) -> str:
    """Have the tokens taken back, and say what came of it; that they are forgotten here does not depend on it."""
    if kept is None or kept.tokens is None:
        return "what was kept could not be opened, so its tokens hold until they end"
    try:
        fetcher = Fetcher(AddressRules.around(kept.resource, allow))
        if await revoke(kept, fetcher):
            return f"{plain(kept.issuer)} revoked its tokens"
        return f"{plain(kept.issuer)} cannot revoke tokens, so they hold until they end"
    except (TransportError, ConfigError) as error:
        return f"its tokens hold until they end: {plain(error.message)}"


def _address(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"{url!r} is not the address of an MCP server; give its URL, as in {_EXAMPLE}")
    return url


def _meant(resource: str, url: str) -> bool:
    return resource == url or covers(resource, url)


_EXAMPLE = "https://mcp.example.com/mcp"
