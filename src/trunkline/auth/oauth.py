"""Signed-in access to one MCP server.

What it is for: the `Credentials` that all grants share: a token for each request, and an answer to each challenge
(Authorization Flow Steps, Step-Up Authorization Flow, RFC 9449).
What may live here: when a token is used, refreshed or asked for anew. What may not: where metadata is found, how a
grant gets its tokens, how they are stored.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from trunkline.auth.addresses import AddressRules, same_origin, shown
from trunkline.auth.asking import Asking
from trunkline.auth.authority import Authority, offers_binding
from trunkline.auth.challenges import Challenge, challenges, find, for_tokens
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.doors import Grant, Headers, TokenStore
from trunkline.auth.endpoint import Endpoint
from trunkline.auth.fetching import Fetcher
from trunkline.auth.keeping import MemoryStore, system_store
from trunkline.auth.metadata import canonical, covers
from trunkline.auth.proofs import ProofKey
from trunkline.auth.registration import forgotten
from trunkline.auth.tokens import Kept, Tokens
from trunkline.errors import ConfigError, SignInError, SignInNeeded, SignInRefused, TransportError

_log = logging.getLogger("trunkline.auth")

Binding = Literal["offered", "required", "never"]
"""Whether tokens are bound to a key: where server and issuer offer it, always, or not at all."""

_TROUBLE = ("temporarily_unavailable", "server_error", "slow_down")
"""Errors that say nothing of what was asked: a person would be troubled in vain."""


class OAuth:
    """Credentials for one MCP server, by any grant.

    Parameters:
        grant: how a first token comes about, for example `SignIn()`.
        store: where sign-ins are kept; by default the system's where a person takes part, else this process's memory.
        dpop: whether tokens are bound to a key, so that they are of no use to a thief: "offered" binds where the issuer
            and the server both offer it, "required" takes no others, "never" binds none.
        scopes: to ask for, beside those that the server asks for.
        allow: addresses that metadata may name though they are not public, see `AddressRules.around`.
        interactive: whether a person may be troubled; False raises `SignInNeeded` instead.
        tls: how certificates of authorization servers are checked; by default against those of the system.

        Client("https://mcp.example.com/mcp", auth=OAuth(SignIn(), dpop="required"))
    """

    def __init__(
        self,
        grant: Grant,
        *,
        store: TokenStore | None = None,
        dpop: Binding = "offered",
        scopes: Iterable[str] = (),
        allow: Iterable[str] = (),
        interactive: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._grant = grant
        self._store: TokenStore = store or (system_store() if grant.interactive else MemoryStore())
        self._dpop = dpop
        self._scopes = frozenset(scopes)
        self._allow = tuple(allow)
        self._interactive = interactive
        self._tls = tls
        self._server = ""
        self._found: Authority | None = None
        self._lock = asyncio.Lock()
        self._looked = False
        self._kept: Kept | None = None
        self._key: ProofKey | None = None
        self._nonce: str | None = None
        # How the current token came about, until a request with it was let in.
        self._untried: Literal["obtained", "refreshed"] | None = None
        self._asking = Asking()
        self._refreshing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<OAuth for {self._server or 'no server yet'} by {self._grant!r}: {self._kept!r}>"

    async def headers(self, method: str, url: str) -> Headers:
        """See `Credentials.headers`. Raises `ConfigError` for a second server: its tokens would not be for that."""
        self._bind(url)
        if not self._looked:
            async with self._lock:
                if not self._looked:
                    await self._look()
        tokens = self._tokens
        if tokens is not None and not tokens.fresh():
            async with self._lock:
                await self._settled()
                await self._expiring()
        return self._signed(method, url)

    def seen(self, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> None:
        """See `Credentials.seen`."""
        self._nonce = headers.get("DPoP-Nonce", self._nonce)
        if status not in (401, 403) and self._current(sent):
            self._untried = None

    async def challenged(self, method: str, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> bool:
        """See `Credentials.challenged`."""
        found = for_tokens(challenges(headers))
        errors = {challenge.params.get("error") for challenge in found}
        if status == 401 and "use_dpop_nonce" in errors and "DPoP-Nonce" in headers:
            return True
        missing = "insufficient_scope" in errors
        if status not in (401, 403) or (status == 403 and not missing):
            return False
        async with self._lock:
            await self._settled()
            if self._tokens is not None and not self._current(sent):
                # Another request was refused before, and got a new token.
                return True
            return await (self._step_up(found) if missing and self._tokens is not None else self._renewed(found))

    @property
    def _tokens(self) -> Tokens | None:
        return None if self._kept is None else self._kept.tokens

    def _bind(self, url: str) -> None:
        if url == self._server:
            return
        if not self._server:
            fetcher = Fetcher(AddressRules.around(url, self._allow), tls=self._tls)
            # A token on its way to the server itself is read by whoever reads along.
            fetcher.rules.checked(url)
            self._found = Authority(fetcher, url, self._grant.issuer)
            self._server = url
        elif not same_origin(self._server, url):
            raise ConfigError(
                f"These credentials are for {shown(self._server)}, and would be sent to {shown(url)}: each server "
                "needs its own"
            )

    @property
    def _authority(self) -> Authority:
        assert self._found is not None
        return self._found

    def _signed(self, method: str, url: str) -> Headers:
        tokens = self._tokens
        if tokens is None:
            return ()
        authorization = ("Authorization", f"{tokens.token_type} {tokens.access_token}")
        if tokens.token_type != "DPoP" or self._key is None:  # noqa: S105
            return (authorization,)
        return authorization, ("DPoP", self._key.proof(method, url, token=tokens.access_token, nonce=self._nonce))

    def _current(self, sent: Headers) -> bool:
        """Whether a request carried the token that is current."""
        tokens = self._tokens
        return tokens is not None and any(
            name == "Authorization" and value.endswith(f" {tokens.access_token}") for name, value in sent
        )

    async def _look(self) -> None:
        """Take up a sign-in that is kept, the most specific one."""
        names = [
            name
            for name in await self._store.list()
            if covers(name.resource, self._server) and self._grant.issuer in (None, name.issuer)
        ]
        for name in sorted(names, key=lambda name: len(name.resource), reverse=True):
            kept = await self._store.load(name.issuer, name.resource)
            if kept is not None and kept.tokens is not None:
                self._adopt(kept)
                break
        self._looked = True

    def _adopt(self, kept: Kept) -> None:
        self._kept = kept
        self._key = None if kept.proof_key is None else ProofKey.from_jwk(kept.proof_key)

    async def _keep(self, kept: Kept) -> None:
        self._adopt(kept)
        await self._store.save(kept)

    async def _expiring(self) -> None:
        """The token ends soon, or has ended: there is to be another. Where there is none, it is used to its end."""
        kept, tokens = self._kept, self._tokens
        if kept is None or tokens is None or tokens.fresh():
            return
        try:
            if await self._followed(kept, tokens):
                return
        except TransportError as error:
            if not tokens.fresh(early=0):
                raise
            _log.warning("The token for %s ends soon and cannot be refreshed: %s", self._server, error)
        if self._kept is not None and not tokens.fresh(early=0):
            # The server will say what it wants now.
            self._kept = msgspec.structs.replace(self._kept, tokens=None)

    async def _followed(self, kept: Kept, tokens: Tokens) -> bool:
        """Get the token that follows one, where that takes no person."""
        if tokens.refresh_token is not None:
            return await self._refreshed()
        if self._grant.interactive:
            return False
        metadata = await self._authority.metadata_of(kept.issuer)
        await self._obtain(metadata, kept, kept.requested, frozenset(), self._key)
        return True

    async def _refreshed(self) -> bool:
        """Refresh; False when the refresh token is of no use any more. Callers that give up do not end it.

        A server that rotates refresh tokens has replaced the old one by the time it answers (OAuth 2.1, 4.3.1): the new
        one must be kept, whoever waits for it.
        """
        task = self._refreshing = asyncio.ensure_future(self._refresh())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.shield(task)
        except SignInRefused as refusal:
            if refusal.error in _TROUBLE:
                raise
            _log.info("The sign-in at %s cannot be refreshed: %s", self._server, refusal)
            return False
        return True

    async def _settled(self) -> None:
        """Await a refresh whose callers gave up: what it finds decides what is to be done now."""
        task = self._refreshing
        if task is not None and not task.done():
            with contextlib.suppress(TransportError):
                await asyncio.shield(task)

    async def _refresh(self) -> None:
        kept = self._kept
        assert kept is not None
        assert kept.tokens is not None
        async with self._store.lock(kept.issuer, kept.resource):
            latest = await self._store.load(kept.issuer, kept.resource)
            if latest is None or latest.tokens is None:
                # Somebody signed out: that is not to be undone.
                self._kept = msgspec.structs.replace(kept, tokens=None)
                raise SignInRefused(f"The sign-in at {shown(kept.resource)} was ended", "invalid_grant")
            if latest.tokens != kept.tokens:
                self._adopt(latest)
                if latest.tokens.fresh():
                    # Another process was faster.
                    self._untried = "refreshed"
                    return
                kept = latest
            assert kept.tokens is not None
            endpoint = self._endpoint(await self._authority.metadata_of(kept.issuer), kept, self._key)
            form = {"grant_type": "refresh_token", "refresh_token": kept.tokens.refresh_token or ""}
            try:
                response = await endpoint.request(form, self._grant.client(endpoint))
            except SignInRefused as refusal:
                if forgotten(refusal, kept.registration):
                    await self._keep(msgspec.structs.replace(kept, tokens=None, registration=None))
                elif refusal.error == "invalid_grant":
                    await self._keep(msgspec.structs.replace(kept, tokens=None))
                raise
            tokens = Tokens.of(response, kept.tokens.scopes, kept.tokens)
            await self._keep(msgspec.structs.replace(kept, tokens=tokens))
            self._untried = "refreshed"

    async def _renewed(self, found: tuple[Challenge, ...]) -> bool:
        """A 401: there is no token, or it does not hold any more. True when there is a new one."""
        before = self._kept
        resource, metadata = await self._authority.discovered(found, None if before is None else before.issuer)
        identifier = canonical(self._server) if resource is None else resource.resource
        same = before is not None and (before.issuer, before.resource) == (metadata.issuer, identifier)
        if same and before is not None and before.tokens is not None:
            if self._untried == "obtained":
                raise SignInError(
                    f"{shown(self._server)} refuses the token that {shown(metadata.issuer)} has just issued for it: "
                    f"{_why(found)}; signing in again would not help"
                )
            if before.tokens.refresh_token is not None and self._untried is None and await self._refreshed():
                return True
        kept = self._kept if same else await self._store.load(metadata.issuer, identifier)
        if before is not None and not same:
            # The authorization server changed: nothing of the old one is of use at the new one.
            await self._store.forget(before.issuer, before.resource)
            self._kept = self._key = None
        kept = kept or Kept(issuer=metadata.issuer, resource=identifier)
        challenged = frozenset[str]().union(*(challenge.scopes for challenge in found))
        wanted = challenged or frozenset(resource.scopes_supported or () if resource is not None else ())
        key = self._binding(offers_binding(metadata, resource, found), kept)
        await self._obtain(metadata, kept, wanted | self._scopes | kept.requested, challenged, key)
        return True

    async def _step_up(self, found: tuple[Challenge, ...]) -> bool:
        """Scopes are missing: ask for them beside all that was asked for before (Step-Up Authorization Flow)."""
        kept = self._kept
        assert kept is not None
        missing = frozenset[str]().union(*(challenge.scopes for challenge in found))
        if not missing:
            return False
        self._asking.step(self._server, missing)
        metadata = await self._authority.metadata_of(kept.issuer)
        await self._obtain(metadata, kept, kept.requested | missing, missing, self._key)
        return True

    async def _obtain(
        self,
        metadata: ServerMetadata,
        kept: Kept,
        wanted: frozenset[str],
        needed: frozenset[str],
        key: ProofKey | None,
    ) -> None:
        """Have the grant get a token of the wanted scopes; of the needed ones alone where others are refused."""
        if self._grant.interactive and not self._interactive:
            raise SignInNeeded(self._advice(needed if kept.tokens is not None else frozenset()))
        if self._grant.interactive:
            self._asking.check()
        if self._grant.interactive and "offline_access" in (metadata.scopes_supported or ()):
            # Refresh Tokens: it may be asked for where the authorization server knows it.
            wanted |= {"offline_access"}
        endpoint = self._endpoint(metadata, kept, key)
        try:
            try:
                response = await self._grant.obtain(endpoint, wanted)
            except SignInRefused as refusal:
                if refusal.error != "invalid_scope" or not needed or needed == wanted:
                    raise
                wanted = needed
                response = await self._grant.obtain(endpoint, wanted)
        except TransportError as error:
            self._asking.failed(error)
            if endpoint.registration != kept.registration:
                # What was registered serves the next attempt.
                await self._store.save(msgspec.structs.replace(kept, registration=endpoint.registration))
            raise
        new = Kept(
            issuer=kept.issuer,
            resource=kept.resource,
            tokens=Tokens.of(response, wanted),
            registration=endpoint.registration,
            requested=wanted,
            proof_key=None if key is None else key.private_jwk(),
        )
        async with self._store.lock(kept.issuer, kept.resource):
            await self._keep(new)
        self._untried = "obtained"
        self._asking.succeeded()

    def _advice(self, missing: frozenset[str]) -> str:
        """What is said where nobody is asked: what to run, with the scopes that a sign-in lacks."""
        server = shown(self._server)
        wanted = "".join(f" --scope {shown(scope)}" for scope in sorted(missing))
        what = "scopes that the sign-in there does not have" if missing else "you to sign in"
        return f"{server} wants {what}: trunkline login {server}{wanted}"

    def _endpoint(self, metadata: ServerMetadata, kept: Kept, key: ProofKey | None) -> Endpoint:
        return Endpoint(
            metadata,
            kept.resource,
            self._authority.fetcher,
            key=key,
            required=self._dpop == "required",
            registration=kept.registration,
        )

    def _binding(self, offered: bool, kept: Kept) -> ProofKey | None:
        """The key to bind tokens to, where they are to be bound."""
        if self._dpop == "never" or (self._dpop == "offered" and not offered):
            return None
        return ProofKey.make() if kept.proof_key is None else ProofKey.from_jwk(kept.proof_key)


def _why(found: tuple[Challenge, ...]) -> str:
    said = find(found, "error_description") or find(found, "error")
    return shown(said) if said else "it does not say why"
