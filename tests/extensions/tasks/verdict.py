"""What has to hold of each call of a campaign, by what its client was told and what its function did."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.extensions.tasks.calling import ENDED, Answer

ATTEMPTS = 8
STEPS = ("one", "two", "three")


@dataclass(frozen=True)
class Kind:
    """What is promised of a tool.

    `again`: it may run again although it may have run in part. `asks`: it asks one question, and gives the answer back.
    `kept`: its call is recorded before it runs, so that it may be sent again. `counted`: its ledger knows attempts.
    `recalls`: what was answered in one attempt is known in the next.
    """

    again: bool = False
    asks: bool = False
    kept: bool = True
    counted: bool = True
    recalls: bool = True
    attempts: int = ATTEMPTS


@dataclass
class Told:
    """What a client was told of one call.

    `answers`: the names it sent, of which one counts. `lost`: the call had no answer and may not be sent again.
    """

    tool: str
    id: str | None = None
    task: Answer | None = None
    answers: list[str] = field(default_factory=list)
    lost: bool = False
    direct: Answer | None = None


@dataclass
class Did:
    """What functions did for one call, in order.

    `run` ATTEMPT: it began. A step's name, with its KEY: that was computed; `kept` STEP: it was recorded.
    `told` NAME: its question was answered.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)

    def of(self, what: str) -> list[str]:
        """The details of all lines of a kind."""
        return [detail for kind, detail in self.lines if kind == what]


def read(ledger: Path) -> dict[int, Did]:
    """The ledger's lines, `CALL WHAT DETAIL`, by call."""
    found: dict[int, Did] = defaultdict(Did)
    for line in ledger.read_text().splitlines() if ledger.exists() else []:
        n, what, detail = line.split()
        found[int(n)].lines.append((what, detail))
    return found


def faults(kinds: Mapping[str, Kind], told: Mapping[int, Told], done: Mapping[int, Did]) -> list[str]:
    """What may not be, call by call; nothing where all is well."""
    found = []
    for n, one in told.items():
        did, kind = done.get(n, Did()), kinds[one.tool]
        wrong = [*_ended(kind, one), *_repeated(kind, one, did), *_computed(did), *_answered(kind, one, did)]
        found += [f"{n} {one.tool} {one.id}: {what}; {one.task}; {did.lines}" for what in wrong]
    keys = Counter(key for did in done.values() for step in STEPS for key in set(did.of(step)))
    found += [f"the idempotency key {key} was used for {times} steps" for key, times in keys.items() if times > 1]
    found += [f"{n}: ran, and nobody called it" for n in done.keys() - told.keys()]
    return found


def _ended(kind: Kind, one: Told) -> Iterator[str]:
    if one.direct is not None or (one.lost and not kind.kept):
        return
    if one.task is None or one.task["status"] not in ENDED:
        yield "lost or stuck"
    elif one.task["status"] == "failed":
        data = one.task["error"].get("data") or {}
        left = one.task["_meta"]["dev.trunkline/attempt"] < kind.attempts
        unsure = data.get("dev.trunkline/reason") == "lost" or data.get("dev.trunkline/mayHaveRun") is True
        if left and (kind.again or not unsure):
            yield "failed, though it may be tried again"
    elif one.task["status"] != "completed":
        yield "cancelled by nobody"


def _repeated(kind: Kind, one: Told, did: Did) -> Iterator[str]:
    runs = did.of("run")
    # A run that asked goes on after the answer, as the same attempt.
    resumed = 1 if one.answers else 0
    if not kind.again and len(runs) > 1 + resumed:
        yield "ran again though it may not"
    if kind.counted:
        attempts = list(map(int, runs))
        if attempts != sorted(attempts) or max(attempts, default=1) > kind.attempts:
            yield "ran beyond its policy"
        if len(attempts) - len(set(attempts)) > resumed:
            yield "an attempt was made twice"
    if one.task is not None and one.task["status"] == "completed" and not runs:
        yield "completed without a run"


def _computed(did: Did) -> Iterator[str]:
    for step in STEPS:
        if len(set(did.of(step))) > 1:
            yield f"step {step} got two keys"
    kept: set[str] = set()
    for what, detail in did.lines:
        if what in kept:
            yield f"step {what} was recorded, and computed again"
        if what == "kept":
            kept.add(detail)


def _answered(kind: Kind, one: Told, did: Did) -> Iterator[str]:
    names = set(did.of("told"))
    if kind.recalls and len(names) > 1:
        yield "two answers were applied to one question"
    if names - set(one.answers):
        yield "was told what nobody answered"
    if kind.asks and one.task is not None and one.task["status"] == "completed":
        text = one.task["result"]["content"][0]["text"]
        if text not in names or text not in one.answers:
            yield f"the answer {text!r} is not the one that was given"
