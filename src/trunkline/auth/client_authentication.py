"""How a client proves at a token endpoint who it is.

What it is for: no proof, a secret in the Basic header or the body, a signed assertion; chosen by what the server takes.
What may live here: these methods. What may not: how assertions are signed, see `assertions`; how a client got its id.
"""

import base64
from urllib.parse import quote

import msgspec

from trunkline.auth.assertions import Signer
from trunkline.auth.documents import ServerMetadata
from trunkline.auth.doors import ClientAuthentication, Proven
from trunkline.auth.tokens import Registration
from trunkline.errors import ConfigError, SignInError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

_DEFAULT = ("client_secret_basic",)
"""What a server takes that does not say (RFC 8414, 2)."""


class PublicClient(msgspec.Struct, frozen=True):
    """A client without a secret: it only says who it is (RFC 6749, 3.2.1)."""

    client_id: str

    async def prove(self, metadata: ServerMetadata) -> Proven:
        """The client id."""
        return Proven({"client_id": self.client_id})


class SecretClient(msgspec.Struct, frozen=True):
    """A client with a secret.

    Parameters:
        client_id, secret: as the authorization server knows them.
        method: `client_secret_basic` or `client_secret_post`; None takes what the server lists, Basic first.

        SecretClient("reports", os.environ["REPORTS_SECRET"])
    """

    client_id: str
    secret: str
    method: str | None = None

    async def prove(self, metadata: ServerMetadata) -> Proven:
        """The secret. Raises `SignInError` where the server takes none, before it is sent."""
        method = self.method or self._method(metadata)
        if method == "client_secret_post":
            return Proven({"client_id": self.client_id, "client_secret": self.secret})
        # Both are form-encoded first (RFC 6749, 2.3.1); a blank as %20 is read alike by those who only decode percents.
        pair = f"{quote(self.client_id, safe='')}:{quote(self.secret, safe='')}"
        return Proven({}, (("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),))

    def _method(self, metadata: ServerMetadata) -> str:
        listed = metadata.token_endpoint_auth_methods_supported or _DEFAULT
        for method in ("client_secret_basic", "client_secret_post"):
            if method in listed:
                return method
        raise SignInError(
            f"The authorization server {metadata.issuer} takes no client secret; it takes {', '.join(listed)}"
        )

    def __repr__(self) -> str:
        return f"<SecretClient {self.client_id}>"


class KeyClient(msgspec.Struct, frozen=True):
    """A client with a key: each request carries a short assertion that it signed (`private_key_jwt`, RFC 7523, 2.2).

    Parameters:
        client_id: as the authorization server knows it.
        signer: holds the private key.
        audience: whom assertions are for; None means the issuer, which is what new servers want (the draft that
            renews RFC 7523 allows nothing else). Some old ones insist on the address of their token endpoint.

        KeyClient("reports", Signer.from_key(Path("reports.pem").read_text()))
    """

    client_id: str
    signer: Signer
    audience: str | None = None

    async def prove(self, metadata: ServerMetadata) -> Proven:
        """A new assertion; `client_id` stays out, the assertion's subject tells it."""
        accepted = metadata.token_endpoint_auth_signing_alg_values_supported
        assertion = self.signer.assertion(self.client_id, self.audience or metadata.issuer, accepted)
        return Proven({"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion})


def client_of(registration: Registration) -> ClientAuthentication:
    """How a registered client proves itself: with its secret, or not at all. Raises `ConfigError` for other methods."""
    if registration.method not in (None, "none", "client_secret_basic", "client_secret_post"):
        raise ConfigError(
            f"The client {registration.client_id} authenticates with {registration.method}, which needs more than is "
            "kept of it; give the client's key as KeyClient"
        )
    if registration.client_secret is None or registration.method == "none":
        return PublicClient(registration.client_id)
    return SecretClient(registration.client_id, registration.client_secret, registration.method)
