"""The authorization server of one MCP server.

What it is for: whom to ask for tokens, of all that a server names, as long as that holds.
What may live here: that choice, and what of the metadata bears on it. What may not: tokens, where documents are found.
"""

from collections.abc import Iterable

from yarl import URL

from trunkline.auth.addresses import shown
from trunkline.auth.challenges import Challenge, find
from trunkline.auth.documents import ResourceMetadata, ServerMetadata
from trunkline.auth.fetching import Fetcher
from trunkline.auth.metadata import find_old_server, find_resource, find_server
from trunkline.errors import SignInError, TransportError


class Authority:
    """Who issues tokens for a server.

    Parameters:
        server: the address of its MCP endpoint.
        issuer: the one authorization server that the grant is for; None for any.
    """

    def __init__(self, fetcher: Fetcher, server: str, issuer: str | None) -> None:
        self.fetcher = fetcher
        self._server = server
        self._issuer = issuer
        self._metadata: ServerMetadata | None = None

    async def discovered(
        self, found: Iterable[Challenge], current: str | None
    ) -> tuple[ResourceMetadata | None, ServerMetadata]:
        """Whose tokens the server takes; asked anew at each challenge, since that may change.

        Parameters:
            found: its challenges. current: the issuer that is used already.

        Raises `SignInError` for metadata that must not be used, `TransportError` when nobody can be reached.
        """
        resource = await find_resource(self.fetcher, self._server, find(found, "resource_metadata"))
        if resource is None:
            metadata = await find_old_server(self.fetcher, self._server)
            self._check((metadata.issuer,))
        else:
            self._check(resource.authorization_servers)
            metadata = await self._chosen(resource.authorization_servers, current)
        self._metadata = metadata
        return resource, metadata

    async def metadata_of(self, issuer: str) -> ServerMetadata:
        """What an issuer that was found before says of itself."""
        if self._metadata is None or self._metadata.issuer != issuer:
            try:
                self._metadata = await find_server(self.fetcher, issuer)
            except SignInError:
                if issuer.rstrip("/") != str(URL(self._server).origin()):
                    raise
                self._metadata = await find_old_server(self.fetcher, self._server)
        return self._metadata

    def _check(self, named: tuple[str, ...]) -> None:
        """What a grant holds of one authorization server is for no other (Authorization Server Binding)."""
        if self._issuer is not None and self._issuer not in named:
            raise SignInError(
                f"{shown(self._server)} takes tokens of {shown(', '.join(named))}, and the client is known to "
                f"{shown(self._issuer)}: get credentials there, and give them with their issuer"
            )

    async def _chosen(self, issuers: tuple[str, ...], current: str | None) -> ServerMetadata:
        """One of several (RFC 9728, 7.6): the grant's, the one that is used already, else the first that answers."""
        if self._issuer is not None:
            issuers = (self._issuer,)
        elif current in issuers:
            issuers = (current, *(issuer for issuer in issuers if issuer != current))
        failure: TransportError | None = None
        for issuer in issuers:
            try:
                return await find_server(self.fetcher, issuer)
            except TransportError as error:
                failure = failure or error
        assert failure is not None
        raise failure


def offers_binding(metadata: ServerMetadata, resource: ResourceMetadata | None, found: Iterable[Challenge]) -> bool:
    """Whether tokens can be bound to a key: the issuer does it, and the server says that it looks (RFC 9449, 5.1, 7.1).

    A server says so in a challenge, or in its metadata (RFC 9728, 2).
    """
    if "ES256" not in (metadata.dpop_signing_alg_values_supported or ()):
        return False
    if any(challenge.scheme == "dpop" for challenge in found):
        return True
    return resource is not None and (
        resource.dpop_bound_access_tokens_required or resource.dpop_signing_alg_values_supported is not None
    )
