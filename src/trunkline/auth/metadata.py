"""Finding out who issues tokens for a server.

What it is for: from the address of an MCP server to the metadata of its authorization server, in the order of the
standard (authorization-server-discovery), and with what was found checked against what it was found for.
What may live here: that order and those checks. What may not: what is done with the metadata, requests themselves.
"""

import logging

from yarl import URL

from trunkline.auth.addresses import same_origin, shown
from trunkline.auth.documents import ResourceMetadata, ServerMetadata
from trunkline.auth.fetching import Fetched, Fetcher
from trunkline.errors import AddressRefused, InvalidAnswer, SignInError, TransportError

_log = logging.getLogger("trunkline.auth")

_RESOURCE = "/.well-known/oauth-protected-resource"
_OAUTH = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_OLD_REVISION = (("MCP-Protocol-Version", "2025-03-26"),)


async def find_resource(fetcher: Fetcher, server: str, pointer: str | None) -> ResourceMetadata | None:
    """The protected resource metadata of a server; None where it has none (2025-03-26).

    Parameters:
        server: the address of its MCP endpoint.
        pointer: `resource_metadata` of its challenge, which comes before the well-known addresses. Where nothing can
            be had from it, they are tried all the same: proxies that end TLS make servers name http addresses.

    Raises `SignInError` when the metadata is that of another resource, `TransportError` when the server fails.
    """
    failure: TransportError | None = None
    if pointer is not None:
        try:
            return _of_server((await fetcher.get(pointer)).read(ResourceMetadata), server)
        except SignInError:
            raise
        except TransportError as error:
            failure = error
            _log.warning("The metadata %s points to cannot be had, its well-known address is tried: %s", server, error)
    for address in resource_addresses(server):
        found = await fetcher.get(address)
        if _is_there(found, address):
            try:
                return _of_server(found.read(ResourceMetadata), server)
            except InvalidAnswer as error:
                failure = failure or error
    if failure is not None:
        raise failure
    return None


def resource_addresses(server: str) -> list[str]:
    """Where protected resource metadata is looked for: at the endpoint's path, then at the root (RFC 9728, 3.1)."""
    url = URL(server)
    path = url.raw_path.rstrip("/")
    root = f"{url.origin()}{_RESOURCE}"
    return [root + path, root] if path else [root]


def covers(resource: str, server: str) -> bool:
    """Whether a resource identifier is that of a server, or of a path above it at the same origin.

    RFC 9728, 3.3, wants them identical. Many servers name their origin, which the standard counts among the canonical
    URIs (Canonical Server URI), so what contains the endpoint is taken; nothing beside it, and no other origin.
    """
    if not same_origin(resource, server) or "#" in resource:
        return False
    outer, inner = URL(resource), URL(server)
    if outer.raw_query_string:
        return outer == inner
    path = outer.raw_path.rstrip("/")
    return inner.raw_path.rstrip("/") == path or inner.raw_path.startswith(path + "/")


def canonical(server: str) -> str:
    """The canonical URI of a server: scheme and host in lower case, no fragment, no slash at the end."""
    url = URL(server).with_fragment(None).with_user(None)
    text = str(url)
    return text if url.raw_query_string else text.rstrip("/")


async def find_server(fetcher: Fetcher, issuer: str) -> ServerMetadata:
    """The metadata of an authorization server (RFC 8414, 3; OpenID Connect Discovery, 4).

    Only metadata whose `issuer` is the same, byte for byte, is taken: another would be somebody else's, or nobody's.

    Raises `SignInError` when there is none, `TransportError` when the server cannot be reached.
    """
    foreign: str | None = None
    for address in server_addresses(issuer):
        found = await fetcher.get(address)
        if not _is_there(found, address):
            continue
        metadata = found.read(ServerMetadata)
        if metadata.issuer == issuer:
            return metadata
        foreign = metadata.issuer
    if foreign is not None:
        raise SignInError(
            f"The metadata of the authorization server {shown(issuer)} says that it is of {shown(foreign)}, so it is "
            "not used: its operator has to make them the same, letter for letter"
        )
    raise SignInError(f"The authorization server {shown(issuer)} has no metadata at its well-known addresses")


def server_addresses(issuer: str) -> list[str]:
    """Where the metadata of an issuer is looked for, in order (Authorization Server Metadata Discovery)."""
    try:
        url = URL(issuer)
        origin, path = str(url.origin()), url.raw_path.rstrip("/")
    except ValueError:
        raise AddressRefused(f"{shown(issuer)!r} is not the address of an authorization server") from None
    if url.raw_query_string or "#" in issuer:
        raise AddressRefused(
            f"{shown(issuer)!r} has a query or a fragment, which an issuer must not have (RFC 8414, 2)"
        )
    if not path:
        return [origin + _OAUTH, origin + _OPENID]
    return [origin + _OAUTH + path, origin + _OPENID + path, origin + path + _OPENID]


async def find_old_server(fetcher: Fetcher, server: str) -> ServerMetadata:
    """The authorization server of an MCP server without resource metadata: it is its own (2025-03-26, 2.3).

    Its metadata is at the root, and where there is none its endpoints have fixed names (2.3.3).
    """
    base = str(URL(server).origin())
    address = base + _OAUTH
    found = await fetcher.get(address, _OLD_REVISION)
    if _is_there(found, address):
        metadata = found.read(ServerMetadata)
        if metadata.issuer.rstrip("/") != base:
            raise SignInError(
                f"{shown(server)} names no authorization server, and the metadata at its own address is of "
                f"{shown(metadata.issuer)}: it is not used"
            )
        return metadata
    return ServerMetadata(
        issuer=base,
        authorization_endpoint=f"{base}/authorize",
        token_endpoint=f"{base}/token",
        registration_endpoint=f"{base}/register",
        # There is no metadata to say so: 2025-03-26 demands it of every server.
        code_challenge_methods_supported=("S256",),
    )


def _of_server(metadata: ResourceMetadata, server: str) -> ResourceMetadata:
    if not covers(metadata.resource, server):
        raise SignInError(
            f"The resource metadata of {shown(server)} is of {shown(metadata.resource)}: tokens for that are not asked "
            "for here. Its operator has to set its external address"
        )
    if not metadata.authorization_servers:
        raise SignInError(f"The resource metadata of {shown(server)} names no authorization server")
    return metadata


def _is_there(found: Fetched, address: str) -> bool:
    """Whether a well-known address has a document; many servers answer anything with a page or with 401."""
    if found.status >= 500:
        raise TransportError(f"{shown(address)} answered {found.status}")
    return found.status == 200 and found.body.lstrip()[:1] == b"{"
