"""What a function may know and ask while it answers one request.

What it is for: one author API for all eras and transports; the author never writes an era check.
What may live here: `Context`, which turns the author's wishes into messages on the `Exchange`.
What may not: dispatch, waiting primitives of an event loop.
"""

import copy
import hashlib
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar, cast

import msgspec
from msgspec import UNSET

from trunkline.engine import rounds
from trunkline.engine.doors import Exchange, InputRequest, Run
from trunkline.engine.principal import Principal
from trunkline.engine.rounds import Replay
from trunkline.errors import InvalidParams, MissingCapability, ToolError
from trunkline.protocol import schema
from trunkline.protocol.messages import Id, Params, notification
from trunkline.protocol.revisions import LOG_LEVELS, Revision

T = TypeVar("T")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.{0,200}")

_NEEDS: dict[str, str] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class Elicited(msgspec.Struct, frozen=True):
    """A person's answer: `action` is accept, decline or cancel; `content` is there when it was accepted."""

    action: str
    content: dict[str, object] = {}

    @property
    def accepted(self) -> bool:
        """Whether the person agreed and `content` holds their answer."""
        return self.action == "accept"


class Context:
    """One request: who asks, what they can do, and the way back to them.

    Attributes:
        principal: who calls.
        revision: the protocol revision of the request.
        capabilities: what the client declared it can do.
        client_info: how the client names itself; not verified.
        request_id: the JSON-RPC id.
        method, params: what is asked.
        deadline: monotonic seconds when the call is stopped, or None.
        asked: whether the client was asked anything while the call was open.
        run: the durable run this is the context of; None for an ordinary call.
    """

    __slots__ = (
        "_asked",
        "_trace",
        "asked",
        "capabilities",
        "client_info",
        "deadline",
        "exchange",
        "log_level",
        "method",
        "params",
        "principal",
        "replay",
        "request_id",
        "revision",
        "run",
    )

    def __init__(
        self,
        request_id: Id,
        method: str,
        params: Params,
        revision: Revision,
        principal: Principal,
        exchange: Exchange,
        capabilities: Mapping[str, object],
        client_info: Mapping[str, object] | None = None,
        log_level: str | None = None,
    ) -> None:
        self.request_id = request_id
        self.method = method
        self.params = params
        self.revision = revision
        self.principal = principal
        self.exchange = exchange
        self.capabilities = capabilities
        self.client_info = client_info
        self.log_level = log_level
        self.deadline: float | None = None
        self.replay: Replay | None = None
        self.run: Run | None = None
        self._trace: str | None = None
        self._asked = 0
        self.asked = False

    @property
    def trace(self) -> str:
        """The trace id (32 hex digits) that follows this request to logs and upstreams.

        It is the caller's, where `_meta.traceparent` carries one (basic/index, OpenTelemetry trace context).
        """
        if self._trace is None:
            meta = self.params.meta
            parent = UNSET if isinstance(meta, msgspec.UnsetType) else meta.traceparent
            match = _TRACEPARENT.fullmatch(parent) if isinstance(parent, str) else None
            self._trace = match[1] if match else os.urandom(16).hex()
        return self._trace

    @property
    def attempt(self) -> int:
        """Which attempt of a durable task this is, from 1; always 1 in an ordinary call."""
        return 1 if self.run is None else self.run.attempt

    def instead(self, params: Params, method: str | None = None) -> "Context":
        """The same caller's request for something else, which this one stands for.

        inner = context.instead(replace(context.params, name="real-name"))
        """
        inner = copy.copy(self)
        inner.params = params
        inner.method = method or self.method
        inner._trace = self.trace
        return inner

    # -- telling ---------------------------------------------------------------------------------------------------

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell how far the work is; sent only when the client asked for progress.

        Parameters:
            progress: grows with every call.
            total: what `progress` will be at the end, if known.
            message: a line for a person.

            await context.progress(3, total=10, message="indexing")
        """
        meta = self.params.meta
        if isinstance(meta, msgspec.UnsetType) or isinstance(meta.progress_token, msgspec.UnsetType):
            return
        params: dict[str, object] = {"progressToken": meta.progress_token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.exchange.notify(notification("notifications/progress", params))

    async def log(self, level: str, data: object, logger: str | None = None) -> None:
        """Send a log message to the client, if it wants messages of this level for this request (utilities/logging).

        await context.log("info", "cache was cold")
        """
        if self.log_level is None or LOG_LEVELS.index(level) < LOG_LEVELS.index(self.log_level):
            return
        params: dict[str, object] = {"level": level, "data": data}
        if logger is not None:
            params["logger"] = logger
        await self.exchange.notify(notification("notifications/message", params))

    async def suspend(self, retry: int = 1000) -> None:
        """Let a 2025-11-25 client hang up and come back for the answer after `retry` milliseconds; else nothing."""
        await self.exchange.suspend(retry)

    # -- asking ----------------------------------------------------------------------------------------------------

    def can(self, capability: str) -> bool:
        """Whether the client declared `elicitation`, `elicitation.url`, `sampling`, `roots` or another capability.

        A bare `elicitation` means forms (client/elicitation, Capabilities).
        """
        name, _, mode = capability.partition(".")
        declared = self.capabilities.get(name)
        if not isinstance(declared, Mapping):
            return False
        if name == "elicitation":
            return (mode or "form") in declared or (not declared and mode in ("", "form"))
        return not mode or mode in declared

    async def ask(self, requests: Mapping[str, InputRequest]) -> dict[str, dict[str, object]]:
        """Ask the client several things at once; the keys name the questions and stay the same when the call re-runs.

        What stands before this line may run again, unless it is a `step`: see "How a function waits for a person".
        Raises `MissingCapability` when the client cannot answer one of them.
        """
        if not requests:
            return {}
        for request in requests.values():
            self._require(request)
        if self.exchange.interactive:
            self.asked = True
            answers = await self.exchange.ask(requests)
            return {key: _object(answers[key], key) for key in requests}
        recorded = self.replay.answers if self.replay is not None else {}
        missing = {key: request for key, request in requests.items() if not fits(request, recorded.get(key))}
        if missing:
            raise rounds.InputRequired(missing)
        return {key: cast("dict[str, object]", recorded[key]) for key in requests}

    async def elicit(
        self,
        message: str,
        schema: Mapping[str, object] | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
    ) -> Elicited:
        """Ask the person: a form of the flat JSON Schema `schema`, or a visit to `url`.

        Parameters:
            message: what is asked and why.
            schema: JSON Schema of an object with primitive properties (client/elicitation, Requested Schema).
            url: a page to visit instead; what happens there stays out of band.
            key: a stable name of the question; by default the order of asking.

        Raises `ToolError` when what a legacy client sends does not fit the form; a modern one is asked again.

            answer = await context.elicit("Which city?", {"type": "object", "properties": {"city": {"type": "string"}}})
        """
        key = key or self._next_key("elicit")
        request = elicitation(message, schema, url=url)
        answer = (await self.ask({key: request}))[key]
        if not fits(request, answer):
            raise ToolError(f"The client's answer to {key!r} does not fit the form it was asked to fill in")
        content = answer.get("content")
        return Elicited(str(answer.get("action")), dict(content) if isinstance(content, dict) else {})

    async def sample(
        self,
        messages: str | list[dict[str, object]],
        *,
        max_tokens: int = 1024,
        key: str | None = None,
        **options: object,
    ) -> dict[str, object]:
        """Ask the client's model; returns the `CreateMessageResult`. `options` are further request parameters.

        reply = await context.sample("Name the capital of France", max_tokens=20)
        """
        key = key or self._next_key("sample")
        return (await self.ask({key: sampling(messages, max_tokens=max_tokens, **options)}))[key]

    async def roots(self, *, key: str | None = None) -> list[dict[str, object]]:
        """Ask for the client's roots: dicts with `uri` and perhaps `name`."""
        key = key or self._next_key("roots")
        listed = (await self.ask({key: ROOTS}))[key].get("roots")
        return [root for root in listed if isinstance(root, dict)] if isinstance(listed, list) else []

    async def step(self, name: str, function: Callable[..., T | Awaitable[T]]) -> T:
        """Run something whose result must not be computed again when the call re-runs, also after a crash in a task.

        Parameters:
            name: unique in this function.
            function: takes nothing, or one idempotency key that is the same in every re-run; its result is JSON.

            order = await context.step("order", lambda key: shop.order(item, idempotency_key=key))
        """
        replay = self._record()
        if name in replay.steps:
            return cast("T", replay.steps[name])
        if self.run is not None:
            self.run.stepping(name)
        takes_key = bool(inspect.signature(function).parameters)
        outcome = function(self.idempotency_key(name)) if takes_key else function()
        result = await outcome if inspect.isawaitable(outcome) else outcome
        replay.steps[name] = result
        if self.run is not None:
            await self.run.record(name, replay)
        return cast("T", result)

    def idempotency_key(self, name: str) -> str:
        """A key for a side effect, the same in every re-run of this call and different in every other call."""
        return hashlib.sha256(f"{self.principal.owner}\0{self._record().chain}\0{name}".encode()).hexdigest()[:32]

    def _require(self, request: InputRequest) -> None:
        needed = _NEEDS[request.method]
        mode = ""
        if request.params is not None and request.params.get("mode") == "url":
            mode = ".url"
        if not self.can(needed + mode):
            raise MissingCapability({needed: {mode[1:]: {}} if mode else {}})

    def _record(self) -> Replay:
        if self.replay is None:
            self.replay = rounds.begin()
        return self.replay

    def _next_key(self, kind: str) -> str:
        self._asked += 1
        return f"{kind}-{self._asked}"


