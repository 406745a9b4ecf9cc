"""What a task asks, and what it is answered.

What it is for: keys that are never used twice, answers that are applied once.
What may live here: the way from questions and answers to what is stored. What may not: SQL, running.
"""

from collections.abc import Mapping

import msgspec

from trunkline.engine.context import fits
from trunkline.engine.doors import InputRequest

Wire = Mapping[str, object]

_decode_asked = msgspec.json.Decoder(dict[str, str]).decode
_decode_replay = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_answers = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Asking(msgspec.Struct):
    """The questions of a task.

    Parameters:
        open: those that wait for an answer, by key.
        asked: all keys that ever were, each with the key its function knows (tasks, section 5, Update).
    """

    open: dict[str, Wire] = {}
    asked: dict[str, str] = {}

    def ask(self, own: str, request: Wire) -> str:
        """Add a question under a key that was never used: the function's own, or that with a number."""
        key, number = own, 1
        while key in self.asked:
            number += 1
            key = f"{own}~{number}"
        self.asked[key] = own
        self.open[key] = request
        return key

    def answer(self, responses: Mapping[str, object]) -> dict[str, object]:
        """Take answers to open questions; returns those that fit, by the keys the function knows.

        What does not fit is asked again under a new key; what answers no open question is ignored.
        """
        taken: dict[str, object] = {}
        for key in [key for key in responses if key in self.open]:
            request = self.open.pop(key)
            if fits(msgspec.convert(request, InputRequest), responses[key]):
                taken[self.asked[key]] = responses[key]
            else:
                self.ask(self.asked[key], request)
        return taken

    def stored(self) -> dict[str, object]:
        """The columns of a row."""
        return {"questions": msgspec.json.encode(self.open), "asked": msgspec.json.encode(self.asked)}


def asking(open: Mapping[str, Wire], asked: bytes | None) -> Asking:
    """The questions of a task as they were stored."""
    return Asking(dict(open), {} if asked is None else _decode_asked(asked))


def with_answers(replay: bytes | None, chain: str, answers: Mapping[str, object]) -> bytes:
    """A stored replay with more answers; what else is in it stays as it is."""
    kept = {"chain": msgspec.Raw(msgspec.json.encode(chain))} if replay is None else _decode_replay(replay)
    known = _decode_answers(kept["answers"]) if "answers" in kept else {}
    known.update({key: msgspec.Raw(msgspec.json.encode(answer)) for key, answer in answers.items()})
    kept["answers"] = msgspec.Raw(msgspec.json.encode(known))
    return msgspec.json.encode(kept)
