"""Taking tokens back.

What it is for: who signs out wants that nobody can use what was issued (RFC 7009).
What may live here: that request. What may not: where sign-ins are kept.
"""

from trunkline.auth.addresses import shown
from trunkline.auth.client_authentication import client_of
from trunkline.auth.doors import Proven
from trunkline.auth.fetching import Fetcher
from trunkline.auth.metadata import find_server
from trunkline.auth.tokens import Kept
from trunkline.errors import SignInError


async def revoke(kept: Kept, fetcher: Fetcher) -> bool:
    """Ask the issuer to take back the tokens of a sign-in; whether it did. Many issuers cannot.

    The refresh token is named, where there is one: with it go the access tokens that came of it (RFC 7009, 2.1).

    Raises `SignInError` where the issuer refuses, `TransportError` when it cannot be reached, `ConfigError` for a
    client whose key is not kept.
    """
    if kept.tokens is None:
        return False
    metadata = await find_server(fetcher, kept.issuer)
    if metadata.revocation_endpoint is None:
        return False
    token, hint = kept.tokens.refresh_token, "refresh_token"
    if token is None:
        token, hint = kept.tokens.access_token, "access_token"
    proven = Proven() if kept.registration is None else await client_of(kept.registration).prove(metadata)
    form = {"token": token, "token_type_hint": hint, **proven.form}
    answer = await fetcher.post(metadata.revocation_endpoint, form, proven.headers)
    if answer.status != 200:
        raise SignInError(f"{shown(kept.issuer)} did not take the tokens back (status {answer.status})")
    return True