def elicitation(message: str, schema: Mapping[str, object] | None = None, *, url: str | None = None) -> InputRequest:
    """An elicitation for `Context.ask`: a form, or a URL to visit."""
    if url is not None:
        return InputRequest("elicitation/create", {"mode": "url", "message": message, "url": url})
    requested = schema or {"type": "object", "properties": {}}
    return InputRequest("elicitation/create", {"mode": "form", "message": message, "requestedSchema": requested})


def sampling(messages: str | list[dict[str, object]], *, max_tokens: int = 1024, **options: object) -> InputRequest:
    """A sampling request for `Context.ask`."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": {"type": "text", "text": messages}}]
    return InputRequest("sampling/createMessage", {"messages": messages, "maxTokens": max_tokens, **options})


ROOTS = InputRequest("roots/list")
"""A request for the client's roots, for `Context.ask`."""


def fits(request: InputRequest, answer: object) -> bool:
    """Whether an answer answers the request; what does not is asked again (patterns/mrtr, Error Handling)."""
    if not isinstance(answer, dict):
        return False
    if request.method == "roots/list":
        return isinstance(answer.get("roots"), list)
    if request.method == "sampling/createMessage":
        return "content" in answer and "role" in answer
    action = answer.get("action")
    if action != "accept":
        return action in ("decline", "cancel")
    if request.params is None or request.params.get("mode") == "url":
        return True
    content = answer.get("content")
    return schema.compile_schema(request.params["requestedSchema"]).is_valid({} if content is None else content)


def _object(answer: object, key: str) -> dict[str, object]:
    if isinstance(answer, Exception):
        raise ToolError(f"The client could not answer {key!r}: {answer}")
    if not isinstance(answer, dict):
        raise InvalidParams(f"The client's answer to {key!r} is not an object")
    return answer
