"""Credentials of one authorization server.

What it is for: what one authorization server knows a client by is shown to no other (Authorization Server Binding).
What may live here: that rule. What may not: where the issuer of a server is found.
"""

from trunkline.auth.addresses import shown
from trunkline.errors import SignInError


def bound(known: str | None, found: str) -> str:
    """The issuer that credentials are for: the one they are known to be for, else the first that is found.

    Raises `SignInError` where these differ, byte for byte.

        self.issuer = bound(self.issuer, endpoint.issuer)
    """
    if known not in (None, found):
        raise SignInError(
            f"The credentials are for {shown(known or '')}, and the server wants tokens of {shown(found)}: they are "
            "not shown to it; get credentials there, and give them with their issuer"
        )
    return found
