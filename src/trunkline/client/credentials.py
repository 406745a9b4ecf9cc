"""How a client signs in.

What it is for: whatever was given as `auth`, as the credentials an HTTP channel asks.
What may live here: that choice. What may not: tokens, flows.
"""

from trunkline.auth.doors import Credentials, Grant


def credentials(auth: Credentials | Grant | str | None) -> Credentials | None:
    """The credentials of a grant, of a token, or as they are; what OAuth needs is imported only where it is used.

    credentials(SignIn())
    """
    if auth is None:
        return None
    if isinstance(auth, str):
        from trunkline.auth.given import StaticToken

        return StaticToken(auth)
    if isinstance(auth, Credentials):
        return auth
    from trunkline.auth.oauth import OAuth

    return OAuth(auth)
