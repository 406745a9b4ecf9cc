"""What a token allows at one endpoint, and what its holder is told about the rest.

What it is for: the `Access` of principals that a resource server vouches for, and its challenges.
What may live here: verdicts on a request of a known caller (RFC 6750, 3.1; authorization, Scope Challenge Handling).
What may not: who calls, which scopes a request takes.
"""

from collections.abc import Iterable
from typing import Literal

from trunkline.auth.challenges import write
from trunkline.auth.dpop import ALGORITHMS
from trunkline.auth.scopes import Rulebook
from trunkline.engine.patterns import matches
from trunkline.engine.principal import Principal
from trunkline.errors import Forbidden, Unauthenticated
from trunkline.protocol.messages import Params

Scheme = Literal["Bearer", "DPoP"]


class Challenger:
    """Writes the challenges of one endpoint.

    Parameters:
        metadata: the URL of its protected resource metadata.
        scopes: what a client is told to ask for first.
        schemes: what a token may be sent as; the first is named first.
    """

    def __init__(self, metadata: str, scopes: frozenset[str], schemes: tuple[Scheme, ...]) -> None:
        self.metadata = metadata
        self.schemes = schemes
        self._scopes = scopes

    def wanted(self) -> tuple[tuple[str, str], ...]:
        """For a request without a token."""
        return tuple(self._field(scheme, scope=_joined(self._scopes)) for scheme in self.schemes)

    def refused(self, scheme: Scheme, error: str, said: str) -> tuple[tuple[str, str], ...]:
        """For a token, or a proof, that is not valid; what else a token may be sent as is named after it.

        Parameters:
            scheme: what the client should have sent.
            error: of RFC 6750 (3.1) or RFC 9449 (7.1).
            said: why, for people.
        """
        first = self._field(scheme, error=error, error_description=said, scope=_joined(self._scopes))
        return (first, *(self._field(other) for other in self.schemes if other != scheme))

    def lacking(self, scheme: Scheme, needed: frozenset[str], said: str) -> tuple[tuple[str, str], ...]:
        """For a token without some of the scopes: all that the request takes are named."""
        named = _joined(needed)
        return (self._field(scheme, error="insufficient_scope", error_description=said, scope=named),)

    def _field(self, scheme: Scheme, **params: str | None) -> tuple[str, str]:
        algorithms = " ".join(ALGORITHMS) if scheme == "DPoP" else None
        return "WWW-Authenticate", write(scheme, {**params, "algs": algorithms, "resource_metadata": self.metadata})


class Granted:
    """What principals with tokens of one scheme may do at one endpoint.

    Parameters:
        rules: the scopes that requests take.
        scheme: what their tokens were sent as.
        bound: patterns of the tools that take a token bound to a key.
    """

    def __init__(self, rules: Rulebook, challenger: Challenger, scheme: Scheme, bound: tuple[str, ...]) -> None:
        self._rules = rules
        self._challenger = challenger
        self._scheme = scheme
        self._bound = () if scheme == "DPoP" else bound
        self.hiding = rules.hiding

    def demand(self, principal: Principal, method: str, params: Params) -> None:
        """Raise `Forbidden` where scopes are missing, `Unauthenticated` where the token must be bound to a key."""
        needed = self._rules.needed(method, params)
        if needed is None:
            raise Forbidden("Nobody may do this here, with whatever scopes")
        held = self._rules.held(principal.scopes)
        if not needed <= held:
            missing = needed - held
            said = f"Scopes are missing: {' '.join(sorted(missing))}"
            raise Forbidden(said, self._challenger.lacking(self._scheme, needed, said))
        if self._bound and method == "tools/call" and any(matches(one, str(params.name)) for one in self._bound):
            said = "This tool takes an access token that is bound to a key: sign in with DPoP"
            raise Unauthenticated(said, self._challenger.refused("DPoP", "invalid_token", said))

    def hides(self, kind: str, name: str) -> bool:
        """Whether no scopes at all would do."""
        return self._rules.of(kind, name) is None

    def __repr__(self) -> str:
        return f"Granted({self._scheme})"


def _joined(scopes: Iterable[str]) -> str | None:
    return " ".join(sorted(scopes)) or None
