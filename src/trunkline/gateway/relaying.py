"""One request on its way through the gateway.

What it is for: what of the caller's request goes up to the upstream, and what of the upstream's comes back down.
What may live here: `_meta` of both hops, progress, logs, questions to the caller, input rounds.
What may not: which upstream, which connection.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import cast

from msgspec import UNSET

from trunkline.client.patience import Patience
from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import InputRequest, Result
from trunkline.errors import InternalError, InvalidAnswer, InvalidParams, MethodNotFound, ToolError
from trunkline.extensions.tasks.declaring import declares
from trunkline.extensions.tasks.names import IDENTIFIER, KEY, NARROWED
from trunkline.extensions.tasks.polling import DECLARED_WITH, honours_keys, makes_tasks
from trunkline.protocol import json
from trunkline.protocol.messages import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    LOG_LEVEL_KEY,
    NO_META,
    SERVER_INFO_KEY,
    VERSION_KEY,
    notification,
)
from trunkline.protocol.revisions import LOG_LEVELS, Era

_HOP = (VERSION_KEY, CLIENT_INFO_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY)
"""`_meta` keys that speak of the caller's hop (basic/index, Per-request protocol fields)."""

CARRIED = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What an upstream may ask a client for, and the capability that stands for it."""

EVERYTHING: Mapping[str, object] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
"""What is offered where an upstream is only asked for its lists: some leave out the tools a client cannot serve."""

_REQUIRED: dict[str, tuple[str, type]] = {
    "tools/call": ("content", list),
    "resources/read": ("contents", list),
    "prompts/get": ("messages", list),
    "completion/complete": ("completion", dict),
}
"""The member without which a result breaks the client that reads it."""

MOST_KEY = 200
"""Characters of an idempotency key (docs/specs/task-lifecycle.md, section 4)."""

_APPS = "io.modelcontextprotocol/ui"
"""The one extension that needs nothing of the gateway: its data are tools, resources and `_meta`."""


def offered(context: Context) -> dict[str, object]:
    """The capabilities an upstream is told its client has: those of the caller's that the gateway carries."""
    able = context.capabilities
    if not able:
        return {}
    carried = {name: able[name] for name in CARRIED.values() if name in able}
    if "roots" in carried:
        # Whether they change is told to the gateway alone.
        carried["roots"] = {}
    extensions = able.get("extensions")
    if isinstance(extensions, dict) and _APPS in extensions:
        carried["extensions"] = {_APPS: extensions[_APPS]}
    return carried


def parameters(context: Context) -> dict[str, object]:
    """The caller's parameters, as they came. Raises `ParseError` for duplicate keys, `InvalidParams` for no object."""
    params = json.parse(context.params.raw)
    if not isinstance(params, dict):
        raise InvalidParams("Invalid params: they are an object")
    if context.run is not None:
        _go_on(params, context)
    return params


def _go_on(params: dict[str, object], context: Context) -> None:
    """What a task was made from says nothing of what it was told since, and where its progress goes."""
    params.pop("inputResponses", None)
    if context.replay is not None and context.replay.answers:
        params["inputResponses"] = dict(context.replay.answers)
    known = NO_META if context.params.meta is UNSET else context.params.meta
    if known.progress_token is not UNSET:
        meta = params.get("_meta")
        params["_meta"] = {**(meta if isinstance(meta, dict) else {}), "progressToken": known.progress_token}


