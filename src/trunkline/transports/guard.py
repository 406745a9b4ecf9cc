"""Who may reach the endpoint at all: hosts, origins, CORS, and the URL the outside knows us by.

What it is for: DNS rebinding and cross-site requests end here (Streamable HTTP, Security & Endpoint).
What may live here: decisions from the scope and headers of one request.
What may not: authentication.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import quote, urlsplit

from trunkline.errors import ConfigError, Refused
from trunkline.transports.asgi import Headers, Scope

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_EXPOSED = b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, DPoP-Nonce"
_MAX_REMEMBERED = 1024


class Guard:
    """Checks Host and Origin, on by default.

    Parameters:
        allowed_hosts: names the Host header may have, with or without port; `*` allows all. Loopback names and the
            host of `public_url` always are.
        allowed_origins: origins of web pages that may call; `*` allows all. Loopback origins and the origin of
            `public_url` always are.
        public_url: the URL clients use, when it differs from what the server sees.
        trusted_proxies: addresses or networks whose `X-Forwarded-*` headers are believed.
        mounted: `public_url` ends with the path the application is mounted under, if it is.

    Raises `ConfigError` for a URL or network that is none.
    """

    def __init__(
        self,
        *,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        public_url: str | None = None,
        trusted_proxies: Sequence[str] = (),
        mounted: bool = False,
    ) -> None:
        self._mounted = mounted
        self._hosts = {*_LOOPBACK, *(host.lower() for host in allowed_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}
        self._public = _parse_public(public_url) if public_url else None
        if self._public is not None:
            self._hosts.add(self._public[1])
            self._origins.add(f"{self._public[0]}://{self._public[1]}")
        try:
            self._proxies = [ip_network(proxy, strict=False) for proxy in trusted_proxies]
        except ValueError as error:
            raise ConfigError(f"trusted_proxies: {error}") from None
        self._good_hosts: set[bytes] = set()

    @property
    def known(self) -> bool:
        """Whether the URL clients use is known before they come: where proxies tell it, only with `public_url`."""
        return self._public is not None or not self._proxies

    def check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Headers:
        """The CORS headers to answer with. Raises `Refused`: 421 for a foreign Host, 403 for a foreign Origin."""
        host = headers.get(b"host", b"")
        if host not in self._good_hosts:
            self._check_host(host)
        origin = headers.get(b"origin")
        return [] if origin is None else self._check_origin(origin)

    def check_host(self, headers: Mapping[bytes, bytes]) -> None:
        """For what web pages of any origin may read. Raises `Refused` (421) for a foreign Host."""
        self._check_host(headers.get(b"host", b""))

    def preflight(self, headers: Mapping[bytes, bytes]) -> Headers:
        """The headers that answer an OPTIONS request of an allowed origin."""
        wanted = headers.get(b"access-control-request-headers", b"content-type")
        return [
            (b"access-control-allow-methods", b"POST, GET, DELETE, OPTIONS"),
            (b"access-control-allow-headers", wanted if wanted.isascii() else b"content-type"),
            (b"access-control-max-age", b"600"),
        ]

    def external_url(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str:
        """The URL of this request as its client wrote it, without the query."""
        path = quoted(scope.get("path", "/"))
        if self._public is not None:
            if self._mounted:
                path = path.removeprefix(quoted(scope.get("root_path", "")))
            return f"{self._public[0]}://{self._public[1]}{self._public[2]}{path}"
        scheme = scope.get("scheme", "http")
        host = headers.get(b"host", b"localhost").decode("latin-1")
        if self._proxies and self._from_proxy(scope):
            scheme = _first(headers, b"x-forwarded-proto") or scheme
            host = _first(headers, b"x-forwarded-host") or host
        return f"{scheme}://{host}{path}"

    def _check_host(self, host: bytes) -> None:
        text = host.decode("latin-1").lower()
        name = text if text.endswith("]") else text.rpartition(":")[0] or text
        if "*" in self._hosts or text in self._hosts or name in self._hosts:
            if len(self._good_hosts) < _MAX_REMEMBERED:
                self._good_hosts.add(host)
            return
        raise Refused(421, f"The host {text[:100]!r} is not served here; add it to allowed_hosts or set public_url")

    def _check_origin(self, origin: bytes) -> Headers:
        text = origin.decode("latin-1").lower()
        if not (_is_loopback(text) or "*" in self._origins or text in self._origins):
            raise Refused(403, f"The origin {text[:100]!r} may not call this endpoint; add it to allowed_origins")
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]

    def _from_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        if not client:
            return False
        try:
            address = ip_address(client[0])
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


def public_url_of(endpoint: str, path: str) -> str | None:
    """What stands before its path in the URL of an endpoint; None for anything else.

    public_url_of("https://example.com/tools/mcp", "/mcp")  # "https://example.com/tools"
    """
    parts = urlsplit(endpoint)
    plain = parts.scheme in ("http", "https") and parts.netloc and not parts.query and not parts.fragment
    return endpoint.removesuffix(path) if plain and endpoint.endswith(path) else None


@lru_cache(maxsize=256)
def quoted(path: str) -> str:
    """A path as it stands in a URL; ASGI has it decoded."""
    return quote(path, safe="/:@!$&'()*+,;=-._~")


def _is_loopback(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    # The parser drops tabs and line ends, so what it understands need not be what was sent.
    # Nor does a browser write user information, with which a foreign host looks like a port of ours.
    if "@" in parts.netloc:
        return False
    return origin.isprintable() and parts.scheme in ("http", "https") and _bare_host(parts.netloc) in _LOOPBACK


def _bare_host(netloc: str) -> str:
    return netloc if netloc.endswith("]") else netloc.rpartition(":")[0] or netloc


def _first(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").split(",")[0].strip()


def _parse_public(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"public_url must look like https://mcp.example.com, not {url!r}")
    return parts.scheme, parts.netloc.lower(), parts.path.rstrip("/")
