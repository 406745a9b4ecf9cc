"""What replicas say to each other of a call that one has and another one answers.

What it is for: the messages of `elsewhere`, as bytes and as records.
What may live here: their shapes, and the way between them and what the engine knows. What may not: the conversation.
"""

import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from trunkline.engine import rounds
from trunkline.engine.context import Context
from trunkline.engine.doors import Exchange, InputRequest, Result
from trunkline.engine.principal import Principal
from trunkline.engine.rounds import Replay
from trunkline.errors import InternalError, Interrupted, ProtocolError, RemoteError, ReplicaLost
from trunkline.protocol import json
from trunkline.protocol.messages import Id, Message, decode_params
from trunkline.protocol.revisions import REVISIONS


class Begin(Struct, tag="begin"):
    """A call to answer."""

    id: str
    upstream: str
    request: Id
    method: str
    raw: bytes
    params: bytes
    revision: str
    issuer: str
    subject: str
    client: str | None
    capabilities: bytes
    client_info: bytes
    log_level: str | None
    seconds: float | None
    interactive: bool
    replay: bytes | None


class Told(Struct, tag="told"):
    """Progress, or a log message."""

    id: str
    message: bytes


class AskedOf(Struct, tag="asked"):
    """A question to the client."""

    id: str
    number: int
    requests: bytes


class Answered(Struct, tag="answered"):
    """The client's answers to a question."""

    id: str
    number: int
    answers: bytes = b"{}"
    refused: dict[str, tuple[int, str]] = {}


class Failure(Struct):
    """An error as it travels."""

    code: int
    message: str
    data: bytes = b"null"


class Answer(Struct):
    """The answer to a `Question`."""

    result: bytes = b""
    error: Failure | None = None


class Ended(Struct, tag="ended"):
    """The outcome of a call."""

    id: str
    result: bytes | None = None
    error: Failure | None = None
    required: bytes | None = None
    replay: bytes | None = None


class Refused(Struct, tag="refused"):
    """The call was not begun: the replica is about to end."""

    id: str


class Cancelled(Struct, tag="cancelled"):
    """The client gave the call up."""

    id: str


class Question(Struct):
    """What an upstream asks a client whose call may run elsewhere."""

    upstream: str
    owner: str
    capabilities: bytes
    method: str
    params: bytes


Word = Begin | Told | AskedOf | Answered | Ended | Refused | Cancelled
Reply = Told | AskedOf | Ended | Refused
"""What comes back to whoever said `Begin`."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Begin | Told | AskedOf | Answered | Ended | Refused | Cancelled).decode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_answer = msgspec.json.Decoder(Answer | None).decode
decode_replay = msgspec.json.Decoder(Replay).decode


def begin(id: str, upstream: str, context: Context, params: Mapping[str, object]) -> Begin:
    """A call, so that another replica can answer it."""
    principal, raw = context.principal, context.params.raw
    return Begin(
        id,
        upstream,
        context.request_id,
        context.method,
        bytes(raw),
        json.encode(params),
        context.revision.name,
        principal.issuer,
        principal.subject,
        principal.client,
        json.encode(context.capabilities),
        json.encode(context.client_info),
        context.log_level,
        None if context.deadline is None else context.deadline - time.monotonic(),
        context.exchange.interactive,
        None if context.replay is None else json.encode(context.replay),
    )


def context_of(begin: Begin, exchange: Exchange) -> Context:
    """The context of another replica's call."""
    context = Context(
        begin.request,
        begin.method,
        decode_params(Message("2.0", begin.request, begin.method, msgspec.Raw(begin.raw))),
        REVISIONS[begin.revision],
        Principal(begin.issuer, begin.subject, begin.client),
        exchange,
        msgspec.json.decode(begin.capabilities),
        msgspec.json.decode(begin.client_info),
        begin.log_level,
    )
    context.deadline = None if begin.seconds is None else time.monotonic() + begin.seconds
    context.replay = None if begin.replay is None else decode_replay(begin.replay)
    return context


def outcome(ended: Ended, context: Context) -> Result:
    """The result of a call that ended elsewhere. Raises what it raised there."""
    if ended.required is not None:
        context.replay = None if ended.replay is None else decode_replay(ended.replay)
        raise rounds.InputRequired(requests(ended.required))
    if ended.error is not None:
        if ended.error.code == Interrupted.code:
            # It is the other replica that stops, not the one the client hears this from.
            raise ReplicaLost
        raise RemoteError(ended.error.code, ended.error.message, json.parse(ended.error.data))
    result = json.parse(ended.result or b"{}")
    assert isinstance(result, dict)
    return result


def requests(encoded: bytes) -> dict[str, InputRequest]:
    """The questions of an `AskedOf` or `Ended`."""
    asked = json.parse(encoded)
    assert isinstance(asked, dict)
    return {key: InputRequest(wire["method"], wire.get("params")) for key, wire in asked.items()}


def failure(error: ProtocolError) -> Failure:
    """An error, as it travels."""
    code = error.remote_code if isinstance(error, RemoteError) else error.code
    return Failure(code, error.message, json.encode(error.data))


def refusal(error: Exception) -> tuple[int, str]:
    """Why a client did not answer a question."""
    return (getattr(error, "remote_code", getattr(error, "code", InternalError.code)), str(error))
