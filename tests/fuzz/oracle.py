"""What every answer must be, whatever was sent. Each function yields, in words, what is wrong."""

import json
from collections.abc import Iterator

from tests.fuzz.exchange import Answer
from tests.fuzz.messages import LEGACY, MODERN, PREFIX
from tests.fuzz.requests import SMUGGLED, Case
from tests.protocol.official import validator
from trunkline.errors import ParseError
from trunkline.protocol import sse
from trunkline.protocol.json import check_depth

INTERNAL, OVERLOADED = -32603, -31003
BEFORE_THE_BODY = {401, 403, 405, 406, 411, 413, 415, 421, 431}
"""Statuses given without reading the message: they echo no id."""

RESULTS = {
    "server/discover": "DiscoverResult",
    "tools/list": "ListToolsResult",
    "tools/call": "CallToolResult",
    "resources/list": "ListResourcesResult",
    "resources/templates/list": "ListResourceTemplatesResult",
    "resources/read": "ReadResourceResult",
    "prompts/list": "ListPromptsResult",
    "prompts/get": "GetPromptResult",
    "completion/complete": "CompleteResult",
    "subscriptions/listen": "SubscriptionsListenResult",
}
LEGACY_RESULTS = {
    "initialize": "InitializeResult",
    "ping": "EmptyResult",
    "logging/setLevel": "EmptyResult",
    "resources/subscribe": "EmptyResult",
    "resources/unsubscribe": "EmptyResult",
}


class Twice(Exception):
    """A key stands twice: readers may differ on what the message is."""


def readable(body: bytes) -> object:
    """The value of a body as any strict reader would see it; None where readers may differ or fail."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise Twice
        return dict(pairs)

    def refuse(name: str) -> object:
        raise ValueError(name)

    try:
        check_depth(body)
        value = json.loads(body.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, Twice, ParseError, RecursionError):
        return None
    return value


def owed_id(value: object) -> str | int | None:
    """The id an answer to this message must carry, or None when none can be demanded."""
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        return None
    id = value.get("id")
    if isinstance(id, bool) or not isinstance(id, str | int):
        return None
    return id if isinstance(id, str) or -(2**63) <= id < 2**63 else None


def exchange(case: Case, answer: Answer) -> Iterator[str]:
    """Judge the response to a message that came in sound HTTP."""
    yield from response(answer)
    if not answer.complete:
        yield "the response is cut"
    value = readable(case.body)
    messages = list(decoded(answer))
    id = owed_id(value)
    if id is None or answer.status in BEFORE_THE_BODY:
        return
    answers = [one for one in messages if isinstance(one, dict) and "method" not in one]
    listening = any(isinstance(one, dict) and str(one.get("method")).endswith("/acknowledged") for one in messages)
    if len(answers) != 1 and not listening:
        yield f"{len(answers)} responses to one request"
    for one in answers:
        if one.get("id") != id or type(one.get("id")) is not type(id):
            yield f"the id {str(id)[:80]!r} was echoed as {str(one.get('id'))[:80]!r}"
        assert isinstance(value, dict)
        yield from result(value, one, case.session)


def response(answer: Answer, *, forwarded: bool = False) -> Iterator[str]:
    """Judge any HTTP response by itself; a `forwarded` error may be an upstream's, who may fail as it likes."""
    if answer.status >= 500 and not (answer.status == 503 and b"%d" % OVERLOADED in answer.body):
        yield f"status {answer.status}"
    if b"Traceback" in answer.body or b'File "/' in answer.body:
        yield "a traceback in the response"
    if SMUGGLED.encode() in answer.body:
        yield "a smuggled request was answered"
    if not answer.complete:
        return
    try:
        messages = list(decoded(answer))
    except ValueError as error:
        yield f"the body is no JSON: {error}"
        return
    for message in messages:
        yield from (fault for fault in well_formed(message) if not (forwarded and "an internal error" in fault))


def decoded(answer: Answer) -> Iterator[object]:
    """The messages in a response."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json" and answer.body:
        yield json.loads(answer.body)
    elif kind == "text/event-stream":
        parser = sse.Parser()
        for event in parser.feed(answer.body):
            if event.data:
                yield json.loads(event.data)


def well_formed(message: object) -> Iterator[str]:
    """Judge one JSON-RPC message of the server."""
    if isinstance(message, list):
        for one in message:
            yield from well_formed(one)
        return
    if not isinstance(message, dict):
        yield "a message that is no object"
        return
    error = message.get("error")
    kind = "JSONRPCErrorResponse" if error is not None else "JSONRPCMessage"
    # The older schema knows no `resultType`; what a result must be is judged where the request is known.
    if not (validator(MODERN, kind).is_valid(message) or validator(LEGACY[0], kind).is_valid(message)):
        yield f"not a valid {kind}: {str(message)[:200]}"
    if isinstance(error, dict) and error.get("code") == INTERNAL:
        yield f"an internal error: {error.get('message')}"


def result(request: dict, message: dict, session: str) -> Iterator[str]:
    """Judge a result by the official schema of its revision: that of the session unless the request names one."""
    outcome = message.get("result")
    if outcome is None:
        return
    params = request.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    modern = isinstance(meta, dict) and PREFIX + "protocolVersion" in meta
    name = RESULTS.get(request["method"]) if modern else {**RESULTS, **LEGACY_RESULTS}.get(request["method"])
    if isinstance(outcome, dict) and outcome.get("resultType") == "input_required":
        name = "InputRequiredResult"
    revision = MODERN if modern else session
    if name == "InitializeResult" and isinstance(outcome, dict):
        revision = outcome.get("protocolVersion", session)
    if name is None:
        yield f"a result for the unknown method {request['method'][:60]!r}"
    elif not validator(revision, name).is_valid(outcome):
        reason = next(iter(validator(revision, name).iter_errors(outcome))).message
        yield f"not a valid {name} of {revision}: {reason[:200]}"
