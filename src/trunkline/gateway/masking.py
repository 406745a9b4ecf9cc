"""Secrets we gave an upstream, taken out of what comes back.

What it is for: what a process writes and what servers say went wrong is shown and sent on, without the secrets in it.
What may live here: replacing texts. What may not: knowing which texts are secret (that is `portable.interpolate`).
"""

from collections.abc import Callable, Iterable

from trunkline.errors import RemoteError, TrunklineError


class Mask:
    """Writes `***` for secrets.

    Parameters:
        secrets: what must not be shown.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one may begin like another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def hide(self, error: TrunklineError) -> None:
        """Take the secrets out of an error."""
        error.message = self.text(error.message)
        if isinstance(error, RemoteError) and error.data is not None and self._secrets:
            error.data = mapped(error.data, self.text)


def mapped(value: object, change: Callable[[str], str]) -> object:
    """A JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): mapped(item, change) for key, item in value.items()}
    return [mapped(item, change) for item in value] if isinstance(value, list) else value
