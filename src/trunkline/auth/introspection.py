"""Asking the issuer about a token (RFC 7662).

What it is for: opaque tokens, and knowing of a revoked one within seconds.
What may live here: the request and its bounds. What may not: what the answer means, see `claims`.
"""

import asyncio
import base64
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import msgspec

from trunkline.auth.issuers import Issuer
from trunkline.errors import ConfigError, InvalidAnswer, IssuerUnavailable, ParseError, TransportError
from trunkline.protocol import json

PATIENCE = 5.0


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """How to ask the issuer about a token.

    Parameters:
        client_id, client_secret: what this server is known as there.
        url: where to ask; None takes what the issuer's metadata says.
        method: how the secret is sent.
        keep: seconds an answer is used again; a token revoked meanwhile is still believed.

    Raises `ConfigError` where id or secret is empty.

        Introspection(client_id="gateway", client_secret=os.environ["GATEWAY_SECRET"])
    """

    client_id: str
    client_secret: str
    url: str | None = None
    method: Literal["client_secret_basic", "client_secret_post"] = "client_secret_basic"
    keep: float = 10.0

    def __post_init__(self) -> None:
        if not self.client_id or not self.client_secret:
            raise ConfigError(
                "Introspection needs the client_id and the client_secret that this server has at its issuer"
            )

    def __repr__(self) -> str:
        return f"Introspection(client_id={self.client_id!r})"


class Introspector:
    """Asks, once for all who ask about the same token at the same time."""

    def __init__(self, issuer: Issuer, how: Introspection) -> None:
        self._issuer = issuer
        self._how = how
        self._asking: dict[str, asyncio.Task[dict[str, object]]] = {}

    async def ask(self, token: str) -> dict[str, object]:
        """What the issuer says of a token; `active` tells whether it counts. Raises `IssuerUnavailable`."""
        task = self._asking.get(token)
        if task is None:
            task = self._asking[token] = asyncio.get_running_loop().create_task(self._ask(token))
            task.add_done_callback(lambda done: self._done(token, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ask for nothing any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, token: str, task: "asyncio.Task[dict[str, object]]") -> None:
        del self._asking[token]
        if not task.cancelled():
            # Whoever asked may have left.
            task.exception()

    async def _ask(self, token: str) -> dict[str, object]:
        how = self._how
        form = {"token": token, "token_type_hint": "access_token"}
        headers: tuple[tuple[str, str], ...] = ()
        if how.method == "client_secret_post":
            form |= {"client_id": how.client_id, "client_secret": how.client_secret}
        else:
            # RFC 6749, section 2.3.1: both are encoded as in a form before they are put together.
            pair = f"{quote(how.client_id, safe='')}:{quote(how.client_secret, safe='')}"
            headers = (("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"),)
        try:
            url = how.url or (await self._issuer.metadata()).introspection_endpoint
            if url is None:
                raise InvalidAnswer("its metadata name no introspection_endpoint; give `url`")
            answer = await self._issuer.fetcher.post(url, form, headers)
            if answer.status in (400, 401, 403):
                raise InvalidAnswer(f"it answered {answer.status}: check client_id and client_secret")
            return dict(_claims(answer.status, answer.body))
        except TransportError as error:
            said = f"The issuer {self._issuer.issuer} cannot be asked about a token: {error.message}"
            raise IssuerUnavailable(said, retry_after=PATIENCE) from None


def _claims(status: int, body: bytes) -> Mapping[str, object]:
    if status != 200:
        raise InvalidAnswer(f"it answered {status}")
    try:
        claims = json.parse(body)
    except ParseError:
        claims = None
    if not isinstance(claims, dict):
        raise InvalidAnswer("its answer is no JSON object")
    return claims
