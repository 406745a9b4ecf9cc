"""The checked-in hostile cases: `tests/data/corpus/*.json`, each with the class of answer it must get.

Bytes are lists of parts: text, `{"hex": ...}`, `{"times": n, "of": text}`; framing cases also `{"wait": seconds}` and
`{"end": true}`, the client's half-close. A message case is a body in a sound request with the usual headers, some
replaced by `headers`; `"call": true` is a good call of `add` with id 1. Answers are those of an upstream to a call of
ours, `raw` or as a JSON body in which ID stands for the id of the call; `expect` is the error it ends in.
"""

import json
from pathlib import Path

from tests.fuzz.requests import BASE, END, Step, post
from tests.fuzz.running import good_call

FOLDER = Path(__file__).parents[1] / "data/corpus"
_JSON = b"Content-Type: application/json\r\n\r\n"


def load(name: str) -> list[dict]:
    """The cases of one file."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def part(piece: str | dict) -> Step:
    """One part as it is sent."""
    if isinstance(piece, str):
        return piece.encode("utf-8", "surrogatepass")
    if "hex" in piece:
        return bytes.fromhex(piece["hex"])
    if "wait" in piece:
        return float(piece["wait"])
    return END if "end" in piece else piece["of"].encode() * piece["times"]


def body_of(case: dict) -> bytes:
    """The message of a case."""
    if case.get("call") is True:
        return json.dumps(good_call(1, 1)).encode()
    return b"".join(step for step in map(part, case["body"]) if isinstance(step, bytes))


def request_of(case: dict) -> bytes:
    """A sound request around the message of a case."""
    replaced = {name.lower() for name, _ in case.get("headers", [])}
    fields = [(name, value) for name, value in BASE if name.lower() not in replaced]
    return post(body_of(case), [*fields, *((name, value) for name, value in case.get("headers", []))])


def answer_of(case: dict, id: object) -> bytes:
    """The bytes of an upstream's answer to the request with this id."""
    if "raw" in case:
        return b"".join(step for step in map(part, case["raw"]) if isinstance(step, bytes))
    pieces = [case["json"]] if isinstance(case["json"], str) else case["json"]
    body = b"".join(step for step in map(part, pieces) if isinstance(step, bytes)).replace(b"ID", str(id).encode())
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n" % len(body) + _JSON + body
