"""An OpenAPI document, parsed within bounds, with its references.

What it is for: the document as plain values, and what a `$ref` in it means; nothing is ever fetched for one.
What may live here: bounds, parsing, resolution, where the API is. What may not: what operations mean.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

from referencing import Registry, Resource
from referencing.exceptions import Unresolvable

from trunkline.client.http import origin
from trunkline.errors import ConfigError, InvalidAnswer, ParseError
from trunkline.portable.openapi import OpenApi
from trunkline.protocol import json

MAX_BYTES = 16 * 1024 * 1024
"""The size of the largest published descriptions in JSON; YAML has bounds of its own."""

_CHAIN = 16
_VARIABLE = re.compile(r"\{([^{}]*)\}")


class Document:
    """A parsed document.

    Parameters:
        value: the document.
        url: where it came from; empty for a file.
    """

    def __init__(self, value: Mapping[str, object], url: str = "") -> None:
        version = value.get("openapi")
        if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
            raise InvalidAnswer('the document is not OpenAPI 3.0 or 3.1: its member "openapi" does not say so')
        self.value = value
        self.url = url
        self.version = version[:20]
        self.old = version.startswith("3.0")
        # Without a retrieve function a registry knows what it was given, and fetches nothing.
        registry: Registry[object] = Registry().with_resource("", Resource.opaque(value))
        self._resolver = registry.resolver("")

    def section(self, *names: str) -> Mapping[str, object]:
        """A mapping somewhere in the document; empty where there is none."""
        node: object = self.value
        for name in names:
            node = node.get(name) if isinstance(node, Mapping) else None
        return node if isinstance(node, Mapping) else {}

    def look(self, reference: str) -> object:
        """What a reference means. Raises `ValueError` where it leads nowhere, or out of the document."""
        if not reference.startswith("#"):
            raise ValueError(f"the reference {reference[:80]!r} leaves the document, and nothing is fetched")
        try:
            return self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError, TypeError, LookupError):
            raise ValueError(f"the reference {reference[:80]!r} leads nowhere") from None

    def follow(self, node: object) -> Mapping[str, object]:
        """The object a node is or refers to. Raises `ValueError` where there is none."""
        for _ in range(_CHAIN):
            if not isinstance(node, Mapping):
                raise ValueError("an object is missing where one should be")
            reference = node.get("$ref")
            if not isinstance(reference, str):
                return node
            node = self.look(reference)
        raise ValueError("references go round in a circle")

    def base(self, servers: object, settings: OpenApi) -> str:
        """Where the API is, without a slash at the end. Raises `ValueError` where that is not to be had or trusted."""
        if settings.base_url:
            return _checked(settings.base_url)
        first = servers[0] if isinstance(servers, list) and servers else {"url": "/"}
        url = first.get("url") if isinstance(first, dict) else None
        if not isinstance(url, str):
            raise ValueError("its server has no `url`; set `baseUrl`")
        declared = first.get("variables")
        url = "".join(_filled(url, declared if isinstance(declared, dict) else {}, settings.variables))
        base = _checked(urljoin(self.url, url))
        if self.url and origin(base) != origin(self.url):
            # Whoever writes the document would otherwise choose who gets our credentials.
            raise ValueError("its server is at another origin than the document; set `baseUrl` to where the API is")
        return base


def parse(raw: bytes, name: str) -> Mapping[str, object]:
    """The document of a JSON or YAML text. Raises `InvalidAnswer`.

    Parameters:
        name: what it is called in messages.
    """
    if len(raw) > MAX_BYTES:
        raise InvalidAnswer(f"{name} has more than {MAX_BYTES // 1024**2} MiB")
    try:
        value = json.plain(raw) if raw.lstrip()[:1] == b"{" else _yaml(raw, name)
    except (ParseError, ConfigError) as error:
        raise InvalidAnswer(f"{name} cannot be read: {error.message}") from None
    except (ValueError, RecursionError):
        raise InvalidAnswer(f"{name} cannot be read: it is neither JSON nor YAML that is UTF-8 text") from None
    if not isinstance(value, dict):
        raise InvalidAnswer(f"{name} is no OpenAPI document: it is not an object")
    return value


def _yaml(raw: bytes, name: str) -> object:
    from trunkline.portable.yaml import parse_yaml

    return parse_yaml(raw.decode("utf-8-sig"), name).value


def _filled(url: str, declared: Mapping[str, object], given: Mapping[str, str]) -> Iterator[str]:
    """The parts of a server's URL, its variables replaced."""
    end = 0
    for found in _VARIABLE.finditer(url):
        yield url[end : found.start()]
        end = found.end()
        variable = declared.get(found[1])
        facts = variable if isinstance(variable, dict) else {}
        value = given.get(found[1], facts.get("default"))
        allowed = facts.get("enum")
        if not isinstance(value, str) or (isinstance(allowed, list) and value not in allowed):
            raise ValueError(f"the server variable {found[1][:40]!r} has no value that is allowed; set `variables`")
        yield value
    yield url[end:]


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("its server is no http:// or https:// address; set `baseUrl`")
    return url.rstrip("/")
