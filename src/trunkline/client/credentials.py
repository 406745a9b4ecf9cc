"""How a client signs in.

What it is for: whatever was given as `auth`, as the credentials an HTTP channel asks.
What may live here: that choice. What may not: tokens, flows.
"""

from collections.abc import Mapping

from trunkline.auth.doors import Credentials, Grant
from trunkline.client.targets import HttpTarget, Target
from trunkline.errors import ConfigError


def credentials(
    auth: Credentials | Grant | str | None, target: Target, headers: Mapping[str, str] | None = None
) -> Credentials | None:
    """The credentials of a grant, of a token, or as they are; what OAuth needs is imported only where it is used.

    Raises `ConfigError` for a target that nobody signs in to (authorization, Protocol Requirements), and where the
    headers say already who calls.

        credentials(SignIn(), HttpTarget("https://mcp.example.com/mcp"))
    """
    if auth is None:
        return None
    if not isinstance(target, HttpTarget):
        raise ConfigError(f"{target.name} is not reached over HTTP: `auth` is of no use; give secrets with `env`")
    if any(name.lower() == "authorization" for name in headers or ()):
        raise ConfigError("Give either `auth` or an Authorization header: a request carries one of them")
    if isinstance(auth, str):
        from trunkline.auth.given import StaticToken

        return StaticToken(auth)
    if isinstance(auth, Credentials):
        return auth
    from trunkline.auth.oauth import OAuth

    return OAuth(auth)
