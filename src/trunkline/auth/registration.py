"""Becoming known to an authorization server.

What it is for: a client id, in the order of the standard: given, by metadata document, by dynamic registration
(client-registration).
What may live here: that order, and dynamic registration (RFC 7591). What may not: where registrations are kept, proving
at the token endpoint to be the client.
"""

from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from trunkline.auth.addresses import is_loopback, shown
from trunkline.auth.documents import ServerMetadata, read
from trunkline.auth.fetching import Fetcher
from trunkline.auth.tokens import Registration
from trunkline.auth.tokens import shown as told
from trunkline.errors import ConfigError, InvalidAnswer, SignInError, SignInRefused

_METHODS = ("none", "client_secret_post", "client_secret_basic")
"""How a client may authenticate that registers itself, the most wanted first: what has no secret can lose none.

OAuth 2.1, 2.4.1, has every server take the secret in the body. Of those that list Basic, some refuse it without a
`client_id` in the body, the official SDK among them, and others refuse it with one.
"""


class ClientMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client says of itself: sent to register, or published as a client ID metadata document.

    Members are those of RFC 7591, 2, OpenID Connect Registration 1.0, 2, and RFC 9449, 5.2.
    """

    client_id: str | None = None
    client_name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    token_endpoint_auth_method: str = ""
    application_type: Literal["native", "web", ""] = ""
    dpop_bound_access_tokens: bool = False


class _Registered(msgspec.Struct):
    client_id: str
    client_secret: str | None = None
    client_secret_expires_at: float = 0
    token_endpoint_auth_method: str | None = None
    redirect_uris: tuple[str, ...] | None = None


class _Refusal(msgspec.Struct):
    error: str
    error_description: str = ""


def check_document_address(url: str) -> None:
    """Raises `ConfigError` for what cannot be a client id that is the address of a metadata document (CIMD, 3)."""
    parts = urlsplit(url)
    dots = any(segment in (".", "..") for segment in parts.path.split("/"))
    if (
        parts.scheme != "https"
        or not parts.hostname
        or len(parts.path) < 2
        or parts.fragment
        or "@" in parts.netloc
        or dots
    ):
        raise ConfigError(
            f"{shown(url)!r} cannot be the address of a client's metadata document: it needs https://, a path without "
            "dots, no user info and no fragment"
        )


def by_document(metadata: ServerMetadata, url: str | None) -> Registration | None:
    """The registration of a client whose id is the address of its metadata document, where the server takes such."""
    if url is None or not metadata.client_id_metadata_document_supported:
        return None
    return Registration(client_id=url, method="none", source="document")


async def register(
    fetcher: Fetcher, metadata: ServerMetadata, name: str, redirect_uris: Sequence[str], *, dpop: bool = False
) -> Registration:
    """Register dynamically (RFC 7591).

    Parameters:
        name: what people see when they are asked.
        redirect_uris: where they are sent back; one on loopback makes this a native application.
        dpop: tokens are to be bound to a key.

    Raises `SignInRefused` with what the server says, `SignInError` where it registers nobody.
    """
    if metadata.registration_endpoint is None:
        raise SignInError(
            f"The authorization server {shown(metadata.issuer)} has to know this client, and takes neither a metadata "
            "document nor registrations: register there by hand and give the client id"
        )
    method = auth_method(metadata)
    native = all(is_loopback(urlsplit(uri).hostname or "") for uri in redirect_uris)
    wanted = ClientMetadata(
        client_name=name,
        redirect_uris=tuple(redirect_uris),
        grant_types=("authorization_code", "refresh_token"),
        response_types=("code",),
        token_endpoint_auth_method=method,
        # Required (Application Type and Redirect URI Constraints): left out it would be "web", without loopback.
        application_type="native" if native else "web",
        dpop_bound_access_tokens=dpop,
    )
    answer = await fetcher.post_json(metadata.registration_endpoint, wanted)
    what = f"The registration at {shown(metadata.issuer)}"
    if answer.status not in (200, 201):
        raise _refused(what, answer.status, answer.body)
    made = read(_Registered, answer.body, what)
    # RFC 7591, 2: a server that leaves the method out means client_secret_basic; without a secret it cannot.
    implied = method if made.client_secret is None or method != "none" else "client_secret_basic"
    return Registration(
        client_id=made.client_id,
        client_secret=made.client_secret,
        method=made.token_endpoint_auth_method or implied,
        source="registered",
        secret_expires_at=made.client_secret_expires_at or None,
        redirect_uris=made.redirect_uris or tuple(redirect_uris),
    )


def auth_method(metadata: ServerMetadata) -> str:
    """How a client that registers itself will authenticate at the token endpoint.

    A server that does not say takes client_secret_basic (RFC 8414, 2).
    """
    supported = metadata.token_endpoint_auth_methods_supported or ("client_secret_basic",)
    for method in _METHODS:
        if method in supported:
            return method
    raise SignInError(
        f"The authorization server {shown(metadata.issuer)} takes clients only by {told(', '.join(supported))}: "
        "register there by hand and give the client id with its key"
    )


def forgotten(refusal: SignInRefused, registration: Registration | None) -> bool:
    """Whether a server no longer knows a client that had registered itself (RFC 6749, 5.2)."""
    unknown = refusal.error in ("invalid_client", "unauthorized_client")
    return unknown and registration is not None and registration.source == "registered"


def _refused(what: str, status: int, body: bytes) -> SignInError:
    try:
        refusal = read(_Refusal, body, what)
    except InvalidAnswer:
        return SignInError(f"{what} was answered with {status}")
    said = f": {told(refusal.error_description)}" if refusal.error_description else ""
    return SignInRefused(f"{what} was refused with {told(refusal.error, 60)}{said}", told(refusal.error, 60), status)
