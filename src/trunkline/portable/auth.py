"""How the gateway signs in to a remote server.

What it is for: `auth` of an entry as one checked value, the same whatever file it came from.
What may live here: its members, which of them belong together, their references.
What may not: requests, tokens, where sign-ins are kept.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trunkline.errors import ConfigError
from trunkline.portable.place import Place

_Text = Annotated[str, Meta(min_length=1)]
GrantName = Literal["sign-in", "client-credentials", "workload-identity", "enterprise-managed"]

SECRETS = ("client_secret", "client_key", "idp_client_secret", "idp_refresh_token")
"""Members that are secret, wherever they are shown."""


class Auth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the gateway gets access tokens of a remote server; its caller's token is never sent on."""

    grant: Annotated[
        GrantName,
        Meta(
            description="How tokens are got: a person signs in once, or credentials of its own.",
            examples=["client-credentials"],
        ),
    ] = "sign-in"
    per: Annotated[
        Literal["gateway", "principal"],
        Meta(
            description="Whose sign-in calls use: the operator's, or each caller's own (`sign-in` alone).",
            examples=["principal"],
        ),
    ] = "gateway"
    issuer: Annotated[
        _Text | None,
        Meta(
            description="The authorization server that knows the client; no other one sees its credentials.",
            examples=["https://id.example.com"],
        ),
    ] = None
    client_id: Annotated[_Text | None, Meta(description="What it knows the gateway as.", examples=["our-gateway"])] = (
        None
    )
    client_secret: Annotated[
        _Text | None, Meta(description="A reference to the secret there.", examples=["${env:TRACKER_SECRET}"])
    ] = None
    client_key: Annotated[
        _Text | None,
        Meta(description="A reference to a private key instead, PEM or JWK.", examples=["${file:tracker.pem}"]),
    ] = None
    scopes: Annotated[
        tuple[_Text, ...],
        Meta(description="To ask for, beside those that the server wants.", examples=[["read"]]),
    ] = ()
    dpop: Annotated[
        Literal["offered", "required", "never"],
        Meta(description="Whether tokens are bound to a key, and so useless when stolen.", examples=["required"]),
    ] = "offered"
    token_file: Annotated[
        _Text | None,
        Meta(
            description="The file with the workload's token, or with the ID token; read again for each use.",
            examples=["/var/run/secrets/tokens/mcp"],
        ),
    ] = None
    platform: Annotated[
        Literal["github-actions", "google-cloud", "azure"] | None,
        Meta(description="The platform to ask for the workload's token instead.", examples=["google-cloud"]),
    ] = None
    audience: Annotated[
        _Text | None,
        Meta(description="Whom the workload's token is for. Left out: the issuer.", examples=["api://mcp"]),
    ] = None
    idp: Annotated[
        _Text | None,
        Meta(description="The enterprise's identity provider.", examples=["https://login.example.com"]),
    ] = None
    idp_client_id: Annotated[_Text | None, Meta(description="What it knows the gateway as.")] = None
    idp_client_secret: Annotated[
        _Text | None, Meta(description="A reference to the secret there.", examples=["${env:IDP_SECRET}"])
    ] = None
    idp_refresh_token: Annotated[
        _Text | None, Meta(description="A reference to its refresh token, in place of `token_file`.")
    ] = None
    allow: Annotated[
        tuple[_Text, ...],
        Meta(
            description="Addresses of authorization servers that are asked though they are not public.",
            examples=[["http://keycloak:8080"]],
        ),
    ] = ()

    def __repr__(self) -> str:
        return f"Auth({self.grant}, per={self.per}, issuer={self.issuer!r}, client_id={self.client_id!r})"

    def secret_values(self) -> Iterator[str]:
        """What no log may show."""
        yield from (value for name in SECRETS if (value := getattr(self, name)) is not None)


