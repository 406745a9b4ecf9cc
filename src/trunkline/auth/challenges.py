"""`WWW-Authenticate`: what a resource wants to see.

What it is for: reading the challenges of an answer, and writing one (RFC 9110, 11.6.1; RFC 6750, 3; RFC 9449, 7.1).
What may live here: that syntax, and looking things up in it. What may not: what to do about a challenge.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_SCHEME = re.compile(rf"[ \t,]*({_TOKEN})(?=[ \t,]|$)")
_PARAM = re.compile(rf'[ \t,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))(?=[ \t,]|$)', re.DOTALL)
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LONGEST = 16_384
"""Characters of one header field that are read."""


class Challenge(msgspec.Struct, frozen=True):
    """One challenge: its scheme in lower case, and its parameters by lower-case name.

    Parameters:
        params: of a parameter that is named twice, the first counts.
    """

    scheme: str
    params: Mapping[str, str] = {}

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that it asks for; empty where it names none."""
        return frozenset(self.params.get("scope", "").split())


def challenges(headers: Mapping[str, str]) -> tuple[Challenge, ...]:
    """The challenges of an answer, over all its `WWW-Authenticate` fields.

    What cannot be read ends a field; what was read before it counts.

        challenges(response.headers)[0].params.get("resource_metadata")
    """
    return tuple(challenge for field in _fields(headers) for challenge in read(field))


def read(field: str) -> list[Challenge]:
    """The challenges of one `WWW-Authenticate` field."""
    found: list[Challenge] = []
    text, at = field[:_LONGEST], 0
    while scheme := _SCHEME.match(text, at):
        at = scheme.end()
        params: dict[str, str] = {}
        if token68 := _TOKEN68.match(text, at):
            # As in `Negotiate YII=`; the scheme after it stands behind a comma.
            at = token68.end()
        else:
            while param := _PARAM.match(text, at):
                name, quoted, plain = param.groups()
                params.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) if plain is None else plain)
                at = param.end()
        found.append(Challenge(scheme[1].lower(), params))
    return found


def find(found: Iterable[Challenge], param: str) -> str | None:
    """The first value of a parameter in any challenge: `resource_metadata` may stand in any of them."""
    return next((challenge.params[param] for challenge in found if param in challenge.params), None)


def for_tokens(found: Iterable[Challenge]) -> tuple[Challenge, ...]:
    """The challenges that a token answers: `Bearer` and `DPoP`."""
    return tuple(challenge for challenge in found if challenge.scheme in ("bearer", "dpop"))


def write(scheme: str, params: Mapping[str, str | None]) -> str:
    """A challenge as a header value; parameters that are None are left out, the others are quoted.

        write("Bearer", {"error": "insufficient_scope", "scope": "files.read"})

    Raises `ValueError` for a value that no header can carry.
    """
    pairs = [f'{name}="{_quoted(value)}"' for name, value in params.items() if value is not None]
    return f"{scheme} {', '.join(pairs)}" if pairs else scheme


def _quoted(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("A parameter of WWW-Authenticate can only have printable ASCII characters")
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _fields(headers: Mapping[str, str]) -> list[str]:
    """All fields of the name; multi-dictionaries, as HTTP libraries have them, keep several."""
    every = getattr(headers, "getall", None)
    if every is not None:
        return list(every("WWW-Authenticate", ()))
    return [value for name, value in headers.items() if name.lower() == "www-authenticate"]
