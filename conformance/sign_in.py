"""How the client of the suite signs in: a person who agrees to everything, in no time."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp

from trunkline.auth.doors import Credentials
from trunkline.auth.keeping import MemoryStore
from trunkline.auth.oauth import OAuth
from trunkline.auth.signin import SignIn

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
    """What the scenario's server is met with; none for those that want no sign-in."""
    if not scenario.startswith("auth/"):
        return None
    grant = SignIn(
        client_id=context.get("client_id"),
        client_secret=context.get("client_secret"),
        document=DOCUMENT,
        agent=Person(),
    )
    return OAuth(grant, store=MemoryStore())
