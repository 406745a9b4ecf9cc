"""Input rounds: what a function asked, what was answered, and how it is replayed.

What it is for: a function that waits for a person is re-run from its start with the recorded answers.
What may live here: the record, its sealing into `requestState`, the signal that input is missing.
What may not: how a transport reaches the client.
"""

import hashlib
import os
from collections.abc import Mapping

import msgspec

from trunkline.engine.doors import InputRequest, KeyRing, Result
from trunkline.engine.principal import Principal
from trunkline.errors import InvalidParams, SealError
from trunkline.protocol import json
from trunkline.protocol.messages import Params

PURPOSE = "requestState"


class InputRequired(BaseException):
    """Raised where answers are missing; not an `Exception`, so that no author's `except` eats it."""

    def __init__(self, requests: Mapping[str, InputRequest]) -> None:
        super().__init__("the client's input is required")
        self.requests = requests


class Replay(msgspec.Struct):
    """What a function was told and computed in earlier rounds.

    `chain` names this call over all its rounds: the root of its idempotency keys. `upstream` is a gateway's: the state
    the upstream wants echoed. `held` is a gateway's too: the upstream call that is kept open for the answers. `asker`
    is whose state and call these are, `home` the replica whose process it was, `process` that process. `task` is the
    durable task that does the work of a client which knows nothing of tasks.
    """

    chain: str
    expires: float = 0
    answers: dict[str, object] = {}
    steps: dict[str, object] = {}
    upstream: str | None = None
    held: str | None = None
    asker: str | None = None
    home: str | None = None
    process: str | None = None
    task: str | None = None


_decode_replay = msgspec.json.Decoder(Replay).decode


def begin() -> Replay:
    """A fresh record."""
    return Replay(chain=os.urandom(12).hex())


def resume(keys: KeyRing, principal: Principal, method: str, params: Params, now: float) -> Replay | None:
    """The record a request carries, with its new answers; None where it carries neither.

    Raises `InvalidParams` for state that is forged, of another principal or request, or expired (patterns/mrtr,
    Server Requirements 4 and 5). Answers without state are taken as they are: what the client says for its person is
    the client's to say, and no recorded step comes with them.
    """
    if isinstance(params.request_state, msgspec.UnsetType):
        answers = _answers(params)
        return Replay(chain=begin().chain, answers=answers) if answers else None
    try:
        payload = keys.open(PURPOSE, _bound(principal, method, params), params.request_state)
        replay = _decode_replay(payload)
        if replay.expires < now:
            raise SealError
    except (SealError, msgspec.MsgspecError):
        raise InvalidParams("Invalid params: requestState is not valid for this request, or has expired") from None
    replay.answers.update(_answers(params))
    return replay


def required(
    keys: KeyRing, principal: Principal, method: str, params: Params, replay: Replay, asked: Mapping[str, InputRequest]
) -> Result:
    """The `input_required` result: what is asked, and the sealed record."""
    payload = msgspec.json.encode(replay)
    result: Result = {
        "resultType": "input_required",
        "requestState": keys.seal(PURPOSE, _bound(principal, method, params), payload),
    }
    if asked:
        result["inputRequests"] = {key: request.wire() for key, request in asked.items()}
    return result


def _answers(params: Params) -> dict[str, object]:
    if isinstance(params.input_responses, msgspec.UnsetType):
        return {}
    responses = json.plain(params.input_responses)
    return responses if isinstance(responses, dict) else {}


def _bound(principal: Principal, method: str, params: Params) -> bytes:
    """Principal, method and a digest of what the request is about."""
    digest = hashlib.sha256()
    for part in (params.name, params.uri):
        digest.update(b"\0" if isinstance(part, msgspec.UnsetType) else part.encode())
        digest.update(b"\0")
    if not isinstance(params.arguments, msgspec.UnsetType):
        # A retry may be written with other blanks and key order, and is the same request all the same.
        digest.update(msgspec.json.encode(json.plain(params.arguments), order="sorted"))
    return principal.owner.encode() + b"\0" + method.encode() + b"\0" + digest.digest()