class Relay:
    """One request for as long as it is under way.

    Parameters:
        context: the caller's request.
        patience: the clock of the upstream's call.
        overheard: takes log messages for the operator, where all callers share the upstream's process: its questions
            and its log messages could be anyone's, since on stdio nothing ties them to a request.
    """

    __slots__ = ("_asked", "_overheard", "awaits", "context", "patience", "tasks")

    def __init__(self, context: Context, patience: Patience, overheard: Callable[[str], None] | None = None) -> None:
        self.context = context
        self.patience = patience
        self._overheard = overheard
        self._asked = 0
        self.tasks = self.awaits = False
        """Whether the upstream was told that it may answer with a task, and whether that is awaited here."""

    @property
    def shared(self) -> bool:
        """Whether the upstream's process is everybody's."""
        return self._overheard is not None

    @property
    def asked(self) -> bool:
        """Whether the caller was asked anything: then the request is not the same any more."""
        return self._asked > 0

    @property
    def asking(self) -> bool:
        """Whether a question to the caller is open."""
        return self.patience.still

    def params(self, given: Mapping[str, object], era: Era, able: Mapping[str, object] = {}) -> dict[str, object]:
        """What the upstream gets: our `_meta`, the caller's trace and progress token, and answers to its questions.

        Parameters:
            given: the caller's parameters, under the upstream's own names.
            era: the upstream's.
            able: the upstream's capabilities, as far as they are made use of.
        """
        params = dict(given)
        params.pop("requestState", None)
        # A wish of 2025-11-25's experimental tasks, which are not carried (tasks, section 2).
        params.pop("task", None)
        if self.context.method != "tasks/update":
            params.pop("inputResponses", None)
        params["_meta"] = self._meta(given.get("_meta"), era, able)
        replay = self.context.replay
        if era == "modern" and replay is not None:
            if replay.upstream is not None:
                params["requestState"] = replay.upstream
            if "inputResponses" in given:
                params["inputResponses"] = given["inputResponses"]
        return params

    async def on_notification(self, method: str, params: dict[str, object]) -> None:
        """Carry progress and, where they are the caller's, log messages."""
        if method == "notifications/progress":
            if json.number(params.get("progress")) is not None:
                await self.context.exchange.notify(notification(method, params))
        elif method == "notifications/message" and self._overheard is not None:
            self._overheard(log_line(params))
        elif method == "notifications/message":
            level, logger = params.get("level"), params.get("logger")
            if isinstance(level, str) and level in LOG_LEVELS:
                await self.context.log(level, params.get("data"), logger if isinstance(logger, str) else None)

    async def on_request(self, method: str, params: dict[str, object]) -> dict[str, object]:
        """Carry a question of a legacy upstream to the caller; the clock of its call stands still meanwhile."""
        if method not in CARRIED:
            raise MethodNotFound(f"This client does not serve {method}")
        with self.patience.stopped():
            return await self.ask(question(method, params or None))

    async def ask(self, request: InputRequest) -> dict[str, object]:
        """Ask a caller who answers while the call is open."""
        if not self.context.exchange.interactive:
            raise MethodNotFound(f"This client does not serve {request.method} at this time")
        self._asked += 1
        key = f"upstream-{self._asked}"
        try:
            return (await self.context.ask({key: request}))[key]
        except ToolError as error:
            raise InternalError(error.message) from None

    async def answers(
        self, result: Result, given: Mapping[str, object], process: str | None = None
    ) -> dict[str, object]:
        """The parameters of the next round after an upstream's `input_required`, from a caller who can be asked now.

        A modern caller is answered with `input_required` in turn: raises `InputRequired`.

        Parameters:
            process: the one that may be alone in being able to read the state it gave.
        """
        requests, state = _required(result)
        self._permit(requests)
        if not self.context.exchange.interactive:
            replay = self.context.replay or rounds.begin()
            replay.upstream, replay.answers, replay.process = state, {}, process
            self.context.replay = replay
            raise rounds.InputRequired(requests)
        params = {key: value for key, value in given.items() if key not in ("requestState", "inputResponses")}
        self._asked += 1
        if requests:
            params["inputResponses"] = await self._answered(requests)
        if state is not None:
            params["requestState"] = state
        return params

    async def asked_now(self, requests: Mapping[str, InputRequest]) -> dict[str, dict[str, object]]:
        """The answers to what a task asks, of a caller that does not know of it. Raises `InputRequired` in a run."""
        self._permit(requests)
        self._asked += 1
        return await self._answered(requests)

    def declared(self, params: Mapping[str, object]) -> dict[str, object]:
        """The same parameters, with the word that this side understands tasks: it waits for them itself."""
        self.tasks = self.awaits = True
        meta = params["_meta"]
        assert isinstance(meta, dict)
        told = dict(meta[CAPABILITIES_KEY])
        extensions = told.get("extensions")
        told["extensions"] = {**(extensions if isinstance(extensions, dict) else {}), IDENTIFIER: {}}
        return {**params, "_meta": {**meta, CAPABILITIES_KEY: told}}

    def _permit(self, requests: Mapping[str, InputRequest]) -> None:
        """Raises `InvalidAnswer` for a question that this client does not answer."""
        for request in requests.values():
            mode = ".url" if request.params is not None and request.params.get("mode") == "url" else ""
            if not self.context.can(CARRIED[request.method] + mode):
                raise InvalidAnswer(f"it asked for {request.method}, which this client does not offer")

    async def _answered(self, requests: Mapping[str, InputRequest]) -> dict[str, dict[str, object]]:
        try:
            with self.patience.stopped():
                return await self.context.ask(requests)
        except ToolError as error:
            raise InvalidParams(f"The input this request needs was not given: {error.message}") from None

    def _meta(self, given: object, era: Era, able: Mapping[str, object]) -> dict[str, object]:
        meta = dict(given) if isinstance(given, dict) else {}
        for key in _HOP:
            meta.pop(key, None)
        if KEY in meta or NARROWED in meta:
            self._entrust(meta, able)
        if "traceparent" not in meta:
            # For logs of both sides to be put together; whoever traces decides on spans and sampling.
            trace = self.context.trace
            meta["traceparent"] = f"00-{trace}-{trace[16:]}-00"
        if era == "modern":
            meta[CAPABILITIES_KEY] = told = offered(self.context)
            if self.context.capabilities.get("extensions"):
                self._declare(told, able)
            if self.context.log_level is not None and not self.shared:
                meta[LOG_LEVEL_KEY] = self.context.log_level
        return meta

    def _declare(self, told: dict[str, object], able: Mapping[str, object]) -> None:
        """Tell an upstream that makes tasks that this call may become one, or is about one (tasks, section 2)."""
        if self.context.method in DECLARED_WITH and declares(self.context) and makes_tasks(able):
            extensions = told.get("extensions")
            told["extensions"] = {**(extensions if isinstance(extensions, dict) else {}), IDENTIFIER: {}}
            self.tasks = True

    def _entrust(self, meta: dict[str, object], able: Mapping[str, object]) -> None:
        """What a client says of its task is for upstreams that keep to it (DESIGN: Idempotency keys).

        At the upstream all our callers are one: its key must not find what another one's has made. In a task of our own
        the wishes are met here; another attempt must not find what the one before made.
        """
        key = meta.pop(KEY, None)
        if not honours_keys(able) or self.context.run is not None:
            meta.pop(NARROWED, None)
        elif isinstance(key, str) and 0 < len(key) <= MOST_KEY:
            meta[KEY] = hashlib.sha256(f"{self.context.principal.owner}\0{key}".encode()).hexdigest()
        elif key is not None:
            meta[KEY] = key