_OF_GRANT: dict[GrantName, frozenset[str]] = {
    "sign-in": frozenset({"per", "client_id", "client_secret", "client_key"}),
    "client-credentials": frozenset({"client_id", "client_secret", "client_key"}),
    "workload-identity": frozenset({"client_id", "token_file", "platform", "audience"}),
    "enterprise-managed": frozenset(
        {"client_id", "client_secret", "client_key", "token_file"}
        | {"idp", "idp_client_id", "idp_client_secret", "idp_refresh_token"}
    ),
}
_OF_ALL = frozenset({"grant", "issuer", "scopes", "dpop", "allow"})
_NEEDED: dict[GrantName, tuple[str, ...]] = {
    "sign-in": (),
    "client-credentials": ("client_id",),
    "workload-identity": (),
    "enterprise-managed": ("client_id", "idp", "idp_client_id"),
}
_EITHER: dict[GrantName, tuple[tuple[str, str], ...]] = {
    "sign-in": (),
    "client-credentials": (("client_secret", "client_key"),),
    "workload-identity": (("token_file", "platform"),),
    "enterprise-managed": (("token_file", "idp_refresh_token"),),
}
"""Members of which a grant takes exactly one."""

_UNSAID = Auth()


def auth_faults(auth: Auth, place: Place) -> Iterator[ConfigError]:
    """What in an `auth` does not belong together; no value of it is quoted."""
    for name in Auth.__struct_fields__:
        if getattr(auth, name) != getattr(_UNSAID, name) and name not in _OF_GRANT[auth.grant] | _OF_ALL:
            yield place.at(name).fault(f"says nothing for `grant: {auth.grant}`: remove it")
    for name in _NEEDED[auth.grant]:
        if getattr(auth, name) is None:
            yield place.fault(f"needs `{name}` for `grant: {auth.grant}`")
    for one, other in _EITHER[auth.grant]:
        if (getattr(auth, one) is None) == (getattr(auth, other) is None):
            yield place.fault(f"needs either `{one}` or `{other}` for `grant: {auth.grant}`")
    if auth.client_id is None and (auth.client_secret or auth.client_key):
        yield place.fault("has a secret or key of a client and no `client_id`: give both")
    if auth.grant == "sign-in" and auth.client_secret and auth.client_key:
        yield place.fault("has a `client_secret` and a `client_key`: keep one")
    if auth.audience is not None and auth.issuer is None:
        yield place.at("audience").fault("needs the `issuer` that was agreed on it with")


def read_auth(value: object, place: Place) -> Auth:
    """The `auth` of an entry: `sign-in`, `oauth` as some clients write it, or its members. Raises `ConfigError`."""
    if value in ("sign-in", "oauth"):
        return Auth()
    if not isinstance(value, dict):
        raise place.fault("is no way to sign in; `sign-in`, or an object with `grant` and its members, is accepted")
    unknown = value.keys() - set(Auth.__struct_fields__)
    if unknown:
        raise place.at(min(unknown)).fault(f"is not known; accepted are {', '.join(Auth.__struct_fields__)}")
    try:
        auth = msgspec.convert({name: one for name, one in value.items() if one is not None}, Auth)
    except msgspec.ValidationError as error:
        # What msgspec says of a word that is not one of several repeats it.
        said, _, where = str(error).partition(" - at ")
        said = "is not one of the words there are" if "'" in said else said
        raise place.fault(f"{said} at {where.strip('`$.') or 'the top'}") from None
    for fault in auth_faults(auth, place):
        raise fault
    return auth


def resolved(auth: Auth, expand: Callable[[str, str], str], workspace: Path) -> Auth:
    """With references replaced.

    Parameters:
        expand: replaces references in a text; the second argument is the member, for messages.
        workspace: where a relative `token_file` starts.
    """
    changed: dict[str, object] = {}
    for name in Auth.__struct_fields__:
        value = getattr(auth, name)
        if isinstance(value, str):
            changed[name] = expand(value, f"auth.{name}")
        elif isinstance(value, tuple):
            changed[name] = tuple(expand(one, f"auth.{name}[{index}]") for index, one in enumerate(value))
    made = msgspec.structs.replace(auth, **changed)
    if made.token_file is None:
        return made
    return msgspec.structs.replace(made, token_file=str(workspace / Path(made.token_file).expanduser()))
