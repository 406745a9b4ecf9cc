"""What a caller may do, under other names.

What it is for: rules are written in the gateway's names; paths beside its endpoint have their own.
What may live here: the way from those to these. What may not: rules, which names there are.
"""

from collections.abc import Callable, Mapping

from msgspec import Raw, structs

from trunkline.engine.doors import Authenticator, RequestFacts
from trunkline.engine.principal import Access, Principal
from trunkline.protocol import json
from trunkline.protocol.messages import Params

Meant = Callable[[str, str], str]
"""Kind (`tools`, `prompts`, `resources`) and name as they are here -> the gateway's name."""

_KINDS: Mapping[str, str] = {"tools/call": "tools", "prompts/get": "prompts"}


class Translated:
    """The `Access` of a caller at a path beside the gateway's endpoint."""

    def __init__(self, inner: Access, meant: Meant) -> None:
        self._inner = inner
        self._meant = meant
        self.hiding = inner.hiding

    def demand(self, principal: Principal, method: str, params: Params) -> None:
        """See `Access.demand`; what counts are the gateway's names."""
        kind = _KINDS.get(method)
        if kind is not None and isinstance(params.name, str):
            params = structs.replace(params, name=self._meant(kind, params.name))
        elif method == "completion/complete":
            params = self._completed(params)
        self._inner.demand(principal, method, params)

    def hides(self, kind: str, name: str) -> bool:
        """See `Access.hides`."""
        return self._inner.hides(kind, self._meant(kind, name))

    def _completed(self, params: Params) -> Params:
        whole = json.plain(params.raw)
        ref = whole.get("ref") if isinstance(whole, dict) else None
        name = ref.get("name") if isinstance(ref, dict) else None
        if not isinstance(whole, dict) or not isinstance(ref, dict) or not isinstance(name, str):
            return params
        told = {**whole, "ref": {**ref, "name": self._meant("prompts", name)}}
        return structs.replace(params, raw=Raw(json.encode(told)))


class Translating:
    """An authenticator whose callers use other names than the gateway's."""

    def __init__(self, whole: Authenticator, meant: Meant) -> None:
        self._whole = whole
        self._meant = meant

    async def authenticate(self, facts: RequestFacts) -> Principal:
        """Ask the gateway's authenticator."""
        one = await self._whole.authenticate(facts)
        return one if one.access is None else structs.replace(one, access=Translated(one.access, self._meant))
