"""What a server may ask its caller for: a person's answer, a model's text, the roots.

What it is for: one set of handlers for input rounds (modern) and server-to-client requests (legacy).
What may live here: handlers, the objects they take and return, the capabilities they imply.
What may not: the loop that repeats a request, connections.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from trunkline.client.results import plain
from trunkline.errors import InvalidParams, MethodNotFound

JsonObject = dict[str, object]


class ElicitRequest(Struct, frozen=True):
    """A question to a person: a form described by `schema`, or, in `url` mode, an address to visit."""

    message: str
    mode: Literal["form", "url"]
    schema: JsonObject
    url: str | None
    raw: JsonObject

    def defaults(self) -> JsonObject:
        """The values the form proposes."""
        fields = self.schema.get("properties")
        if not isinstance(fields, dict):
            return {}
        return {
            name: field["default"] for name, field in fields.items() if isinstance(field, dict) and "default" in field
        }


class ElicitAnswer(Struct, frozen=True):
    """A person's answer. Handlers may return the content alone to accept, or None to decline."""

    action: Literal["accept", "decline", "cancel"]
    content: JsonObject | None = None


class SampleRequest(Struct, frozen=True):
    """A request for a model's answer. `raw` has every parameter."""

    messages: list[JsonObject]
    system: str | None
    max_tokens: int
    raw: JsonObject


ElicitReturn = ElicitAnswer | Mapping[str, object] | None
Elicit = Callable[[ElicitRequest], ElicitReturn | Awaitable[ElicitReturn]]
Sample = Callable[[SampleRequest], str | Mapping[str, object] | Awaitable[str | Mapping[str, object]]]
Root = str | Path | Mapping[str, object]
Roots = Sequence[Root] | Callable[[], Sequence[Root] | Awaitable[Sequence[Root]]]


def accept_defaults(request: ElicitRequest) -> ElicitAnswer:
    """An `elicit` handler that accepts every form with the values it proposes; for tests and unattended clients."""
    return ElicitAnswer("accept", request.defaults())


class Handlers:
    """The handlers of a client; what is not given is not declared and not served.

    Parameters:
        elicit: answers forms. open_url: sends the person to an address (URL mode); the same return values.
        sample: answers for a model: a text, or a `CreateMessageResult`.
        roots: folders or files the server may work on: paths, URIs or `Root` objects, or a function returning them.
    """

    def __init__(
        self,
        elicit: Elicit | None = None,
        sample: Sample | None = None,
        roots: Roots | None = None,
        open_url: Elicit | None = None,
    ) -> None:
        self._elicit = elicit
        self._sample = sample
        self._roots = roots
        self._open_url = open_url

    def capabilities(self) -> JsonObject:
        """The client capabilities these handlers amount to."""
        declared: JsonObject = {}
        modes: JsonObject = {}
        if self._elicit is not None:
            modes["form"] = {}
        if self._open_url is not None:
            modes["url"] = {}
        if modes:
            declared["elicitation"] = modes
        if self._sample is not None:
            declared["sampling"] = {}
        if self._roots is not None:
            declared["roots"] = {}
        return declared

    async def answer(self, method: str, params: JsonObject) -> JsonObject:
        """Answer one request. Raises `MethodNotFound` when there is no handler, and whatever the handler raises."""
        if method == "elicitation/create":
            return await self._answer_elicit(params)
        if method == "sampling/createMessage" and self._sample is not None:
            return await self._answer_sample(self._sample, params)
        if method == "roots/list" and self._roots is not None:
            return await self._answer_roots(self._roots)
        raise MethodNotFound(f"This client did not declare what {method} needs")

    async def _answer_elicit(self, params: JsonObject) -> JsonObject:
        mode: Literal["form", "url"] = "url" if params.get("mode") == "url" else "form"
        handler = self._open_url if mode == "url" else self._elicit
        if handler is None:
            raise MethodNotFound(f"This client did not declare elicitation in {mode} mode")
        schema, message, url = plain(params.get("requestedSchema")), params.get("message"), params.get("url")
        if not isinstance(message, str) or (mode == "url" and not isinstance(url, str)):
            raise InvalidParams("elicitation/create needs a message, and a url in url mode")
        request = ElicitRequest(
            message, mode, schema if isinstance(schema, dict) else {}, url if isinstance(url, str) else None, params
        )
        given = handler(request)
        answer = await given if inspect.isawaitable(given) else given
        if answer is None:
            return {"action": "decline"}
        if not isinstance(answer, ElicitAnswer):
            answer = ElicitAnswer("accept", dict(answer))
        if answer.action != "accept" or mode == "url":
            return {"action": answer.action}
        return {"action": "accept", "content": answer.content or {}}

    async def _answer_sample(self, handler: Sample, params: JsonObject) -> JsonObject:
        messages, system, limit = params.get("messages"), params.get("systemPrompt"), params.get("maxTokens")
        if not isinstance(messages, list):
            raise InvalidParams("sampling/createMessage needs messages")
        request = SampleRequest(
            [message for message in messages if isinstance(message, dict)],
            system if isinstance(system, str) else None,
            limit if isinstance(limit, int) else 1024,
            params,
        )
        given = handler(request)
        answer = await given if inspect.isawaitable(given) else given
        if isinstance(answer, str):
            return {"role": "assistant", "content": {"type": "text", "text": answer}, "model": "unspecified"}
        return dict(answer)

    async def _answer_roots(self, roots: Roots) -> JsonObject:
        given = roots() if callable(roots) else roots
        found = await given if inspect.isawaitable(given) else given
        return {"roots": [_root(root) for root in found]}


def _root(root: Root) -> JsonObject:
    if isinstance(root, Mapping):
        return dict(root)
    if isinstance(root, str) and "://" in root:
        return {"uri": root}
    path = Path(root).absolute()
    return {"uri": path.as_uri(), "name": path.name or str(path)}
