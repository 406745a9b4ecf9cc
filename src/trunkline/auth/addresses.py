"""Which addresses of others are requested.

What it is for: metadata names addresses, and its author could name ones that only this machine reaches (server-side
request forgery). These are the rules for all of them.
What may live here: the rules and their reasons. What may not: requests.
"""

import ipaddress
from collections.abc import Iterable
from typing import Self

import msgspec
from yarl import URL

from trunkline.errors import AddressRefused, ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRules(msgspec.Struct, frozen=True, kw_only=True):
    """What may be requested: `https` at public addresses, and what is allowed beyond.

    Parameters:
        networks: address ranges that are allowed though they are not public.
        hosts: names that are allowed whatever their address, over `https`.
        origins: `scheme://host:port` that are allowed whatever their scheme and address.
        loopback: this machine itself is allowed, also over `http`: for a server that is on it.

        AddressRules.around("https://mcp.example.com/mcp", allow=["10.0.0.0/8", "http://keycloak:8080"])
    """

    networks: tuple[_Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    loopback: bool = False

    @classmethod
    def around(cls, url: str | None, allow: Iterable[str] = ()) -> Self:
        """The rules for what a server, or its authorization server, names.

        Parameters:
            url: the server, as a person named it. Its own origin is allowed over https, wherever it is, and where it
                is on loopback so is loopback. None where there is no such server.
            allow: address ranges (`10.0.0.0/8`), host names or origins (`http://keycloak:8080`).

        Raises `ConfigError` for an entry of `allow` that is none of these.
        """
        networks: list[_Network] = []
        hosts: set[str] = set()
        origins: set[str] = set()
        for entry in allow:
            _sort(entry, networks, hosts, origins)
        server = _parsed(url) if url else None
        if server is not None and server.scheme == "https":
            origins.add(str(server.origin()))
        return cls(
            networks=tuple(networks),
            hosts=frozenset(hosts),
            origins=frozenset(origins),
            loopback=server is not None and is_loopback(server.host or ""),
        )

    def checked(self, url: str) -> URL:
        """The address as it may be requested; a name still has to be looked up, see `permits`.

        Raises `AddressRefused`: not https, user info, another scheme, not plain ASCII, an address that is not public.
        """
        target = _parsed(url)
        if target is None or target.scheme not in ("https", "http"):
            raise AddressRefused(f"{shown(url)!r} is not an address to send anything to: it needs https:// and a host")
        if target.user is not None or target.password is not None:
            raise AddressRefused(f"{where(target)} has user info in it, so nothing is sent there")
        host = target.host or ""
        if target.scheme == "http" and not self._plain(target, host):
            raise AddressRefused(f"{where(target)} is not https, so nothing is sent there; {_ADVICE}")
        literal = _literal(host)
        if literal is not None and not self.permits(target, literal):
            raise AddressRefused(f"{where(target)} is not a public address, so nothing is sent there; {_ADVICE}")
        return target

    def permits(self, target: URL, address: Address) -> bool:
        """Whether a connection to this address may be made for this request."""
        if str(target.origin()) in self.origins or (target.host or "").lower() in self.hosts:
            return True
        inner = _inner(address)
        if any(inner in network for network in self.networks if network.version == inner.version):
            return True
        if inner.is_loopback:
            return self.loopback
        # Python holds some addresses of groups for global.
        return inner.is_global and not inner.is_multicast

    def _plain(self, target: URL, host: str) -> bool:
        """Whether http will do: nobody else can read along on loopback."""
        return str(target.origin()) in self.origins or (self.loopback and is_loopback(host))


_ADVICE = "if you trust it, allow it with `allow`"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name (RFC 6761, 6.3; RFC 8252, 7.3)."""
    literal = _literal(host)
    if literal is not None:
        return _inner(literal).is_loopback
    return host.lower() == "localhost" or host.lower().endswith(".localhost")


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses have scheme, host and port in common (RFC 6454)."""
    first, second = _parsed(one), _parsed(other)
    return first is not None and second is not None and first.origin() == second.origin()


def where(target: URL) -> str:
    """An address for people: without user info and query, which may hold secrets."""
    return shown(str(target.with_user(None).with_query(None).with_fragment(None)))


def shown(url: str) -> str:
    """The beginning of whatever was given for an address, up to what may hold secrets."""
    plain = url.partition("?")[0].partition("#")[0][:200]
    return "".join(letter if letter.isprintable() else " " for letter in plain)


def _parsed(url: str) -> URL | None:
    """The one parser for checks and requests: two could disagree on what the host is."""
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        return None
    try:
        parsed = URL(url)
        return parsed if parsed.absolute and parsed.host and parsed.port else None
    except ValueError:
        return None


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _inner(address: Address) -> Address:
    """The IPv4 address that is meant by an IPv6 one which only carries it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _sort(entry: str, networks: list[_Network], hosts: set[str], origins: set[str]) -> None:
    try:
        networks.append(ipaddress.ip_network(entry))
    except ValueError:
        target = _parsed(entry if "://" in entry else f"https://{entry}")
        if target is None or target.scheme not in ("http", "https") or target != target.origin() / "":
            raise ConfigError(
                f"{shown(entry)!r} cannot be allowed: write an address range such as 10.0.0.0/8, a host name, or an "
                "origin such as http://keycloak:8080"
            ) from None
        if "://" in entry:
            origins.add(str(target.origin()))
        else:
            hosts.add((target.host or "").lower())
