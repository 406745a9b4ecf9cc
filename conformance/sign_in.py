"""How the client of the suite signs in: a person who agrees to everything, in no time."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp

from trunkline.auth.addresses import AddressRules
from trunkline.auth.client_authentication import PublicClient, SecretClient
from trunkline.auth.client_credentials import ClientCredentials
from trunkline.auth.doors import Credentials, Grant
from trunkline.auth.enterprise import EnterpriseManaged, IdentityProvider
from trunkline.auth.fetching import Fetcher
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn
from trunkline.auth.workload import WorkloadIdentity
from trunkline.auth.workload_tokens import TokenVariable

# Where the suite says that the client's metadata document is; it is not fetched.
DOCUMENT = "https://conformance-test.local/client-metadata.json"
REDIRECT = "http://127.0.0.1:33418/callback"


class Person:
    """Opens the page and comes back at once; a browser would only add a window to that."""

    redirect_uri = REDIRECT

    @asynccontextmanager
    async def visit(self, redirect_uri: str | None) -> AsyncIterator["Person"]:
        """There is nothing to get ready."""
        yield self

    async def go(self, url: str, is_answer: Callable[[str], bool]) -> str:
        """Where the page sends its visitor."""
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
            return response.headers["Location"]


def credentials(scenario: str, context: Mapping[str, str]) -> Credentials | None:
    """What the scenario's server is met with; None for those that want no sign-in."""
    if not scenario.startswith("auth/"):
        return None
    return OAuth(_grant(scenario.removeprefix("auth/"), context), store=MemoryStore())


def _grant(scenario: str, context: Mapping[str, str]) -> Grant:
    match scenario:
        case "client-credentials-basic":
            return ClientCredentials(context["client_id"], context["client_secret"])
        case "client-credentials-jwt":
            return ClientCredentials(context["client_id"], key=context["private_key_pem"])
        case "enterprise-managed-authorization":
            provider = IdentityProvider(
                context["idp_issuer"],
                PublicClient(context["idp_client_id"]),
                token_endpoint=context["idp_token_endpoint"],
                fetcher=Fetcher(AddressRules.around(context["idp_issuer"])),
            )
            client = SecretClient(context["client_id"], context["client_secret"])
            return EnterpriseManaged(provider, id_token=context["idp_id_token"], client=client)
        case "wif-jwt-bearer":
            tokens = TokenVariable("WORKLOAD_TOKEN", {"WORKLOAD_TOKEN": context["valid_jwt"]})
            return WorkloadIdentity(tokens)
    return SignIn(
        client_id=context.get("client_id"),
        client_secret=context.get("client_secret"),
        document=DOCUMENT,
        agent=Person(),
    )