def checked(method: str, result: Result) -> Result:
    """A result a client can use. Raises `InvalidAnswer` for one that breaks whoever reads it."""
    member, type_ = _REQUIRED[method]
    if not isinstance(result.get(member), type_):
        if method != "tools/call" or member in result:
            raise InvalidAnswer(f"its result has no {member!r} that can be used")
        result = {**result, member: []}
    meta = result.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO_KEY in meta:
        # Who answers on our hop is the gateway; the engine says so.
        result = {**result, "_meta": {key: value for key, value in meta.items() if key != SERVER_INFO_KEY}}
    return result


def log_line(params: Mapping[str, object]) -> str:
    """A log message as a line for the operator."""
    data = params.get("data")
    text = data if isinstance(data, str) else json.encode(data).decode()
    return f"{params.get('level', 'log')}: {text}"[:500]


def _required(result: Result) -> tuple[dict[str, InputRequest], str | None]:
    """The questions and the state of an `input_required` result. Raises `InvalidAnswer` for one that is none."""
    asked, state = result.get("inputRequests"), result.get("requestState")
    if not isinstance(asked, dict | None) or not isinstance(state, str | None) or (asked is None and state is None):
        raise InvalidAnswer("its input_required result has neither inputRequests nor requestState")
    requests = {}
    for key, request in (asked or {}).items():
        method = request.get("method") if isinstance(request, dict) else None
        if not isinstance(method, str) or method not in CARRIED:
            raise InvalidAnswer("its input_required result asks for something no client knows")
        params = request.get("params")
        requests[key] = question(method, params if isinstance(params, dict) else None)
    return requests, state


def question(method: str, params: Mapping[str, object] | None) -> InputRequest:
    """A question of an upstream, as it came; `method` is one of `CARRIED`."""
    return InputRequest(cast("object", method), params)  # type: ignore[arg-type]
