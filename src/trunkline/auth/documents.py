"""What resources and authorization servers publish about themselves.

What it is for: the protected resource metadata (RFC 9728) and the authorization server metadata (RFC 8414, OpenID
Connect Discovery) as records.
What may live here: the records, reading one and checking what it must say. What may not: where documents are found,
requests.
"""

from typing import TypeVar

import msgspec

from trunkline.errors import InvalidAnswer

T = TypeVar("T", bound=msgspec.Struct)


class ResourceMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of a protected resource (RFC 9728, 2; authorization-server-discovery, Protected Resource Metadata).

    Parameters:
        resource: its identifier, which tokens are asked for.
        authorization_servers: issuers of tokens it takes; MCP wants one at least.
        scopes_supported: the smallest set that makes the resource useful, where it says so.
        dpop_signing_alg_values_supported, dpop_bound_access_tokens_required: whether tokens are bound to a key
            (RFC 9449).
    """

    resource: str
    authorization_servers: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] | None = None
    bearer_methods_supported: tuple[str, ...] | None = None
    resource_name: str | None = None
    resource_documentation: str | None = None
    jwks_uri: str | None = None
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    dpop_bound_access_tokens_required: bool = False


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of an authorization server (RFC 8414, 2); a member that it leaves out is None.

    Parameters:
        issuer: its identifier; compared byte for byte, never normalised.
        token_endpoint, authorization_endpoint, registration_endpoint, ...: where requests go.
        others: as RFC 8414, RFC 9207, RFC 9449, OpenID Connect and the drafts for client ID metadata documents and
            identity assertion grants name them.
    """

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    scopes_supported: tuple[str, ...] | None = None
    response_types_supported: tuple[str, ...] | None = None
    grant_types_supported: tuple[str, ...] | None = None
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] | None = None
    introspection_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    authorization_response_iss_parameter_supported: bool = False
    client_id_metadata_document_supported: bool = False
    dpop_signing_alg_values_supported: tuple[str, ...] | None = None
    authorization_grant_profiles_supported: tuple[str, ...] | None = None


def read(kind: type[T], body: bytes, what: str) -> T:
    """Read a document; unknown members are ignored, those with the value null count as left out.

    Parameters:
        body: what was fetched. what: names the document in errors.

    Raises `InvalidAnswer`, which repeats nothing of a document that is not one.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidAnswer(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidAnswer(f"{what} is not a JSON object")
    try:
        return msgspec.convert({key: member for key, member in value.items() if member is not None}, kind)
    except msgspec.ValidationError as error:
        raise InvalidAnswer(f"{what} is not as it must be: {error}") from None
