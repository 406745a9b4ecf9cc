"""A token that somebody else got.

What it is for: use it as it is.
What may live here: that. What may not: getting or refreshing one.
"""

from collections.abc import Mapping

from trunkline.auth.doors import Headers
from trunkline.errors import ConfigError


class StaticToken:
    """One bearer token, sent with every request; for development, and for tokens without an end.

    Parameters:
        token: as it goes into the header; never shown. Raises `ConfigError` for what no header can carry.

        Client("https://mcp.example.com/mcp", auth=StaticToken(os.environ["TOKEN"]))
    """

    def __init__(self, token: str) -> None:
        if not token or not all("\x21" <= letter <= "\x7e" for letter in token):
            raise ConfigError("This token is empty or has blanks or other letters in it that no header can carry")
        self._headers: Headers = (("Authorization", f"Bearer {token}"),)

    def __repr__(self) -> str:
        return "<StaticToken>"

    async def headers(self, method: str, url: str) -> Headers:
        """The token."""
        return self._headers

    def seen(self, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> None:
        """Nothing is learned."""

    async def challenged(self, method: str, url: str, sent: Headers, status: int, headers: Mapping[str, str]) -> bool:
        """There is no other token."""
        return False
