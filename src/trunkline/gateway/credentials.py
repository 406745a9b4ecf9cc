"""What upstreams are shown so that they let the gateway in.

What it is for: the `Credentials` of each upstream that is signed in to, out of how its entry says that is done.
What may live here: which grant that is, whose sign-in it uses, what an operator is told to do.
What may not: how tokens are got (`auth/`), requests, callers' own tokens: those never travel on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from trunkline.auth.browser import UserAgent
from trunkline.auth.challenges import challenges, find
from trunkline.auth.client_authentication import KeyClient, PublicClient, SecretClient
from trunkline.auth.client_credentials import ClientCredentials
from trunkline.auth.doors import ClientAuthentication, Credentials, Grant, Headers, TokenStore
from trunkline.auth.enterprise import EnterpriseManaged, IdentityProvider
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.metadata import covers
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.auth.tokens import shown
from trunkline.auth.workload import WorkloadIdentity, WorkloadTokens
from trunkline.auth.workload_tokens import AzureIdentity, GitHubActions, GoogleIdentity, TokenFile
from trunkline.engine.principal import Principal
from trunkline.errors import SignInError, SignInNeeded
from trunkline.portable.auth import Auth
from trunkline.portable.model import Entry

Invite = Callable[[Entry, Principal], str | None]
"""An upstream, and who is to connect an account there -> the page that does it."""

Advice = Callable[[str], str]
"""The name of an upstream -> what signs somebody in to it, as a command."""


def login_command(name: str) -> str:
    """What an operator does about an upstream that nobody is signed in to."""
    return f"trunkline login {name}"


class Client(NamedTuple):
    """The gateway as a client with pages of its own: where people come back to, and its metadata document."""

    redirect_uri: str
    document: str | None = None


class Accounts:
    """The credentials of the gateway at its upstreams.

    Parameters:
        store: where the operator's sign-ins are kept; by default in memory, where none can ever be.
        advice: what an operator is told to do.
        stores: where the sign-ins of a caller are kept, by the key of its principal; by default in memory.

        accounts.of(entry)  # None for an upstream that wants no sign-in
    """

    def __init__(
        self,
        store: TokenStore | None = None,
        advice: Advice = login_command,
        stores: Callable[[str], TokenStore] | None = None,
    ) -> None:
        self.store: TokenStore = store or MemoryStore()
        self._advice = advice
        self._memory: dict[str, TokenStore] = {}
        self._stores = stores or (lambda owner: self._memory.setdefault(owner, MemoryStore()))
        self.invite: Invite = lambda entry, principal: None
        """Where a caller connects an account of its own; None where nothing is served that could do it."""

    def of(self, entry: Entry) -> Credentials | None:
        """What the gateway itself shows an upstream. Raises `ConfigError` for a key that is none."""
        auth = entry.auth
        if auth is None:
            return None
        if auth.grant == "sign-in":
            return _SignedIn(lambda: oauth(auth, self.store, interactive=False), self._advice(entry.name))
        return oauth(auth, MemoryStore(), interactive=False)

    def of_caller(self, entry: Entry, owner: str) -> Credentials:
        """What an upstream is shown for one caller: an account of theirs, never a token that they sent."""
        auth = entry.auth
        assert auth is not None
        return _SignedIn(lambda: oauth(auth, self.store_of(owner), interactive=False), None)

    def store_of(self, owner: str) -> TokenStore:
        """Where the sign-ins of one caller are kept."""
        return self._stores(owner)

    async def has(self, entry: Entry, owner: str) -> bool:
        """Whether a caller has an account at an upstream, as far as is known."""
        store = self._stores(owner)
        for name in await store.list():
            if covers(name.resource, entry.url):
                kept = await store.load(name.issuer, name.resource)
                if kept is not None and kept.tokens is not None:
                    return True
        return False


def oauth(
    auth: Auth, store: TokenStore, *, interactive: bool, agent: UserAgent | None = None, client: Client | None = None
) -> OAuth:
    """Credentials as an entry describes them. Raises `ConfigError` for what cannot be used, such as a key.

    Parameters:
        auth: of a resolved entry.
        store: where tokens are kept.
        interactive: whether somebody can be asked to sign in. agent: takes them there.
        client: what the gateway is known as, where it has pages of its own.
    """
    return OAuth(
        grant_of(auth, agent, client),
        store=store,
        dpop=auth.dpop,
        scopes=auth.scopes,
        allow=auth.allow,
        interactive=interactive,
    )


def grant_of(auth: Auth, agent: UserAgent | None = None, at: Client | None = None) -> Grant:
    """The grant that an entry asks for."""
    if auth.grant == "client-credentials":
        return ClientCredentials(auth.client_id or "", auth.client_secret, key=auth.client_key, issuer=auth.issuer)
    if auth.grant == "workload-identity":
        return WorkloadIdentity(_workload(auth), audience=auth.audience, client_id=auth.client_id, issuer=auth.issuer)
    if auth.grant == "enterprise-managed":
        return _enterprise(auth)
    client = None if auth.client_id is None else _client(auth.client_id, auth.client_secret, auth.client_key)
    if at is None:
        return SignIn(client=client, issuer=auth.issuer, agent=agent)
    document = at.document if client is None else None
    return SignIn(client=client, issuer=auth.issuer, agent=agent, document=document, redirect_uri=at.redirect_uri)


def _workload(auth: Auth) -> WorkloadTokens:
    if auth.token_file is not None:
        return TokenFile(auth.token_file)
    made: dict[str | None, Callable[[], WorkloadTokens]] = {
        "github-actions": GitHubActions,
        "google-cloud": GoogleIdentity,
        "azure": AzureIdentity,
    }
    return made[auth.platform]()


def _enterprise(auth: Auth) -> EnterpriseManaged:
    file = None if auth.token_file is None else TokenFile(Path(auth.token_file))

    async def id_token() -> str:
        assert file is not None
        return await file.token("")

    idp = IdentityProvider(auth.idp or "", _client(auth.idp_client_id or "", auth.idp_client_secret, None))
    return EnterpriseManaged(
        idp,
        id_token=None if file is None else id_token,
        refresh_token=auth.idp_refresh_token,
        client=_client(auth.client_id or "", auth.client_secret, auth.client_key),
        issuer=auth.issuer,
    )


def _client(client_id: str, secret: str | None, key: str | None) -> ClientAuthentication:
    from trunkline.auth.assertions import Signer

    if key is not None:
        return KeyClient(client_id, Signer.from_key(key))
    return PublicClient(client_id) if secret is None else SecretClient(client_id, secret)


class _SignedIn:
    """Credentials by a sign-in that happens elsewhere: whoever signs in again is noticed with the next attempt.

    Parameters:
        make: makes credentials that look into the store when they are first used.
        remedy: the command that signs in; None where a page does.
    """

    def __init__(self, make: Callable[[], OAuth], remedy: str | None) -> None:
        self._make = make
        self._remedy = remedy
        self._inner = make()
        self._used = False

    def __repr__(self) -> str:
        return repr(self._inner)

    async def headers(self, method: str, url: str) -> Headers:
        """See `Credentials.headers`."""
        self._used = True
        return await self._inner.headers(method, url)

    def seen(self, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> None:
        """See `Credentials.seen`."""
        self._inner.seen(url, sent, status, headers)

    async def challenged(self, method: str, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> bool:
        """See `Credentials.challenged`."""
        if not self._used:
            # Another request found out meanwhile that nobody is signed in: what the store has now is used next.
            return True
        inner = self._inner
        try:
            return await inner.challenged(method, url, sent, status, headers)
        except SignInNeeded:
            scope = find(challenges(headers), "scope") if status == 403 else None
            if scope:
                wanted = " ".join(f"--scope {one}" for one in shown(scope).split())
                run = f"; run: {self._remedy} {wanted}" if self._remedy else f": {shown(scope)}"
                raise SignInError(f"it wants scopes that the sign-in does not have{run}") from None
            if inner is self._inner:
                self._inner, self._used = self._make(), False
            run = f"; run: {self._remedy}" if self._remedy else ""
            raise SignInNeeded(f"nobody is signed in to it, or not any more{run}") from None
