"""Which of our own environment variables a child process gets.

What it is for: one list, as data, of what is inherited; everything else stays with us.
What may live here: that list and the function that applies it.
What may not: reading configuration, expanding `${...}`, anything that starts a process.
"""

from collections.abc import Mapping

INHERITED = frozenset(
    {
        *("HOME", "LOGNAME", "USER", "PATH", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    }
)
"""Inherited as they are, in upper or (proxies) lower case: who and where one is, and how the network is reached."""

INHERITED_PREFIXES = ("LC_", "XDG_", "PIP_", "UV_", "NPM_CONFIG_", "npm_config_")
"""Inherited families: language, base directories, and the configuration of the package managers that start servers."""

WITHHELD_PREFIXES = ("UV_PUBLISH_",)
"""Exceptions to the families: credentials no server needs."""


def child_environment(own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: the inherited part of `own`, then `given` over it.

    Parameters:
        own: our environment; only `INHERITED` and `INHERITED_PREFIXES` are handed on, so that tokens of ours are not.
        given: what the configuration sets for this child.

    Example:
        child_environment({"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "x"}, {"MODE": "fast"})
        # {"PATH": "/bin", "MODE": "fast"}
    """
    kept = {name: value for name, value in own.items() if _inherited(name) and not value.startswith("()")}
    return {**kept, **given}


def _inherited(name: str) -> bool:
    if name.startswith(INHERITED_PREFIXES):
        return not name.startswith(WITHHELD_PREFIXES)
    return name in INHERITED or (name.endswith("_proxy") and name.upper() in INHERITED)
